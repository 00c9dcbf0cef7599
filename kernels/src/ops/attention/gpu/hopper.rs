//! Attention on Hopper's tensor cores and copy engine (`hopper_forward.cu`, `hopper_keys.cu`, `hopper_queries.cu`): for which
//! shapes, with which tiles, and the launches.
//!
//! The portable kernels are the twins that it is compared with: outputs, log-sum-exp and gradients mean the same in both, so
//! that the forward of one may go with the backward of the other. Nothing of this file has been timed; what it is chosen for
//! follows what others published.

use super::{PLACES, base2};
use crate::Dtype;
use crate::gpu::{
    Arg, Gpu, GpuBackward, GpuError, GpuForward, Grid, HOPPER, Info, Kernel, Kind, Piece,
    TensorMap, Unit, View,
};
use crate::op::Meta;
use crate::ops::attention::Attention;

const TILES: Piece = Piece {
    name: "ops/attention/gpu/hopper_tiles.cuh",
    text: include_str!("hopper_tiles.cuh"),
};
static FORWARD: Unit = Unit {
    name: "ops/attention/gpu/hopper_forward.cu",
    text: include_str!("hopper_forward.cu"),
    pieces: &[HOPPER, PLACES, TILES],
};
static KEYS: Unit = Unit {
    name: "ops/attention/gpu/hopper_keys.cu",
    text: include_str!("hopper_keys.cu"),
    pieces: &[HOPPER, PLACES, TILES],
};
static QUERIES: Unit = Unit {
    name: "ops/attention/gpu/hopper_queries.cu",
    text: include_str!("hopper_queries.cu"),
    pieces: &[HOPPER, PLACES, TILES],
};

/// Rows that a block owns, 64 in each of two warpgroups.
const ROWS: usize = 128;
/// With the warpgroup that brings tiles.
const THREADS: u32 = 384;
/// Lines of a box that the copy engine brings at once.
const BOX: usize = 64;
/// From so many tokens on heads of 64 go here: at 1024 published kernels of both kinds are about even (229 and 265 TFLOP/s on
/// an H100), beyond it these pull ahead; wider heads gain at any length (298 and 521 at 2048 tokens of heads of 128).
const LONG: usize = 1024;

/// Rows of the other side in a tile of each pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cols {
    forward: usize,
    /// Of the gradients of keys and of queries; absent where their sums do not fit the registers.
    backward: Option<[usize; 2]>,
}

/// The largest tiles whose scores and sums fit the 232 registers of a thread.
fn cols(head_dim: usize) -> Option<Cols> {
    let (forward, backward) = match head_dim {
        64 => (128, Some([128, 128])),
        128 => (128, Some([64, 128])),
        256 => (64, None),
        _ => return None,
    };
    Some(Cols { forward, backward })
}

/// The tiles for this shape on this device, or none where the portable kernels serve. The emulated device, which tests ask,
/// takes any length.
fn chosen(op: &Attention, qkv: &Meta, device: &Info) -> Option<Cols> {
    let long = qkv.shape[1] >= LONG || op.head_dim >= 128 || device.kind == Kind::Emulated;
    if !device.is_hopper() || qkv.dtype != Dtype::Bf16 || !long {
        return None;
    }
    cols(op.head_dim)
}

/// Rows of the tiles of queries that the gradients of the keys go over, where a backward is made here.
pub(super) fn backward_rows(op: &Attention, qkv: &Meta, device: &Info) -> Option<usize> {
    chosen(op, qkv, device)?.backward.map(|[keys, _]| keys)
}

/// Bytes of shared memory: `own` tensors of the block's rows, and two stages of two tensors of the other side.
fn shared_bytes(own: usize, cols: usize, head_dim: usize) -> usize {
    2 * head_dim * (own * ROWS + 4 * cols)
}

/// Rows of `width` for every token of every sequence, as the copy engine reads them.
fn map(view: View, qkv: &Meta, width: usize) -> Arg {
    let (batch, length) = (qkv.shape[0], qkv.shape[1]);
    let dims = [width, length, batch];
    let map = TensorMap::new(view, &dims, &[width, length * width], &[BOX, 1]);
    Arg::Map(map.expect("rows of whole heads, in tensors that start at multiples of 64 bytes"))
}

fn launch(
    gpu: &Gpu,
    kernel: Kernel,
    op: &Attention,
    (own, cols): (usize, usize),
    blocks: usize,
    args: &[Arg],
) -> Result<(), GpuError> {
    let kernel = kernel.with("HEAD_DIM", op.head_dim).with("COLS", cols);
    let grid = Grid::new(blocks, THREADS).with_shared(shared_bytes(own, cols, op.head_dim));
    gpu.launch(&kernel, grid, args)
}

