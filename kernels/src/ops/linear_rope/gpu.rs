//! Linear map and rotary positions on a GPU: one product and the rotation of its result where it lies; backward, for each
//! chunk of rows the rotation of the gradient into scratch and the products.

use super::LinearRope;
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, Grid, Unit, View};
use crate::op::Meta;
use crate::ops::linear::gpu::{Map, ROWS, bytes, chunk_of, chunks};
use crate::ops::linear::product;
use crate::ops::rope::{Layout, Rope, Turn};

static UNIT: Unit = Unit {
    name: "ops/linear_rope/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

/// Turns `rows` rows of `from` into `to`, which may be the same.
fn rotate(
    gpu: &Gpu,
    rope: &Rope,
    from: View,
    to: View,
    positions: View,
    rows: usize,
    turn: Turn,
) -> Result<(), GpuError> {
    let (width, cols) = (rope.head_dim, rope.total_heads * rope.head_dim);
    let interleaved = rope.layout == Layout::Interleaved;
    let fours = if interleaved { 4 } else { 8 };
    let quad = 4 * to.dtype.size() as u64;
    let vec =
        width.is_multiple_of(fours) && to.ptr.is_multiple_of(quad) && from.ptr.is_multiple_of(quad);
    let ratio = rope.theta.powf(-2.0 / width as f64);
    let kernel = UNIT
        .kernel("rotate")
        .with_type("X", to.dtype)
        .with("HEAD_DIM", width)
        .with("RATIO", format!("{ratio:e}"))
        .with("INTERLEAVED", u8::from(interleaved))
        .with("VEC", u8::from(vec));
    let args = [
        to.into(),
        from.into(),
        positions.into(),
        rows.into(),
        rope.heads.into(),
        cols.into(),
        (turn == Turn::Back).into(),
    ];
    gpu.launch(&kernel, Grid::new(rows.div_ceil(8), 256), &args)
}

fn sizes(metas: &[Meta]) -> [usize; 3] {
    [metas[0].rows(), metas[1].shape[0], metas[1].cols()]
}

pub(super) fn workspace(inputs: &[Meta], backward: bool) -> usize {
    let ([rows, n, k], dtype) = (sizes(inputs), inputs[0].dtype);
    let of = |rows| bytes(product(dtype), rows, n, k, backward);
    if !backward {
        return of(rows);
    }
    let chunk = rows.min(ROWS);
    (chunk * n * dtype.size()).next_multiple_of(crate::arena::ALIGN)
        + of(chunk).max(of(rows % ROWS))
}

pub(super) fn forward(op: &LinearRope, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let [rows, ..] = sizes(cx.metas);
    let (x, w, y) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    let (bias, positions) = match cx.inputs {
        [_, _, bias, positions] => (Some(*bias), *positions),
        [.., positions] => (None, *positions),
        [] => unreachable!("the inputs were counted when the operation was recorded"),
    };
    let map = Map::new(cx.gpu, w, &cx.metas[1], y.dtype, cx.workspace);
    map.forward(rows, x, y, bias)?;
    rotate(cx.gpu, &op.rope, y, y, positions, rows, Turn::Forward)
}

pub(super) fn backward(op: &LinearRope, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let [rows, n, k] = sizes(cx.metas);
    let last = cx.metas.len() - 1;
    let (x, positions) = (cx.input(0), cx.input(last));
    let dy = cx.d_outputs[0].expect("the gradient of the output");
    let db = if last == 3 { cx.d_inputs[2] } else { None };
    let mut scratch = cx.workspace;
    // (chunk, N D): the gradient before the rotation
    let d = scratch.carve(rows.min(ROWS) * n, dy.dtype);
    let map = Map::new(cx.gpu, cx.input(1), &cx.metas[1], dy.dtype, scratch);
    for (start, len) in chunks(rows) {
        let (from, positions) = (dy.from(start * n), positions.from(start));
        rotate(cx.gpu, &op.rope, from, d, positions, len, Turn::Back)?;
        if let Some(mut dx) = cx.d_inputs[0] {
            dx.view = dx.view.from(start * k);
            map.d_input(len, d, dx)?;
        }
        if let Some(dw) = cx.d_inputs[1] {
            map.d_weight(len, d, x.from(start * k), chunk_of(dw, start))?;
        }
        if let Some(db) = db {
            map.d_bias(len, d, chunk_of(db, start))?;
        }
    }
    Ok(())
}
