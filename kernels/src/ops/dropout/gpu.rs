//! Dropout on a GPU: one pass that makes the mask of [`super::cpu`], to the bit.

use super::Dropout;
use crate::gpu::basic::{deliver, flat, mode_arg};
use crate::gpu::{Arg, Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, PACK, PHILOX, Unit, View};
use crate::op::{GradMode, Meta};

static UNIT: Unit = Unit {
    name: "ops/dropout/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, PHILOX],
};

pub(super) fn forward(op: &Dropout, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let to = GpuGrad {
        view: cx.outputs[0],
        mode: GradMode::Set,
    };
    if cx.training {
        apply(op, cx.gpu, &cx.metas[0], cx.live, cx.inputs[0], to)
    } else {
        deliver(cx.gpu, cx.inputs[0], to)
    }
}

pub(super) fn backward(op: &Dropout, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(dx) = cx.d_inputs[0] else {
        return Ok(());
    };
    let source = match dx.mode {
        GradMode::InPlace => dx.view,
        _ => cx.d_outputs[0].expect("the gradient of the output"),
    };
    apply(op, cx.gpu, &cx.metas[0], cx.live, source, dx)
}

/// Masks and scales `source` into `to`, or adds that to it.
fn apply(
    op: &Dropout,
    gpu: &Gpu,
    meta: &Meta,
    live: u64,
    source: View,
    to: GpuGrad,
) -> Result<(), GpuError> {
    let rows = meta.shape[0];
    let row_len = meta.len() / rows.max(1);
    // Two neighbours need rows that start at an even element.
    let width = if row_len.is_multiple_of(2) { 2 } else { 1 };
    let mode = match to.mode {
        GradMode::InPlace => GradMode::Set,
        mode => mode,
    };
    let threshold = (op.p * 2f64.powi(32)) as u32;
    let kernel = UNIT
        .kernel("dropout_apply")
        .with_type("X", source.dtype)
        .with("W", width);
    let args = [
        to.view.into(),
        source.into(),
        Arg::Ptr(live),
        Arg::I32(op.id as i32),
        Arg::I32((op.id >> 32) as i32),
        Arg::I32(threshold.cast_signed()),
        (1.0 / (1.0 - op.p)).into(),
        rows.into(),
        row_len.into(),
        mode_arg(mode),
    ];
    let threads = rows * row_len.div_ceil(64) * 16 / width;
    gpu.launch(&kernel, flat(gpu, threads), &args)
}
