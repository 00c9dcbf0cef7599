//! Attention on a GPU: which kernels with which tiles, and their order in the grid. In `bf16` products are made of matrix
//! fragments (`forward.cu`, `keys.cu`, `queries.cu`, over `tiles.cuh`), for long sequences and wide heads on Hopper by its own
//! instructions ([`hopper`]), on AMD's matrix cores by theirs ([`waves`]); `f32`, and heads that the fragments do not take, go through `portable.cu`. Nothing is summed by
//! atomics, and no sum depends on how many multiprocessors there are.

mod hopper;
mod plan;
mod waves;

use super::Attention;
use crate::Dtype;
use crate::gpu::basic::mode_arg;
use crate::gpu::{Arg, GpuBackward, GpuError, GpuForward, Grid, Info, Kernel, Piece, Unit, View};
use crate::op::{GradMode, Meta};
use plan::{Tiles, forward_tiles, keys_tiles, queries_tiles, section};
use waves::Waves;

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
static KEYS: Unit = Unit {
    name: "ops/attention/gpu/keys.cu",
    text: include_str!("keys.cu"),
    pieces: &[PLACES, TILES],
};
static QUERIES: Unit = Unit {
    name: "ops/attention/gpu/queries.cu",
    text: include_str!("queries.cu"),
    pieces: &[PLACES, TILES],
};
static DELTA: Unit = Unit {
    name: "ops/attention/gpu/delta.cu",
    text: include_str!("delta.cu"),
    pieces: &[PLACES],
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
        let tiles = forward_tiles(head_dim, cx.gpu.info());
        let section = section(self.keys, head_dim, self.k.dtype, heads / kv_heads);
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
            base2(scale),
        ];
        let all = self.batch * heads;
        if self.q.dtype == self.k.dtype
            && let Some(waves) = Waves::of(head_dim, self.q.dtype, cx.gpu.info())
        {
            return waves.forward(cx.gpu, self.queries, all, &args);
        }
        if let Some(tiles) = tiles.filter(|_| bf16) {
            let kernel = tiles.define(FORWARD.kernel("attention_forward"), head_dim);
            let blocks = self.queries.div_ceil(tiles.rows()) * all;
            let grid = tiles.grid(blocks, tiles.forward_bytes(head_dim));
            return cx.gpu.launch(&kernel, grid, &args);
        }
        let kernel = portable(
            "attention_any_forward",
            self.q.dtype,
            self.k.dtype,
            head_dim,
        );
        let blocks = self.queries.div_ceil(PORTABLE_ROWS) * all;
        cx.gpu
            .launch(&kernel, Grid::new(blocks, PORTABLE_THREADS), &args)
    }
}

