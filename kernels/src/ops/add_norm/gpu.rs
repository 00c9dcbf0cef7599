//! Addition and norm on a GPU: the rows of [`crate::gpu::norm`] with the addition before them, in one pass.

use super::{AddNorm, Norm};
use crate::gpu::norm::{self, Kind};
use crate::gpu::{GpuBackward, GpuError, GpuForward};

/// Kind, eps and whether the gain is `1 + w`.
fn parts(norm: Norm) -> (Kind, f64, bool) {
    match norm {
        Norm::Rms { eps, zero_centered } => (Kind::Rms, eps, zero_centered),
        Norm::Layer { eps, .. } => (Kind::Layer, eps, false),
    }
}

pub(super) fn forward(op: &AddNorm, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (kind, eps, zero_centered) = parts(op.norm);
    let layer = kind == Kind::Layer;
    let all = norm::Forward {
        kind,
        x: cx.inputs[0],
        add: Some((cx.inputs[1], cx.outputs[0])),
        n: cx.outputs[1],
        mean: if layer {
            cx.saved.first().copied()
        } else {
            None
        },
        reciprocal: cx.saved.last().copied(),
        w: cx.inputs[2],
        b: op.has_bias().then(|| cx.inputs[3]),
        eps,
        zero_centered,
    };
    norm::forward(cx.gpu, &all)
}

pub(super) fn backward(op: &AddNorm, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let (kind, _, zero_centered) = parts(op.norm);
    let d_bias = if op.has_bias() { cx.d_inputs[3] } else { None };
    let all = norm::Backward {
        kind,
        x: cx.output(0),
        dn: cx.d_outputs[1].expect("the gradient of the norm"),
        through: cx.d_outputs[0],
        mean: (kind == Kind::Layer).then(|| cx.saved[0]),
        reciprocal: *cx
            .saved
            .last()
            .expect("a norm saves its reciprocal deviations"),
        w: cx.input(2),
        zero_centered,
        dx: cx.d_inputs[0],
        dy: cx.d_inputs[1],
        d_params: [cx.d_inputs[2], d_bias],
        workspace: cx.workspace,
    };
    norm::backward(cx.gpu, &all)
}
