//! Activations on a GPU: one pass each way.

use super::Act;
use crate::gpu::basic::{flat, mode_arg, pack_width};
use crate::gpu::{ACT, GpuBackward, GpuError, GpuForward, Kernel, PACK, Unit, View};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/activation/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, ACT],
};

fn kernel(name: &'static str, act: Act, views: &[View]) -> Kernel {
    UNIT.kernel(name)
        .with_type("X", views[0].dtype)
        .with("ACT", act.define())
        .with("W", pack_width(views, 8))
}

pub(super) fn forward(act: Act, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, y) = (cx.inputs[0], cx.outputs[0]);
    let args = [y.into(), x.into(), x.len.into()];
    let kernel = kernel("activation_forward", act, &[x, y]);
    cx.gpu
        .launch(&kernel, flat(cx.gpu, x.len.div_ceil(8)), &args)
}

pub(super) fn backward(act: Act, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(dx) = cx.d_inputs[0] else {
        return Ok(());
    };
    let (dy, mode) = match dx.mode {
        GradMode::InPlace => (dx.view, GradMode::Set),
        mode => (cx.d_outputs[0].expect("the gradient of the output"), mode),
    };
    let x = cx.input(0);
    let args = [
        dx.view.into(),
        x.into(),
        dy.into(),
        x.len.into(),
        mode_arg(mode),
    ];
    let kernel = kernel("activation_backward", act, &[x, dy, dx.view]);
    cx.gpu
        .launch(&kernel, flat(cx.gpu, x.len.div_ceil(8)), &args)
}
