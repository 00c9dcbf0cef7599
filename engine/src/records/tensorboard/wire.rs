//! The bytes of an event file: records framed with checksums, each a protocol buffer.
//!
//! A record is its length (u64, little-endian), the masked CRC-32C of those eight bytes, the data, and the masked CRC-32C of
//! the data (tensorflow/core/lib/io/record_writer.h). The messages are those of tensorflow's event.proto, summary.proto,
//! tensor.proto and histogram.proto; field numbers are named where they are written.

use std::io::{self, Write};

/// CRC-32C (Castagnoli), reflected, byte by byte.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The CRC-32C of some bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (crc >> 8) ^ CRC[usize::from((crc as u8) ^ byte)]
    })
}

/// The CRC-32C as records have it: rotated and moved, so that the checksum of a text that holds checksums is no trouble.
pub(crate) fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Writes one record.
pub(super) fn record(out: &mut dyn Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes.extend(masked(data).to_le_bytes());
    out.write_all(&bytes)
}

/// A protocol buffer being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut x: u64) {
        while x >= 0x80 {
            self.0.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.0.push(x as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A field of type int64 or enum.
    pub(super) fn int(mut self, field: u32, x: u64) -> Self {
        self.key(field, 0);
        self.varint(x);
        self
    }

    /// A field of type double.
    pub(super) fn double(mut self, field: u32, x: f64) -> Self {
        self.key(field, 1);
        self.0.extend(x.to_le_bytes());
        self
    }

    /// A field of type float.
    pub(super) fn float(mut self, field: u32, x: f32) -> Self {
        self.key(field, 5);
        self.0.extend(x.to_le_bytes());
        self
    }

    /// A field of type string or bytes.
    pub(super) fn bytes(mut self, field: u32, x: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(x.len() as u64);
        self.0.extend_from_slice(x);
        self
    }

    /// A field that is a message.
    pub(super) fn message(self, field: u32, x: &Self) -> Self {
        self.bytes(field, &x.0)
    }

    /// A packed field of type repeated double.
    pub(super) fn doubles(self, field: u32, xs: &[f64]) -> Self {
        let bytes: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }
}
