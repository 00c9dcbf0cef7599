//! Gated activations on a GPU: one pass each way.

use super::Act;
use crate::gpu::basic::{flat, mode_arg, pack_width};
use crate::gpu::{ACT, GpuBackward, GpuError, GpuForward, Kernel, PACK, Unit, View};

static UNIT: Unit = Unit {
    name: "ops/gated/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, ACT],
};

fn kernel(name: &'static str, act: Act, views: &[View], cols: usize) -> Kernel {
    UNIT.kernel(name)
        .with_type("X", views[0].dtype)
        .with("ACT", act.define())
        .with("W", pack_width(views, cols))
}

pub(super) fn forward(act: Act, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, y, cols) = (cx.inputs[0], cx.outputs[0], cx.metas[0].cols() / 2);
    let args = [y.into(), x.into(), y.len.into(), cols.into()];
    let kernel = kernel("gated_forward", act, &[x, y], cols);
    cx.gpu
        .launch(&kernel, flat(cx.gpu, y.len.div_ceil(8)), &args)
}

pub(super) fn backward(act: Act, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(dx) = cx.d_inputs[0] else {
        return Ok(());
    };
    let dy = cx.d_outputs[0].expect("the gradient of the output");
    let (x, cols) = (cx.input(0), cx.metas[0].cols() / 2);
    let args = [
        dx.view.into(),
        x.into(),
        dy.into(),
        dy.len.into(),
        cols.into(),
        mode_arg(dx.mode),
    ];
    let kernel = kernel("gated_backward", act, &[x, dy, dx.view], cols);
    cx.gpu
        .launch(&kernel, flat(cx.gpu, dy.len.div_ceil(8)), &args)
}
