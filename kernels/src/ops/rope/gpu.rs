//! Rotary positions on a GPU: a table of cosines and sines for the call, then one pass over the rows.

use super::{Layout, Rope, Turn};
use crate::gpu::angles::{ANGLES, Angles};
use crate::gpu::basic::{flat, mode_arg, pack_width};
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, PACK, Unit, View};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/rope/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, ANGLES],
};

pub(super) fn angles(op: &Rope) -> Angles {
    Angles {
        theta: op.theta,
        dims: op.head_dim,
    }
}

pub(super) fn forward(op: &Rope, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let to = GpuGrad {
        view: cx.outputs[0],
        mode: GradMode::Set,
    };
    let (x, positions, seq) = (cx.inputs[0], cx.inputs[1], cx.metas[1].cols());
    turn(
        op,
        cx.gpu,
        x,
        to,
        positions,
        seq,
        Turn::Forward,
        cx.workspace,
    )
}

pub(super) fn backward(op: &Rope, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(dx) = cx.d_inputs[0] else {
        return Ok(());
    };
    let source = match dx.mode {
        GradMode::InPlace => dx.view,
        _ => cx.d_outputs[0].expect("the gradient of the output"),
    };
    let (positions, seq) = (cx.input(1), cx.metas[1].cols());
    turn(
        op,
        cx.gpu,
        source,
        dx,
        positions,
        seq,
        Turn::Back,
        cx.workspace,
    )
}

/// Turns `source` into `to` as its mode says; [`GradMode::InPlace`]: `source` lies there.
pub(super) fn turn(
    op: &Rope,
    gpu: &Gpu,
    source: View,
    to: GpuGrad,
    positions: View,
    seq: usize,
    turn: Turn,
    mut workspace: View,
) -> Result<(), GpuError> {
    let (pairs, tokens) = (op.head_dim / 2, positions.len);
    let table = angles(op).table(gpu, seq, &mut workspace)?;
    // Heads that do not turn are there already where nothing is moved.
    let (handled, mode) = match to.mode {
        GradMode::InPlace => (op.heads, GradMode::Set),
        mode => (op.total_heads, mode),
    };
    let width = pack_width(&[source, to.view, table], pairs);
    let kernel = UNIT
        .kernel("rope_turn")
        .with_type("X", source.dtype)
        .with("INTERLEAVED", usize::from(op.layout == Layout::Interleaved))
        .with("W", width);
    let [low, high] = angles(op).ratio();
    let args = [
        to.view.into(),
        source.into(),
        positions.into(),
        table.into(),
        tokens.into(),
        seq.into(),
        op.heads.into(),
        handled.into(),
        op.total_heads.into(),
        pairs.into(),
        low,
        high,
        (turn == Turn::Back).into(),
        mode_arg(mode),
    ];
    gpu.launch(&kernel, flat(gpu, tokens * handled * pairs / width), &args)
}