/// Puts a forward on the stream, or says that the portable kernels serve.
///
/// # Errors
/// If the device refuses.
pub(super) fn forward(
    op: &Attention,
    cx: &GpuForward<'_>,
    section: usize,
) -> Result<bool, GpuError> {
    let qkv = &cx.metas[0];
    let Some(Cols { forward, .. }) = chosen(op, qkv, cx.gpu.info()) else {
        return Ok(false);
    };
    let (batch, length) = (qkv.shape[0], qkv.shape[1]);
    let args = [
        map(cx.inputs[0], qkv, op.qkv_cols()),
        cx.outputs[0].into(),
        cx.saved.first().copied().into(),
        cx.inputs[1].into(),
        batch.into(),
        op.heads.into(),
        op.kv_heads.into(),
        length.into(),
        section.into(),
        base2(op.scale),
    ];
    let kernel = FORWARD.kernel("attention_hopper_forward");
    let blocks = length.div_ceil(ROWS) * batch * op.heads;
    launch(cx.gpu, kernel, op, (1, forward), blocks, &args)?;
    Ok(true)
}

/// What the passes of a backward read by the copy engine: `qkv` and `d_out`. None where the portable kernels serve.
pub(super) fn backward_maps(op: &Attention, cx: &GpuBackward<'_>, d_out: View) -> Option<[Arg; 2]> {
    let qkv = &cx.metas[0];
    chosen(op, qkv, cx.gpu.info())?.backward?;
    Some([
        map(cx.input(0), qkv, op.qkv_cols()),
        map(d_out, qkv, op.heads * op.head_dim),
    ])
}

/// Puts both passes of a backward on the stream, for which there were [`backward_maps`]. The arguments are those of the
/// portable kernels, with the maps in the place of what they are of.
///
/// # Errors
/// If the device refuses.
pub(super) fn backward(
    op: &Attention,
    cx: &GpuBackward<'_>,
    keys_args: &[Arg],
    queries_args: &[Arg],
) -> Result<(), GpuError> {
    let qkv = &cx.metas[0];
    let tiles = chosen(op, qkv, cx.gpu.info()).and_then(|cols| cols.backward);
    let [keys, queries] = tiles.expect("the caller asked whether it is made here");
    let parts = qkv.shape[1].div_ceil(ROWS) * qkv.shape[0];
    let kernel = KEYS.kernel("attention_hopper_keys");
    launch(
        cx.gpu,
        kernel,
        op,
        (2, keys),
        parts * op.kv_heads,
        keys_args,
    )?;
    let kernel = QUERIES.kernel("attention_hopper_queries");
    launch(
        cx.gpu,
        kernel,
        op,
        (2, queries),
        parts * op.heads,
        queries_args,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Driver as _;
    use crate::gpu::survey::Survey;

    #[test]
    fn tiles_fit_a_block_and_boxes_fill_them() {
        for head_dim in [64, 128, 256] {
            let cols = cols(head_dim).unwrap();
            let all = [(1, cols.forward)].into_iter();
            let all = all.chain(cols.backward.into_iter().flatten().map(|cols| (2, cols)));
            for (own, cols) in all {
                // The largest block of the device is 227 KiB; up to 4 are beside the tiles.
                assert!(shared_bytes(own, cols, head_dim) <= 223 << 10);
                assert!(cols.is_multiple_of(BOX) && ROWS.is_multiple_of(cols));
            }
        }
        assert_eq!(cols(96), None);
    }

    #[test]
    fn long_sequences_and_wide_heads_of_hopper_alone() {
        let asked = |arch: &str, dtype, head_dim, length| {
            let (survey, _) = Survey::new(Kind::Cuda, arch, 32);
            let op = Attention::new(1, 1, head_dim);
            let qkv = Meta::new([2, length, op.qkv_cols()], dtype);
            let forward = chosen(&op, &qkv, survey.info()).is_some();
            (forward, backward_rows(&op, &qkv, survey.info()).is_some())
        };
        assert_eq!(asked("sm_90a", Dtype::Bf16, 64, LONG), (true, true));
        assert_eq!(asked("sm_90a", Dtype::Bf16, 64, LONG - 1), (false, false));
        assert_eq!(asked("sm_90a", Dtype::Bf16, 128, 32), (true, true));
        assert_eq!(asked("sm_90a", Dtype::Bf16, 256, 32), (true, false));
        assert_eq!(asked("sm_90a", Dtype::Bf16, 96, 4096), (false, false));
        assert_eq!(asked("sm_90a", Dtype::F32, 128, 4096), (false, false));
        assert_eq!(asked("sm_90", Dtype::Bf16, 128, 4096), (false, false));
    }
}
