//! RMSNorm on a GPU: the rows of [`crate::gpu::norm`].

use super::RmsNorm;
use crate::gpu::norm::{self, Kind};
use crate::gpu::{GpuBackward, GpuError, GpuForward};

pub(super) fn forward(op: &RmsNorm, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let all = norm::Forward {
        kind: Kind::Rms,
        x: cx.inputs[0],
        add: None,
        n: cx.outputs[0],
        mean: None,
        reciprocal: cx.saved.first().copied(),
        w: cx.inputs[1],
        b: None,
        eps: op.eps,
        zero_centered: op.zero_centered,
    };
    norm::forward(cx.gpu, &all)
}

pub(super) fn backward(op: &RmsNorm, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let all = norm::Backward {
        kind: Kind::Rms,
        x: cx.input(0),
        dn: cx.d_outputs[0].expect("the gradient of the output"),
        through: None,
        mean: None,
        reciprocal: cx.saved[0],
        w: cx.input(1),
        zero_centered: op.zero_centered,
        dx: cx.d_inputs[0],
        dy: None,
        d_params: [cx.d_inputs[1], None],
        workspace: cx.workspace,
    };
    norm::backward(cx.gpu, &all)
}
