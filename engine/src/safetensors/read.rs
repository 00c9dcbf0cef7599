//! Reading one safetensors file.

use super::header::{Entry, Header, MAX_HEADER};
use super::{Dtype, Error};
use kernels::{Bf16, Elem as _};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes converted at a time: large enough for the disk, small enough for the cache.
const CHUNK: usize = 1 << 18;

/// An open file whose header has been checked. Data is read tensor by tensor, straight to where it belongs.
#[derive(Debug)]
pub struct SafeTensors<R = File> {
    path: PathBuf,
    source: R,
    data_start: u64,
    header: Header,
    chunk: Vec<u8>,
}

impl SafeTensors {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(Error::File {
                path: path.to_owned(),
                message: "it is not a regular file".to_owned(),
            });
        }
        Self::new(file, path)
    }
}

impl<R: Read + Seek> SafeTensors<R> {
    /// As [`SafeTensors::open`], from any source; `path` names it in errors.
    ///
    /// # Errors
    /// If the source cannot be read or is not valid.
    pub fn new(mut source: R, path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let bad = |message: String| Error::File {
            path: path.to_owned(),
            message,
        };
        let size = source.seek(SeekFrom::End(0)).map_err(io)?;
        if size < 8 {
            return Err(bad(format!("it is only {size} bytes long (truncated?)")));
        }
        source.rewind().map_err(io)?;
        let mut length = [0; 8];
        source.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(bad(format!(
                "its header claims {length} bytes, more than {MAX_HEADER}"
            )));
        }
        if length > size - 8 {
            return Err(bad(format!(
                "its header claims {length} bytes, {} are there (truncated?)",
                size - 8
            )));
        }
        let mut json = vec![0; length as usize];
        source.read_exact(&mut json).map_err(io)?;
        let header =
            Header::parse(&json, size - 8 - length).map_err(|(tensor, message)| match tensor {
                Some(tensor) => Error::Tensor {
                    path: path.to_owned(),
                    tensor,
                    message,
                },
                None => bad(message),
            })?;
        Ok(Self {
            path: path.to_owned(),
            source,
            data_start: 8 + length,
            header,
            chunk: Vec::new(),
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.header.entries
    }

    /// The tensor of this name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        let entries = &self.header.entries;
        let found = entries.binary_search_by(|entry| entry.info.name.as_str().cmp(name));
        found.ok().map(|at| &entries[at])
    }

    /// The strings of `"__metadata__"`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// Reads a tensor of floats (F64, F32, F16 or BF16) as `f32`, row by row from the outermost dimension.
    ///
    /// # Errors
    /// If there is no such tensor, it has another number of elements, it is not of floats, or reading fails.
    pub fn read_into(&mut self, name: &str, out: &mut [f32]) -> Result<(), Error> {
        if let Some(entry) = self.entry(name)
            && entry.info.elements() != Some(out.len() as u64)
        {
            return Err(Error::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                message: format!(
                    "has shape {:?}, but {} elements are expected",
                    entry.info.shape,
                    out.len()
                ),
            });
        }
        self.read_at(name, 0, out)
    }

    /// Reads as many elements of a tensor as `out` has, from element `from` on; else as [`SafeTensors::read_into`].
    ///
    /// # Errors
    /// If there is no such tensor, it has fewer elements, it is not of floats, or reading fails.
    pub fn read_at(&mut self, name: &str, from: usize, out: &mut [f32]) -> Result<(), Error> {
        let fault = |path: &Path, message: String| Error::Tensor {
            path: path.to_owned(),
            tensor: name.to_owned(),
            message,
        };
        let Some(entry) = self.entry(name) else {
            return Err(fault(&self.path, "is not in the file".to_owned()));
        };
        let info = &entry.info;
        let (dtype, begin) = (info.dtype, entry.begin);
        let end = (from + out.len()) as u64;
        if info.elements().is_none_or(|elements| elements < end) {
            let message = format!("has shape {:?}, but {end} elements are read", info.shape);
            return Err(fault(&self.path, message));
        }
        let Some(decode) = decoder(dtype) else {
            let message = format!(
                "has type {}; only F32, BF16, F16 and F64 are read",
                dtype.name()
            );
            return Err(fault(&self.path, message));
        };
        let width = dtype.size() as usize;
        self.chunk.resize(CHUNK, 0);
        let start = SeekFrom::Start(self.data_start + begin + (from * width) as u64);
        let outcome = self.source.seek(start).and_then(|_| {
            for part in out.chunks_mut(CHUNK / width) {
                let bytes = &mut self.chunk[..part.len() * width];
                self.source.read_exact(bytes)?;
                decode(bytes, part);
            }
            io::Result::Ok(())
        });
        outcome.map_err(|error| fault(&self.path, format!("reading failed: {error}")))
    }
}

type Decode = fn(&[u8], &mut [f32]);

fn decoder(dtype: Dtype) -> Option<Decode> {
    match dtype {
        Dtype::F32 => Some(|bytes, out| each(bytes, out, f32::from_le_bytes)),
        Dtype::F64 => Some(|bytes, out| each(bytes, out, |b| f64::from_le_bytes(b) as f32)),
        Dtype::Bf16 => Some(|bytes, out| each(bytes, out, |b| Bf16(u16::from_le_bytes(b)).get())),
        Dtype::F16 => Some(|bytes, out| each(bytes, out, |b| f16_to_f32(u16::from_le_bytes(b)))),
        _ => None,
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (words, _) = bytes.as_chunks::<N>();
    for (out, &word) in out.iter_mut().zip(words) {
        *out = convert(word);
    }
}

/// IEEE 754 binary16 (5 bits of exponent, 10 of fraction) as `f32`, exactly.
pub(super) fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half & 0x3ff);
    match exponent {
        // Subnormal: fraction * 2^-24.
        0 => {
            let magnitude = fraction as f32 * 2f32.powi(-24);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 127 - 15) << 23) | (fraction << 13)),
    }
}
