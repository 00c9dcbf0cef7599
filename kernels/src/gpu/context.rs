//! What an operation's GPU side is given: the twins of [`crate::op::Forward`] and [`crate::op::Backward`].

use super::{Gpu, View};
use crate::op::{GradMode, Meta, Scalars};

/// What a forward works on.
#[derive(Debug)]
pub struct GpuForward<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Whether a backward will follow (dropout acts, statistics are saved).
    pub training: bool,
    /// Shapes of the inputs.
    pub metas: &'a [Meta],
    /// Inputs, to be read.
    pub inputs: &'a [View],
    /// Outputs, to be written.
    pub outputs: &'a [View],
    /// Tensors kept for backward, to be written; empty when not training.
    pub saved: &'a [View],
    /// Scratch bytes (as `i32` elements), as many as `workspace_gpu` asked for.
    pub workspace: View,
    /// Address of the live scalars (`struct Live` of the prelude).
    pub live: u64,
}

/// A gradient to deliver.
#[derive(Clone, Copy, Debug)]
pub struct GpuGrad {
    /// Where.
    pub view: View,
    /// How.
    pub mode: GradMode,
}

/// What a backward works on.
#[derive(Debug)]
pub struct GpuBackward<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// Shapes of the inputs.
    pub metas: &'a [Meta],
    /// Inputs that [`crate::op::Keeps::inputs`] names.
    pub inputs: &'a [Option<View>],
    /// Outputs that [`crate::op::Keeps::outputs`] names.
    pub outputs: &'a [Option<View>],
    /// Outputs to write, only where forward and backward run as one; else empty.
    pub late_outputs: &'a [View],
    /// Gradients of the outputs, as in [`crate::op::Backward::d_outputs`].
    pub d_outputs: &'a [Option<View>],
    /// Gradients of the inputs to deliver; `None` where none is wanted.
    pub d_inputs: &'a [Option<GpuGrad>],
    /// Tensors that the forward saved.
    pub saved: &'a [View],
    /// Scratch bytes (as `i32` elements), as many as `workspace_gpu` asked for.
    pub workspace: View,
    /// Address of the live scalars (`struct Live` of the prelude).
    pub live: u64,
}

impl GpuBackward<'_> {
    /// Input `i`, which [`crate::op::Op::keeps`] must name.
    pub fn input(&self, i: usize) -> View {
        self.inputs[i].expect("an input that is read backward is kept")
    }

    /// Output `i`, which [`crate::op::Op::keeps`] must name.
    pub fn output(&self, i: usize) -> View {
        self.outputs[i].expect("an output that is read backward is kept")
    }
}

/// Bytes of the live scalars on the device.
pub const LIVE_BYTES: usize = 40;

/// The live scalars as `struct Live` of the prelude lays them out: seed, step, row0 (8 bytes each), the loss scale as
/// `f64`, tokens in the cache as `int`, and four bytes of padding.
pub fn live_bytes(scalars: &Scalars) -> [u8; LIVE_BYTES] {
    let mut bytes = [0; LIVE_BYTES];
    bytes[0..8].copy_from_slice(&scalars.seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&scalars.step.to_le_bytes());
    bytes[16..24].copy_from_slice(&scalars.row0.to_le_bytes());
    bytes[24..32].copy_from_slice(&scalars.loss_scale.to_le_bytes());
    bytes[32..36].copy_from_slice(&(scalars.cache_len as u32).to_le_bytes());
    bytes
}
