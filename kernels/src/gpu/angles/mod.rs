//! Cosines and sines of positions on a GPU, which rotary and sinusoidal positions share: a table for the positions of one row
//! of the batch, made once a call in scratch, and its reader as a shared piece of kernels.
//!
//! The twin of [`crate::cpu::angles`]. The positions lie on the device and are not known to the host; those beyond the table
//! are computed by the reader. Where to go next: [`crate::ops::rope`], [`crate::ops::sinusoid`].

use super::unit::PACK;
use super::{Arg, Gpu, GpuError, Grid, Piece, Unit, View};
use crate::Dtype;

/// `angles_of` and what it needs. Comes after [`PACK`].
pub const ANGLES: Piece = Piece {
    name: "gpu/angles/angles.cuh",
    text: include_str!("angles.cuh"),
};

static UNIT: Unit = Unit {
    name: "gpu/angles/angles.cu",
    text: include_str!("angles.cu"),
    pieces: &[PACK, ANGLES],
};

/// The frequencies `theta^(-2i / dims)`.
#[derive(Clone, Copy, Debug)]
pub struct Angles {
    /// Base of the frequencies.
    pub theta: f64,
    /// Twice the number of frequencies.
    pub dims: usize,
}

impl Angles {
    /// Bytes of scratch for the table of `seq` positions.
    pub fn bytes(&self, seq: usize) -> usize {
        (seq * self.dims * size_of::<f32>()).next_multiple_of(crate::arena::ALIGN)
    }

    /// The ratio of neighbouring frequencies, as kernels take it: the two halves of an `f64`.
    pub fn ratio(&self) -> [Arg; 2] {
        let bits = self.theta.powf(-2.0 / self.dims as f64).to_bits();
        [bits, bits >> 32].map(|half| Arg::I32((half as u32).cast_signed()))
    }

    /// Makes the table of positions `0..seq` in scratch: `(seq, dims)`, in each row the cosines and then the sines.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn table(&self, gpu: &Gpu, seq: usize, workspace: &mut View) -> Result<View, GpuError> {
        let table = workspace.carve(seq * self.dims, Dtype::F32);
        let [low, high] = self.ratio();
        let pairs = self.dims / 2;
        let args = [table.into(), seq.into(), pairs.into(), low, high];
        let kernel = UNIT.kernel("angle_table").with("W", 1);
        gpu.launch(&kernel, Grid::cover(seq * pairs), &args)?;
        Ok(table)
    }
}
