//! Attention on AMD's matrix cores (`waves_forward.cu`, `waves_keys.cu`, `waves_queries.cu`): for which heads, with which tiles, and
//! the launches. Parameters and results mean the same as those of the portable fragment kernels. Nothing of this file has run on
//! a device.

use super::PLACES;
use crate::Dtype;
use crate::gpu::matrix::Matrix;
use crate::gpu::{Arg, Gpu, GpuError, Grid, Info, Piece, Unit};

const TILES: Piece = Piece {
    name: "ops/attention/gpu/waves.cuh",
    text: include_str!("waves.cuh"),
};
static FORWARD: Unit = Unit {
    name: "ops/attention/gpu/waves_forward.cu",
    text: include_str!("waves_forward.cu"),
    pieces: &[PLACES, TILES],
};
static KEYS: Unit = Unit {
    name: "ops/attention/gpu/waves_keys.cu",
    text: include_str!("waves_keys.cu"),
    pieces: &[PLACES, TILES],
};
static QUERIES: Unit = Unit {
    name: "ops/attention/gpu/waves_queries.cu",
    text: include_str!("waves_queries.cu"),
    pieces: &[PLACES, TILES],
};

/// Warps of a block; each owns 16 rows.
const WARPS: usize = 4;
const ROWS: usize = 16 * WARPS;

/// The kernels for heads of one size on one family of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waves {
    /// What `MATRIX` is.
    matrix: &'static str,
    head_dim: usize,
    threads: usize,
    /// Rows of the other side in a tile of the forward and of the gradients of queries.
    cols: usize,
    /// And of the gradients of keys, whose sums take twice the registers.
    pub(super) keys_cols: usize,
}

impl Waves {
    /// The largest tiles whose scores and sums fit the registers; none where the heads or the device are not for these kernels.
    pub(super) fn of(head_dim: usize, dtype: Dtype, device: &Info) -> Option<Self> {
        let matrix = Matrix::of(device)?.define()?;
        if dtype != Dtype::Bf16 || !head_dim.is_multiple_of(8) || head_dim > 128 {
            return None;
        }
        // A lane of 32 holds twice the sums, and with RDNA3 four times the factors.
        let (cols, keys_cols) = match (device.warp, head_dim) {
            (64, ..=64) => (64, 64),
            (64, _) => (32, 32),
            (_, ..=64) => (32, 16),
            _ => (16, 16),
        };
        Some(Self {
            matrix,
            head_dim,
            threads: WARPS * device.warp as usize,
            cols,
            keys_cols,
        })
    }

    /// Launches a kernel of `heads` heads of all sequences, whose blocks own parts of `length` rows and have `rows` in shared
    /// memory.
    fn launch(
        &self,
        gpu: &Gpu,
        (unit, name): (&'static Unit, &'static str),
        cols: usize,
        rows: usize,
        [length, heads]: [usize; 2],
        args: &[Arg],
    ) -> Result<(), GpuError> {
        let kernel = unit
            .kernel(name)
            .with("HEAD_DIM", self.head_dim)
            .with("WARPS", WARPS)
            .with("COLS", cols)
            .with("MATRIX", self.matrix);
        let bytes = 2 * rows * (self.head_dim.next_multiple_of(16) + 8);
        let grid = Grid::new(length.div_ceil(ROWS) * heads, self.threads as u32);
        gpu.launch(&kernel, grid.with_shared(bytes), args)
    }

    /// Outputs of `heads` heads of all sequences with `queries` queries each.
    ///
    /// # Errors
    /// If the device refuses.
    pub(super) fn forward(
        &self,
        gpu: &Gpu,
        queries: usize,
        heads: usize,
        args: &[Arg],
    ) -> Result<(), GpuError> {
        let kernel = (&FORWARD, "attention_forward");
        let rows = ROWS + 2 * self.cols;
        self.launch(gpu, kernel, self.cols, rows, [queries, heads], args)
    }

    /// Gradients of keys and values of `kv_heads` heads, and of the queries of `heads`.
    ///
    /// # Errors
    /// If the device refuses.
    pub(super) fn backward(
        &self,
        gpu: &Gpu,
        length: usize,
        [kv_heads, heads]: [usize; 2],
        [keys_args, queries_args]: [&[Arg]; 2],
    ) -> Result<(), GpuError> {
        let kernel = (&KEYS, "attention_backward_keys");
        let (cols, rows) = (self.keys_cols, 2 * (ROWS + self.keys_cols));
        self.launch(gpu, kernel, cols, rows, [length, kv_heads], keys_args)?;
        let kernel = (&QUERIES, "attention_backward_queries");
        let (cols, rows) = (self.cols, 2 * (ROWS + self.cols));
        self.launch(gpu, kernel, cols, rows, [length, heads], queries_args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Kind;
    use crate::gpu::driver::Driver as _;
    use crate::gpu::survey::Survey;

    #[test]
    fn tiles_fit_amd_and_other_devices_have_none() {
        let of = |kind, arch, warp, dim| {
            Waves::of(dim, Dtype::Bf16, Survey::new(kind, arch, warp).0.info())
        };
        for (arch, warp) in [("gfx942", 64), ("gfx1100", 32), ("gfx1201", 32)] {
            for dim in (8..=128).step_by(8) {
                let waves = of(Kind::Rocm, arch, warp, dim).expect("a head for it");
                let rows = 2 * (ROWS + waves.cols.max(waves.keys_cols));
                let bytes = 2 * rows * (dim.next_multiple_of(16) + 8);
                // Beside them a kernel has a few numbers of each query.
                assert!(bytes + 2048 <= 64 << 10, "{waves:?}");
                assert!(waves.keys_cols <= waves.threads);
            }
            assert_eq!(of(Kind::Rocm, arch, warp, 136), None, "too many sums");
            assert_eq!(of(Kind::Rocm, arch, warp, 20), None, "rows of 40 bytes");
        }
        assert_eq!(of(Kind::Rocm, "gfx1030", 32, 64), None);
        assert_eq!(of(Kind::Cuda, "sm_90a", 32, 64), None);
        let float = Survey::new(Kind::Rocm, "gfx942", 64);
        assert_eq!(Waves::of(64, Dtype::F32, float.0.info()), None);
    }
}
