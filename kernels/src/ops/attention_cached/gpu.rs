//! Attention over a cache on a GPU: one token by chunks of keys whose partial results are merged, several by the forward pass
//! of training. The cache is of `f32` or of `bf16`.

use super::{Attention, AttentionCached};
use crate::Dtype;
use crate::gpu::basic::flat;
use crate::gpu::{Arg, GpuError, GpuForward, Grid, Kernel, REDUCE, Unit, View};
use crate::op::Meta;
use crate::ops::attention::gpu::ForwardPass;

static UNIT: Unit = Unit {
    name: "ops/attention_cached/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[REDUCE],
};

/// Keys of a partial softmax, as in `gpu.cu`.
const CHUNK: usize = 128;

/// Floats of the partial results of one token.
fn partials(op: &AttentionCached) -> usize {
    op.heads * op.capacity.div_ceil(CHUNK) * (op.head_dim + 2)
}

/// Elements of keys, and of values.
fn cache(op: &AttentionCached) -> usize {
    op.kv_heads * op.capacity * op.head_dim
}

pub(super) fn workspace(op: &AttentionCached, qkv: &Meta) -> usize {
    if qkv.shape[1] == 1 {
        return (4 * partials(op)).next_multiple_of(crate::arena::ALIGN);
    }
    // A cache of `f32` is rounded for products of `bf16`.
    let copy = (2 * cache(op)).next_multiple_of(crate::arena::ALIGN);
    if qkv.dtype == Dtype::Bf16 {
        2 * copy
    } else {
        0
    }
}

pub(super) fn forward(
    op: &AttentionCached,
    cx: &GpuForward<'_>,
    state: &[View],
) -> Result<(), GpuError> {
    let [keys, values] = state else {
        panic!(
            "attention_cached keeps two tensors of state, not {}",
            state.len()
        );
    };
    let (qkv, new) = (cx.inputs[0], cx.metas[0].shape[1]);
    let width = op.kv_heads * op.head_dim;
    let kernel = |name| kernel(op, name, qkv.dtype, keys.dtype);
    let args = [
        (*keys).into(),
        (*values).into(),
        qkv.into(),
        Arg::Ptr(cx.live),
        new.into(),
        op.heads.into(),
        op.kv_heads.into(),
        op.capacity.into(),
    ];
    let grid = flat(cx.gpu, new * width);
    cx.gpu.launch(&kernel("cache_append"), grid, &args)?;
    if new == 1 {
        return decode(op, cx, *keys, *values);
    }
    let (mut k, mut v) = (*keys, *values);
    if qkv.dtype == Dtype::Bf16 && keys.dtype == Dtype::F32 {
        let mut workspace = cx.workspace;
        [k, v] = [0; 2].map(|_| workspace.carve(cache(op), Dtype::Bf16));
        let args = [
            k.into(),
            v.into(),
            (*keys).into(),
            (*values).into(),
            Arg::Ptr(cx.live),
            new.into(),
            op.kv_heads.into(),
            op.capacity.into(),
        ];
        let grid = flat(cx.gpu, op.capacity * op.head_dim);
        cx.gpu.launch(&kernel("cache_round"), grid, &args)?;
    }
    let pass = ForwardPass {
        op: &Attention {
            heads: op.heads,
            kv_heads: op.kv_heads,
            head_dim: op.head_dim,
            scale: op.scale,
        },
        batch: 1,
        queries: new,
        keys: op.capacity,
        q: qkv,
        q_row: cx.metas[0].cols(),
        k,
        v,
        k_row: op.head_dim,
        k_head: op.capacity * op.head_dim,
        starts: None,
        live: Some(cx.live),
        out: cx.outputs[0],
        lse: None,
    };
    pass.run(cx)
}

fn decode(
    op: &AttentionCached,
    cx: &GpuForward<'_>,
    keys: View,
    values: View,
) -> Result<(), GpuError> {
    let qkv = cx.inputs[0];
    let mut workspace = cx.workspace;
    let partials = workspace.carve(partials(op), Dtype::F32);
    let args = [
        partials.into(),
        qkv.into(),
        keys.into(),
        values.into(),
        Arg::Ptr(cx.live),
        op.kv_heads.into(),
        (op.heads / op.kv_heads).into(),
        op.capacity.into(),
        (op.scale * std::f64::consts::LOG2_E).into(),
    ];
    let blocks = op.kv_heads * op.capacity.div_ceil(CHUNK);
    let partial = kernel(op, "decode_partial", qkv.dtype, keys.dtype);
    cx.gpu.launch(&partial, Grid::new(blocks, 128), &args)?;
    let args = [
        cx.outputs[0].into(),
        partials.into(),
        Arg::Ptr(cx.live),
        op.capacity.into(),
    ];
    let merge = kernel(op, "decode_merge", qkv.dtype, keys.dtype);
    cx.gpu.launch(&merge, Grid::new(op.heads, 64), &args)
}

/// A kernel for queries of one type and a cache of another. The query heads of a group go over a chunk of keys together, or in
/// equal parts where shared memory has no room for the sums of all.
fn kernel(op: &AttentionCached, name: &'static str, queries: Dtype, cache: Dtype) -> Kernel {
    let group = op.heads / op.kv_heads;
    let most = (4096 / op.head_dim.max(512)).max(1);
    let together = group.div_ceil(group.div_ceil(most));
    UNIT.kernel(name)
        .with_type("X", queries)
        .with_type("S", cache)
        .with("HEAD_DIM", op.head_dim)
        .with("HEADS", together)
}