/// A scale of scores whose exponentials are taken to base 2.
fn base2(scale: f64) -> Arg {
    (scale * std::f64::consts::LOG2_E).into()
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
    let group = op.heads / op.kv_heads;
    if hopper::forward(op, cx, section(qkv.shape[1], op.head_dim, qkv.dtype, group))? {
        return Ok(());
    }
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

/// Which tiles a backward takes: of keys, of queries. Where one of them does not fit the device, both passes are portable.
fn backward_tiles(op: &Attention, qkv: &Meta, device: &Info) -> Option<(Tiles, Tiles)> {
    let keys = keys_tiles(op.head_dim, device)?;
    let queries = queries_tiles(op.head_dim, device)?;
    (qkv.dtype == Dtype::Bf16).then_some((keys, queries))
}

/// Rows of the tiles of queries that the gradients of the keys go over.
fn tile_rows(op: &Attention, qkv: &Meta, device: &Info) -> usize {
    let portable = || backward_tiles(op, qkv, device).map_or(PORTABLE_ROWS, |(keys, _)| keys.cols);
    let waves = || Some(Waves::of(op.head_dim, qkv.dtype, device)?.keys_cols);
    let own = hopper::backward_rows(op, qkv, device).or_else(waves);
    own.unwrap_or_else(portable)
}

/// Elements of what a backward computes beforehand: delta, and the ranges of the tiles of queries.
fn beforehand(op: &Attention, qkv: &Meta, device: &Info) -> [(usize, Dtype); 2] {
    let (batch, length) = (qkv.shape[0], qkv.shape[1]);
    let rows = tile_rows(op, qkv, device);
    [
        (batch * op.heads * length, Dtype::F32),
        (2 * batch * length.div_ceil(rows), Dtype::I32),
    ]
}

pub(super) fn workspace(op: &Attention, qkv: &Meta, device: &Info, backward: bool) -> usize {
    let pieces = beforehand(op, qkv, device).map(|(len, dtype)| {
        let bytes: usize = len * dtype.size();
        bytes.next_multiple_of(crate::arena::ALIGN)
    });
    if backward { pieces.iter().sum() } else { 0 }
}

pub(super) fn backward(op: &Attention, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(d_qkv) = cx.d_inputs[0] else {
        return Ok(());
    };
    let Some(d_out) = cx.d_outputs[0] else {
        let view = d_qkv.view;
        return match d_qkv.mode {
            GradMode::Set => {
                let bytes = view.len * view.dtype.size();
                cx.gpu.driver().fill(view.ptr, 0, bytes)
            }
            GradMode::Add | GradMode::InPlace => Ok(()),
        };
    };
    let Attention {
        heads,
        kv_heads,
        head_dim,
        scale,
    } = *op;
    let meta = &cx.metas[0];
    let (qkv, out, starts, lse) = (cx.input(0), cx.output(0), cx.input(1), cx.saved[0]);
    let (batch, length) = (meta.shape[0], meta.shape[1]);
    let device = cx.gpu.info();
    let tiles = backward_tiles(op, meta, device);
    let mut workspace = cx.workspace;
    let [delta, ranges] =
        beforehand(op, meta, device).map(|(len, dtype)| workspace.carve(len, dtype));

    let rows = tile_rows(op, meta, device);
    let kernel = DELTA
        .kernel("attention_delta")
        .with_type("X", qkv.dtype)
        .with("HEAD_DIM", head_dim);
    let args = [
        delta.into(),
        ranges.into(),
        out.into(),
        d_out.into(),
        starts.into(),
        heads.into(),
        length.into(),
        rows.into(),
    ];
    let grid = Grid::new(batch * length.div_ceil(rows), 256);
    cx.gpu.launch(&kernel, grid, &args)?;

    let group = heads / kv_heads;
    // Hopper's copy engine reads what the others read by themselves.
    let maps = hopper::backward_maps(op, cx, d_out);
    let [read_qkv, read_d_out] = maps.unwrap_or([qkv.into(), d_out.into()]);
    let given: [Arg; 5] = [
        read_qkv,
        read_d_out,
        d_qkv.view.into(),
        lse.into(),
        delta.into(),
    ];
    let shape = [batch, heads, kv_heads, length].map(Arg::from);
    let scales = [base2(scale), scale.into(), mode_arg(d_qkv.mode)];
    let join = |parts: [&[Arg]; 4]| parts.concat();
    // A block of keys streams the queries and output gradients of its whole group.
    let of_keys = section(length * group, head_dim, qkv.dtype, 1);
    let keys_args = join([
        &given,
        &[ranges.into(), starts.into()],
        &shape,
        &[&[of_keys.into()], &scales[..]].concat(),
    ]);
    let of_queries = section(length, head_dim, qkv.dtype, group);
    let queries_args = join([
        &given,
        &[starts.into()],
        &shape,
        &[&[of_queries.into()], &scales[..]].concat(),
    ]);
    if maps.is_some() {
        return hopper::backward(op, cx, &keys_args, &queries_args);
    }
    if let Some(waves) = Waves::of(head_dim, qkv.dtype, device) {
        let heads = [batch * kv_heads, batch * heads];
        return waves.backward(cx.gpu, length, heads, [&keys_args, &queries_args]);
    }
    if let Some((keys, queries)) = tiles {
        let kernel = keys.define(KEYS.kernel("attention_backward_keys"), head_dim);
        let blocks = length.div_ceil(keys.rows()) * batch * kv_heads;
        let grid = keys.grid(blocks, keys.backward_bytes(head_dim));
        cx.gpu.launch(&kernel, grid, &keys_args)?;
        let kernel = queries.define(QUERIES.kernel("attention_backward_queries"), head_dim);
        let blocks = length.div_ceil(queries.rows()) * batch * heads;
        let grid = queries.grid(blocks, queries.backward_bytes(head_dim));
        return cx.gpu.launch(&kernel, grid, &queries_args);
    }
    for (name, heads, args) in [
        ("attention_any_keys", kv_heads, keys_args),
        ("attention_any_queries", heads, queries_args),
    ] {
        let kernel = portable(name, qkv.dtype, qkv.dtype, head_dim);
        let blocks = length.div_ceil(PORTABLE_ROWS) * batch * heads;
        let grid = Grid::new(blocks, PORTABLE_THREADS);
        cx.gpu.launch(&kernel, grid, &args)?;
    }
    Ok(())
}

/// A kernel for queries of one type and keys of another.
fn portable(name: &'static str, queries: Dtype, keys: Dtype, head_dim: usize) -> Kernel {
    PORTABLE
        .kernel(name)
        .with_type("X", queries)
        .with_type("K", keys)
        .with("HEAD_DIM", head_dim)
}

#[cfg(all(test, unix))]
mod tests;
