//! Activation and linear map on a GPU: for each chunk of rows one pass over `u`, into scratch, and the products.

use super::ActivationLinear;
use crate::gpu::basic::{flat, mode_arg};
use crate::gpu::{ACT, Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, Kernel, Unit, View};
use crate::op::Meta;
use crate::ops::linear::gpu::{Map, ROWS, bytes, chunk_of, chunks, set};
use crate::ops::linear::product;

static UNIT: Unit = Unit {
    name: "ops/activation_linear/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[ACT],
};

/// Rows, N, F.
fn sizes(metas: &[Meta]) -> [usize; 3] {
    [metas[0].rows(), metas[1].shape[0], metas[1].cols()]
}

pub(super) fn workspace(inputs: &[Meta], backward: bool) -> usize {
    let ([rows, n, f], dtype) = (sizes(inputs), inputs[0].dtype);
    let of = |rows| bytes(product(dtype), rows, n, f, backward);
    let chunk = rows.min(ROWS);
    // The sums of the bias are of all rows at once.
    let sums = if backward { of(rows) } else { 0 };
    (chunk * f * dtype.size()).next_multiple_of(crate::arena::ALIGN)
        + of(chunk).max(of(rows % ROWS)).max(sums)
}

impl ActivationLinear {
    /// A kernel for these tensors, and how many of a row's elements a thread takes.
    fn kernel(&self, name: &'static str, views: &[View], cols: usize) -> (Kernel, usize) {
        let quad = 4 * views[0].dtype.size() as u64;
        let aligned = views.iter().all(|view| view.ptr.is_multiple_of(quad));
        let vec = aligned && cols.is_multiple_of(4);
        let kernel = UNIT
            .kernel(name)
            .with_type("X", views[0].dtype)
            .with("ACT", self.act.define())
            .with("GATED", u8::from(self.gated))
            .with("VEC", u8::from(vec));
        (kernel, if vec { 4 } else { 1 })
    }
}

pub(super) fn forward(op: &ActivationLinear, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let [rows, n, f] = sizes(cx.metas);
    let (u, w, y) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    let (width, bias) = (cx.metas[0].cols(), cx.inputs.get(2).copied());
    let mut scratch = cx.workspace;
    // (chunk, F)
    let h = scratch.carve(rows.min(ROWS) * f, u.dtype);
    let map = Map::new(cx.gpu, w, &cx.metas[1], y.dtype, scratch);
    for (start, len) in chunks(rows) {
        activate(op, cx.gpu, h, u.from(start * width), [len, f])?;
        map.forward(len, h, y.from(start * n), bias)?;
    }
    Ok(())
}

pub(super) fn backward(op: &ActivationLinear, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let [rows, n, f] = sizes(cx.metas);
    let (u, width) = (cx.input(0), cx.metas[0].cols());
    let dy = cx.d_outputs[0].expect("the gradient of the output");
    let mut scratch = cx.workspace;
    // (chunk, F): the gradient of h, then h
    let h = scratch.carve(rows.min(ROWS) * f, u.dtype);
    let map = Map::new(cx.gpu, cx.input(1), &cx.metas[1], dy.dtype, scratch);
    for (start, len) in chunks(rows) {
        let (dy, u) = (dy.from(start * n), u.from(start * width));
        if let Some(mut du) = cx.d_inputs[0] {
            map.d_input(len, dy, set(h))?;
            du.view = du.view.from(start * width);
            differentiate(op, cx.gpu, h, du, u, [len, f])?;
        } else if cx.d_inputs[1].is_some() {
            activate(op, cx.gpu, h, u, [len, f])?;
        }
        if let Some(dw) = cx.d_inputs[1] {
            map.d_weight(len, dy, h, chunk_of(dw, start))?;
        }
    }
    if let Some(db) = cx.d_inputs.get(2).copied().flatten() {
        map.d_bias(rows, dy, db)?;
    }
    Ok(())
}

/// `h` of some rows.
fn activate(
    op: &ActivationLinear,
    gpu: &Gpu,
    h: View,
    u: View,
    [rows, cols]: [usize; 2],
) -> Result<(), GpuError> {
    let (kernel, each) = op.kernel("activate", &[h, u], cols);
    let args = [h.into(), u.into(), rows.into(), cols.into()];
    gpu.launch(&kernel, flat(gpu, rows * cols / each), &args)
}

/// Reads `dh` in `h`; leaves `h` there, and writes `du` or adds to it.
fn differentiate(
    op: &ActivationLinear,
    gpu: &Gpu,
    h: View,
    du: GpuGrad,
    u: View,
    [rows, cols]: [usize; 2],
) -> Result<(), GpuError> {
    let (kernel, each) = op.kernel("differentiate", &[h, du.view, u], cols);
    let args = [
        h.into(),
        du.view.into(),
        u.into(),
        rows.into(),
        cols.into(),
        mode_arg(du.mode),
    ];
    gpu.launch(&kernel, flat(gpu, rows * cols / each), &args)
}
