//! QK-norm on a GPU: one pass each way over the heads of all tokens, as rows of [`crate::gpu::norm`].

use super::HeadNorm;
use crate::Dtype;
use crate::gpu::basic::{mode_arg, pack_width};
use crate::gpu::norm::{Kind, NORM, Team, chunks, fold};
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, Grid, Kernel, PACK, Unit, View};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/head_norm/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PACK, NORM],
};

/// The kernel `name` for these tensors, whose first has the type of all.
fn kernel(name: &'static str, op: &HeadNorm, gpu: &Gpu, views: &[View]) -> (Kernel, Team) {
    let team = Team::new(gpu, op.head_dim, pack_width(views, op.head_dim), 3, 2);
    let kernel = UNIT.kernel(name).with_type("X", views[0].dtype);
    (team.define(kernel, Kind::Rms), team)
}

pub(super) fn forward(op: &HeadNorm, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, wq, wk, y) = (cx.inputs[0], cx.inputs[1], cx.inputs[2], cx.outputs[0]);
    let (kernel, team) = kernel("head_norm_forward", op, cx.gpu, &[x, wq, wk, y]);
    let args = [
        y.into(),
        x.into(),
        wq.into(),
        wk.into(),
        cx.metas[0].rows().into(),
        op.heads.into(),
        op.kv_heads.into(),
        op.head_dim.into(),
        op.eps.into(),
    ];
    let grid = team.cover(cx.gpu, x.len / op.head_dim);
    cx.gpu.launch(&kernel, grid, &args)
}

pub(super) fn backward(op: &HeadNorm, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let (x, wq, wk) = (cx.input(0), cx.input(1), cx.input(2));
    let dy = cx.d_outputs[0].expect("the gradient of the output");
    let (dx, to) = (cx.d_inputs[0], [cx.d_inputs[1], cx.d_inputs[2]]);
    let (tokens, mut workspace) = (cx.metas[0].rows(), cx.workspace);
    let chunks = chunks(tokens);
    let wanted = to.iter().any(Option::is_some);
    let partial = wanted.then(|| workspace.carve(chunks * 2 * op.head_dim, Dtype::F32));
    let mut views = vec![x, dy, wq, wk];
    views.extend(dx.map(|dx| dx.view));
    let (kernel, team) = kernel("head_norm_backward", op, cx.gpu, &views);
    let args = [
        dx.map(|dx| dx.view).into(),
        mode_arg(dx.map_or(GradMode::Set, |dx| dx.mode)),
        partial.into(),
        x.into(),
        dy.into(),
        wq.into(),
        wk.into(),
        tokens.into(),
        op.heads.into(),
        op.kv_heads.into(),
        op.head_dim.into(),
        op.eps.into(),
    ];
    let grid = Grid::new(chunks, team.threads(cx.gpu));
    cx.gpu.launch(&kernel, grid, &args)?;
    match partial {
        Some(partial) => fold(cx.gpu, partial, chunks, to, [op.head_dim; 2]),
        None => Ok(()),
    }
}
