//! LayerNorm on a GPU: the rows of [`crate::gpu::norm`].

use super::LayerNorm;
use crate::gpu::norm::{self, Kind};
use crate::gpu::{GpuBackward, GpuError, GpuForward};

pub(super) fn forward(op: &LayerNorm, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let all = norm::Forward {
        kind: Kind::Layer,
        x: cx.inputs[0],
        add: None,
        n: cx.outputs[0],
        mean: cx.saved.first().copied(),
        reciprocal: cx.saved.get(1).copied(),
        w: cx.inputs[1],
        b: op.bias.then(|| cx.inputs[2]),
        eps: op.eps,
        zero_centered: false,
    };
    norm::forward(cx.gpu, &all)
}

pub(super) fn backward(op: &LayerNorm, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let all = norm::Backward {
        kind: Kind::Layer,
        x: cx.input(0),
        dn: cx.d_outputs[0].expect("the gradient of the output"),
        through: None,
        mean: Some(cx.saved[0]),
        reciprocal: cx.saved[1],
        w: cx.input(1),
        zero_centered: false,
        dx: cx.d_inputs[0],
        dy: None,
        d_params: [cx.d_inputs[1], if op.bias { cx.d_inputs[2] } else { None }],
        workspace: cx.workspace,
    };
    norm::backward(cx.gpu, &all)
}
