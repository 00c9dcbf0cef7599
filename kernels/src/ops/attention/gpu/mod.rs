//! Attention on a GPU: which kernels with which tiles, and their order in the grid. In `bf16` products are made of matrix
//! fragments (`forward.cu`, `backward.cu`, over `tiles.cuh`); `f32`, and heads that the fragments do not take, go through
//! `portable.cu`. Nothing is summed by atomics, and no sum depends on the device.

mod plan;

use super::Attention;
use crate::gpu::{Arg, GpuError, GpuForward, Grid, Piece, Unit, View};
use crate::{Dtype, op::Meta};
use plan::{Tiles, forward_tiles, section};

const PLACES: Piece = Piece {
    name: "ops/attention/gpu/places.cuh",
    text: include_str!("places.cuh"),
};
const TILES: Piece = Piece {
    name: "ops/attention/gpu/tiles.cuh",
    text: include_str!("tiles.cuh"),
};
static FORWARD: Unit = Unit {
    name: "ops/attention/gpu/forward.cu",
    text: include_str!("forward.cu"),
    pieces: &[PLACES, TILES],
};
static PORTABLE: Unit = Unit {
    name: "ops/attention/gpu/portable.cu",
    text: include_str!("portable.cu"),
    pieces: &[PLACES],
};

/// Rows of a block of the portable kernels, and of a tile that it goes over.
const PORTABLE_ROWS: usize = 32;
/// Threads of their blocks.
const PORTABLE_THREADS: u32 = 128;

/// One forward pass over `batch` sequences of `queries` new tokens.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct ForwardPass<'a> {
    /// Heads, their size, and the scale.
    pub op: &'a Attention,
    /// Sequences.
    pub batch: usize,
    /// New tokens of each.
    pub queries: usize,
    /// Keys of each, at most: they need not all be there.
    pub keys: usize,
    /// Queries, in rows of `q_row`.
    pub q: View,
    /// Elements from one token's queries to the next.
    pub q_row: usize,
    /// Keys.
    pub k: View,
    /// Values, laid out as the keys.
    pub v: View,
    /// Elements from one token's keys to the next.
    pub k_row: usize,
    /// Elements from one key-value head to the next.
    pub k_head: usize,
    /// For each sequence and query the first key that it sees; 0 where absent.
    pub starts: Option<View>,
    /// Address of the live scalars, where the first query stands behind the cache; else at key 0.
    pub live: Option<u64>,
    /// Outputs, (batch, queries, heads, head size).
    pub out: View,
    /// Base-2 logarithms of the sums of `2^(score log2 e)`, (batch, heads, queries).
    pub lse: Option<View>,
}

impl ForwardPass<'_> {
    /// Computes the outputs.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn run(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        let Attention {
            heads,
            kv_heads,
            head_dim,
            scale,
        } = *self.op;
        let bf16 = self.q.dtype == Dtype::Bf16 && self.k.dtype == Dtype::Bf16;
        let tiles = forward_tiles(head_dim, cx.gpu.info().shared_bytes as usize);
        let section = section(self.op, self.keys, self.k.dtype);
        let args = [
            self.out.into(),
            self.lse.into(),
            self.q.into(),
            self.k.into(),
            self.v.into(),
            self.starts.into(),
            Arg::Ptr(self.live.unwrap_or(0)),
            self.batch.into(),
            heads.into(),
            kv_heads.into(),
            self.queries.into(),
            self.q_row.into(),
            self.k_row.into(),
            self.k_head.into(),
            section.into(),
            (scale * std::f64::consts::LOG2_E).into(),
        ];
        let all = self.batch * heads;
        if let Some(tiles) = tiles.filter(|_| bf16) {
            let kernel = tiles.define(FORWARD.kernel("attention_forward"), head_dim);
            let blocks = self.queries.div_ceil(tiles.rows()) * all;
            let grid = tiles.grid(blocks, tiles.forward_bytes(head_dim));
            return cx.gpu.launch(&kernel, grid, &args);
        }
        let kernel = PORTABLE
            .kernel("attention_any_forward")
            .with_type("X", self.q.dtype)
            .with_type("K", self.k.dtype)
            .with("HEAD_DIM", head_dim);
        let blocks = self.queries.div_ceil(PORTABLE_ROWS) * all;
        cx.gpu
            .launch(&kernel, Grid::new(blocks, PORTABLE_THREADS), &args)
    }
}

/// Where queries, keys and values lie in the fused tensor: the first column of the keys and of the values.
fn columns(op: &Attention) -> [usize; 2] {
    [
        op.heads * op.head_dim,
        (op.heads + op.kv_heads) * op.head_dim,
    ]
}

pub(super) fn forward(op: &Attention, cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let qkv: &Meta = &cx.metas[0];
    let [k, v] = columns(op);
    let pass = ForwardPass {
        op,
        batch: qkv.shape[0],
        queries: qkv.shape[1],
        keys: qkv.shape[1],
        q: cx.inputs[0],
        q_row: op.qkv_cols(),
        k: cx.inputs[0].from(k),
        v: cx.inputs[0].from(v),
        k_row: op.qkv_cols(),
        k_head: op.head_dim,
        starts: Some(cx.inputs[1]),
        live: None,
        out: cx.outputs[0],
        lse: cx.saved.first().copied(),
    };
    pass.run(cx)
}
