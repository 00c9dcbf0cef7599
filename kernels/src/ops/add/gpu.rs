//! Addition on a GPU: one pass over the elements.

use crate::gpu::basic::{deliver, flat};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Unit};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/add/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

pub(super) fn forward(cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, y, s) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    let kernel = UNIT
        .kernel("add_forward")
        .with_type("X", x.dtype)
        .with_type("Y", y.dtype);
    let args = [s.into(), x.into(), y.into(), x.len.into()];
    cx.gpu.launch(&kernel, flat(cx.gpu, x.len), &args)
}

pub(super) fn backward(cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let mut ds = cx.d_outputs[0];
    match cx.d_inputs[0] {
        Some(dx) if dx.mode == GradMode::InPlace => ds = Some(dx.view),
        Some(dx) => deliver(cx.gpu, ds.expect("the gradient of the output"), dx)?,
        None => {}
    }
    if let Some(dy) = cx.d_inputs[1] {
        deliver(cx.gpu, ds.expect("the gradient of the output"), dy)?;
    }
    Ok(())
}
