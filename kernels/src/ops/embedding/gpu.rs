//! Embedding on a GPU: rows are copied forward; backward the tokens are sorted by their ids and runs of equal ids added.

use crate::Dtype;
use crate::arena::ALIGN;
use crate::gpu::basic::mode_arg;
use crate::gpu::{Arg, Gpu, GpuBackward, GpuError, GpuForward, Grid, Kernel, Unit, View};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "ops/embedding/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

/// Tokens that one block of the sort goes through.
const CHUNK: usize = 2048;
/// Bits that one pass of the sort goes by, at most: two passes for every vocabulary up to 262,144.
const MOST_BITS: usize = 9;
/// Sorted tokens that one thread adds.
const RUN: usize = 32;

/// Elements that are moved at once.
fn width(cols: usize, views: &[View]) -> usize {
    let aligned = |view: &View| view.ptr.is_multiple_of(4 * view.dtype.size() as u64);
    if cols.is_multiple_of(4) && views.iter().all(aligned) {
        4
    } else {
        1
    }
}

fn kernel(name: &'static str, dtype: Dtype, width: usize) -> Kernel {
    UNIT.kernel(name)
        .with_type("P", dtype)
        .with("VEC", width)
        .with("CHUNK", CHUNK)
        .with("DIGITS", 1 << MOST_BITS)
        .with("RUN", RUN)
}

pub(super) fn forward(cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (ids, table, x) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    assert_eq!(table.dtype, x.dtype, "a table and its rows have one type");
    let cols = cx.metas[1].cols();
    let vec = width(cols, &[table, x]);
    let info = cx.gpu.info();
    let blocks = (ids.len * info.warp as usize).div_ceil(256);
    let grid = Grid::new(blocks.min(info.multiprocessors as usize * 16), 256);
    let args = [
        x.into(),
        ids.into(),
        table.into(),
        ids.len.into(),
        (cols / vec).into(),
    ];
    let kernel = kernel("embedding_forward", table.dtype, vec);
    cx.gpu.launch(&kernel, grid, &args)
}

/// The sort's passes: how many, and bits of each.
fn passes(vocab: usize) -> (usize, usize) {
    let bits = (usize::BITS - (vocab - 1).leading_zeros()).max(1) as usize;
    let passes = bits.div_ceil(MOST_BITS);
    (passes, bits.div_ceil(passes))
}

/// Lengths of the parts of the scratch: two orders of the tokens, the counts of the sort, two sets of parts of runs.
fn lengths(tokens: usize, vocab: usize, cols: usize) -> [usize; 5] {
    let counts = tokens.div_ceil(CHUNK) << passes(vocab).1;
    let sums = tokens.div_ceil(RUN) * cols;
    [tokens, tokens, counts, sums, sums]
}

pub(super) fn workspace(tokens: usize, vocab: usize, cols: usize) -> usize {
    let bytes = lengths(tokens, vocab, cols).map(|n| (4 * n).next_multiple_of(ALIGN));
    bytes.iter().sum()
}

pub(super) fn backward(cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let Some(gradient) = cx.d_inputs[1] else {
        return Ok(());
    };
    let (gpu, table) = (cx.gpu, gradient.view);
    if gradient.mode == GradMode::Set {
        gpu.driver()
            .fill(table.ptr, 0, table.len * table.dtype.size())?;
    }
    let Some(dx) = cx.d_outputs[0] else {
        return Ok(());
    };
    assert_eq!(table.dtype, dx.dtype, "a table and its rows have one type");
    let (ids, vocab, cols) = (cx.input(0), cx.metas[1].shape[0], cx.metas[1].cols());
    let mut scratch = cx.workspace;
    let [orders, others, counts, first, last] = lengths(ids.len, vocab, cols);
    let orders = [orders, others].map(|n| scratch.carve(n, Dtype::I32));
    let counts = scratch.carve(counts, Dtype::I32);
    let [first, last] = [first, last].map(|n| scratch.carve(n, Dtype::F32));
    let vec = width(cols, &[table, dx, first, last]);
    let named = |name| kernel(name, table.dtype, vec);
    let order = sort(gpu, &named, ids, vocab, orders, counts)?;
    let parts = cols / vec;
    let grid = Grid::cover(ids.len.div_ceil(RUN) * parts);
    let mode = mode_arg(gradient.mode);
    let places = [ids.into(), order.into(), ids.len.into(), parts.into(), mode];
    let sums: [Arg; 4] = [table.into(), first.into(), last.into(), dx.into()];
    gpu.launch(&named("sum_runs"), grid, &[&sums[..], &places].concat())?;
    gpu.launch(&named("fold_runs"), grid, &[&sums[..3], &places].concat())
}

