//! Memory that the host fills while the device computes: two slots, used by turns.
//!
//! What is written goes over the copy stream, so that the upload for the next turn overlaps the launches of this one. The
//! order is kept here alone: a slot is written only after the launches that read it last ([`Slots::end`]), and launches
//! read it only after all that was written ([`Slots::begin`]). Only streams wait, never the host.

use super::{Buffer, Event, Gpu, GpuError, Stream};
use crate::arena::ALIGN;

/// Two slots of one size.
#[derive(Debug)]
pub struct Slots {
    gpu: Gpu,
    memory: Buffer,
    /// Bytes of a slot.
    bytes: usize,
    turn: usize,
    /// Whether the copy stream was told to wait until the slot whose turn it is may be written.
    open: bool,
    marks: [Marks; 2],
}

/// The events of a slot.
#[derive(Clone, Copy, Debug)]
struct Marks {
    /// On the copy stream behind what was written.
    written: Event,
    /// On the compute stream behind what reads it.
    read: Event,
}

impl Slots {
    /// Two slots of at least `bytes` bytes.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Self, GpuError> {
        let bytes = bytes.next_multiple_of(ALIGN);
        let driver = gpu.driver();
        let marks = || {
            Ok(Marks {
                written: driver.event()?,
                read: driver.event()?,
            })
        };
        Ok(Self {
            memory: gpu.alloc(2 * bytes)?,
            bytes,
            turn: 0,
            open: false,
            marks: [marks()?, marks()?],
            gpu: gpu.clone(),
        })
    }

    /// Bytes of a slot.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of the slot whose turn it is: 0 or 1.
    pub fn turn(&self) -> usize {
        self.turn
    }

    /// Address of the slot whose turn it is.
    pub fn address(&self) -> u64 {
        self.memory.address() + (self.turn * self.bytes) as u64
    }

    /// Writes to byte `at` of the slot whose turn it is, beside what is computed.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn write(&mut self, at: usize, from: &[u8]) -> Result<(), GpuError> {
        assert!(
            at + from.len() <= self.bytes,
            "{} bytes at {at} of a slot of {}",
            from.len(),
            self.bytes
        );
        let driver = self.gpu.driver();
        if !self.open {
            driver.wait(Stream::Copy, self.marks[self.turn].read)?;
            self.open = true;
        }
        driver.upload_beside(self.address() + at as u64, from)
    }

    /// What is launched from now on finds all that was written.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn begin(&self) -> Result<(), GpuError> {
        let written = self.marks[self.turn].written;
        let driver = self.gpu.driver();
        driver.record(written, Stream::Copy)?;
        driver.wait(Stream::Compute, written)
    }

    /// All that reads the slot was launched: it is the other's turn.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn end(&mut self) -> Result<(), GpuError> {
        let read = self.marks[self.turn].read;
        self.gpu.driver().record(read, Stream::Compute)?;
        self.turn = 1 - self.turn;
        self.open = false;
        Ok(())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for marks in self.marks {
            self.gpu.driver().end_event(marks.written);
            self.gpu.driver().end_event(marks.read);
        }
    }
}
