//! The norm on a GPU: sums of chunks, then their sum.

use crate::Dtype;
use crate::gpu::{Gpu, GpuError, Grid, REDUCE, Unit, View};
use crate::update::{launches, part};

static UNIT: Unit = Unit {
    name: "update/norm/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[REDUCE],
};

/// Elements of one block: 128 KiB to read, and some 50 thousand sums to fold for a model of 1.5 thousand millions.
pub(super) const CHUNK: usize = 1 << 15;

pub(super) fn sum_of_squares(gpu: &Gpu, x: View, partial: View, out: View) -> Result<(), GpuError> {
    let chunks = x.len.div_ceil(CHUNK);
    assert!(
        partial.dtype == Dtype::F64 && partial.len >= chunks && out.dtype == Dtype::F64,
        "partial sums of {} elements are {chunks} f64 values",
        x.len
    );
    let kernel = |name| UNIT.kernel(name).with("CHUNK", CHUNK);
    for range in launches(x.len) {
        let sums = partial.from(range.start / CHUNK);
        let x = part(x, &range);
        let fours = x.ptr.is_multiple_of(16);
        let args = [sums.into(), x.into(), x.len.into(), fours.into()];
        let grid = Grid::new(x.len.div_ceil(CHUNK), 256);
        gpu.launch(&kernel("sum_squares"), grid, &args)?;
    }
    let args = [out.into(), partial.into(), chunks.into()];
    gpu.launch(&kernel("fold_sums"), Grid::new(1, 1024), &args)
}