/// Sorts the tokens by their ids, those of one id in ascending order.
fn sort(
    gpu: &Gpu,
    named: &dyn Fn(&'static str) -> Kernel,
    ids: View,
    vocab: usize,
    orders: [View; 2],
    counts: View,
) -> Result<View, GpuError> {
    let (passes, bits) = passes(vocab);
    let grid = Grid::new(ids.len.div_ceil(CHUNK), 256);
    let mut order = None;
    for pass in 0..passes {
        let to = orders[pass % 2];
        let tokens: [Arg; 5] = [
            order.into(),
            ids.into(),
            ids.len.into(),
            (pass * bits).into(),
            bits.into(),
        ];
        let count = [&[counts.into()][..], &tokens].concat();
        gpu.launch(&named("count_digits"), grid, &count)?;
        let sum = [counts.into(), counts.len.into()];
        gpu.launch(&named("sum_counts"), Grid::new(1, 1024), &sum)?;
        let place = [&[to.into(), counts.into()][..], &tokens].concat();
        gpu.launch(&named("place_tokens"), grid, &place)?;
        order = Some(to);
    }
    Ok(order.expect("there is at least one pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_cover_every_id() {
        for (vocab, want) in [
            (1, (1, 1)),
            (2, (1, 1)),
            (3, (1, 2)),
            (512, (1, 9)),
            (513, (2, 5)),
            (50_257, (2, 8)),
            (200_000, (2, 9)),
            (300_000, (3, 7)),
        ] {
            assert_eq!(passes(vocab), want, "{vocab}");
            assert!(vocab <= 1 << (want.0 * want.1));
        }
    }

    /// Two passes over three chunks, as the standard library's stable sort does it.
    #[test]
    #[cfg(unix)]
    fn tokens_are_sorted_stably() {
        use crate::gpu::check::emulated;
        use crate::gpu::emulator::Options;
        use crate::philox::Stream;
        let (n, vocab) = (5000, 1000);
        let mut stream = Stream::new(8, 0);
        // Half of the tokens are of few ids.
        let ids: Vec<i32> = (0..n)
            .map(|i| stream.below(if i % 2 == 0 { vocab } else { 3 }) as i32)
            .collect();
        let mut want: Vec<i32> = (0..n).collect();
        want.sort_by_key(|t| ids[*t as usize]);
        for (warp, order) in [(32, 0), (64, 0), (32, 3), (64, 3)] {
            let Some(gpu) = emulated(Options {
                warp,
                checked: true,
                order,
            }) else {
                return;
            };
            let words = |values: &[i32]| -> Vec<u8> {
                values.iter().flat_map(|x| x.to_le_bytes()).collect()
            };
            let memory = gpu.alloc(4 * 3 * n as usize).unwrap();
            gpu.driver().upload(memory.address(), &words(&ids)).unwrap();
            let [ids, one, two] =
                [0, 1, 2].map(|i| memory.view(4 * i * n as usize, n as usize, Dtype::I32));
            let [_, _, counts, ..] = lengths(n as usize, vocab as usize, 1);
            let counts_memory = gpu.alloc(4 * counts).unwrap();
            let counts = counts_memory.view(0, counts, Dtype::I32);
            let named = |name| kernel(name, Dtype::F32, 1);
            let got = sort(&gpu, &named, ids, vocab as usize, [one, two], counts).unwrap();
            let mut bytes = vec![0; 4 * n as usize];
            gpu.driver().download(&mut bytes, got.ptr).unwrap();
            assert!(bytes == words(&want), "warps of {warp}, order {order}");
        }
    }
}
