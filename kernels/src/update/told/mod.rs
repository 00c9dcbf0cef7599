//! # What
//! What a step comes to, decided on the device: the clip factor from the norm of its gradient, and whether its update is
//! made. So an update can follow its backward at once, in one captured sequence, and the host hears of it afterwards.
//!
//! # Rule
//! With `l` the sum of the micro-batches' losses and `n` the norm: the update is made if both are finite and `l` is at most
//! [`Bounds::most_loss`]. Gradients are multiplied by [`super::norm::clip_factor`]. Both are the host's own to the bit.

mod gpu;

use crate::gpu::{Gpu, GpuError, Piece, View};

/// `struct Told`, which updates read.
pub(super) const TOLD: Piece = Piece {
    name: "update/told/told.cuh",
    text: include_str!("told.cuh"),
};

/// Bytes of `struct Told`, behind which the losses begin.
pub const TOLD_BYTES: usize = 16;
/// Bytes of [`Bounds`] on a device.
pub const BOUNDS_BYTES: usize = 24;

/// What the host knows of a step beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Largest norm of the gradient; 0: no limit.
    pub clip_norm: f64,
    /// Largest loss whose update is made.
    pub most_loss: f64,
    /// Number of the micro-batch, from 0.
    pub number: usize,
    /// Micro-batches of the step.
    pub count: usize,
}

impl Bounds {
    /// As kernels read them.
    pub fn bytes(&self) -> [u8; BOUNDS_BYTES] {
        gpu::bounds_bytes(self)
    }
}

/// What a device tells of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Sum of the squares of the gradients.
    pub squares: f64,
    /// What gradients were multiplied by.
    pub scale: f32,
    /// Whether the update was made.
    pub go: bool,
    /// Sum of the losses, in their order.
    pub loss: f64,
}

impl Told {
    /// Reads what lies at a device's told: the struct, then the losses.
    pub fn read(bytes: &[u8]) -> Self {
        gpu::read(bytes)
    }

    /// What updates read, for a scale that the host chose.
    pub fn order(scale: f64) -> [u8; TOLD_BYTES] {
        gpu::order(scale)
    }
}

/// Puts the loss (1, `f32`) of a micro-batch aside, behind the told at `told`. `bounds` is the address of [`Bounds::bytes`].
///
/// # Errors
/// If the device refuses.
pub fn keep_loss_gpu(gpu: &Gpu, told: View, loss: View, bounds: u64) -> Result<(), GpuError> {
    gpu::keep_loss(gpu, told, loss, bounds)
}

/// Decides what is done with the gradients whose sum of squares lies at the front of `told` (bytes as `f32`), with the losses
/// behind it. `bounds` is the address of [`Bounds::bytes`].
///
/// # Errors
/// If the device refuses.
pub fn judge_gpu(gpu: &Gpu, told: View, bounds: u64) -> Result<(), GpuError> {
    gpu::judge(gpu, told, bounds)
}
