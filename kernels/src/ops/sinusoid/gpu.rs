//! Sinusoidal positions on a GPU: a table for the call, then one pass of additions.

use crate::gpu::angles::{ANGLES, Angles};
use crate::gpu::basic::{deliver, flat, pack_width};
use crate::gpu::{GpuBackward, GpuError, GpuForward, PACK, Unit};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/sinusoid/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, ANGLES],
};

/// The frequencies of rows of `cols` channels.
pub(super) fn angles(cols: usize) -> Angles {
    Angles {
        theta: 10_000.0,
        dims: cols,
    }
}

pub(super) fn forward(cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, positions, y) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    let (cols, seq, mut workspace) = (cx.metas[0].cols(), cx.metas[1].cols(), cx.workspace);
    let (tokens, pairs) = (positions.len, cols / 2);
    let table = angles(cols).table(cx.gpu, seq, &mut workspace)?;
    let width = pack_width(&[x, y, table], pairs);
    let kernel = UNIT
        .kernel("sinusoid_forward")
        .with_type("X", x.dtype)
        .with("W", width);
    let [low, high] = angles(cols).ratio();
    let args = [
        y.into(),
        x.into(),
        positions.into(),
        table.into(),
        tokens.into(),
        seq.into(),
        pairs.into(),
        low,
        high,
    ];
    let grid = flat(cx.gpu, tokens * pairs / width);
    cx.gpu.launch(&kernel, grid, &args)
}

pub(super) fn backward(cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    match cx.d_inputs[0] {
        Some(dx) if dx.mode != GradMode::InPlace => {
            let dy = cx.d_outputs[0].expect("the gradient of the output");
            deliver(cx.gpu, dy, dx)
        }
        _ => Ok(()),
    }
}
