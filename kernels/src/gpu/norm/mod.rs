//! What normalisations of rows share on a GPU: the kernels for RMSNorm and LayerNorm, alone or after the residual addition, the
//! choice of how many threads hold a row, and the sum of the parts of the parameters' gradients.
//!
//! The twin of [`crate::cpu::norm`]. [`crate::ops::rmsnorm`], [`crate::ops::layernorm`] and [`crate::ops::add_norm`] call it
//! with their tensors; [`crate::ops::head_norm`] has kernels of its own over the same rows ([`NORM`]).

#[cfg(all(test, unix))]
mod tests;

use super::basic::{mode_arg, pack_width};
use super::unit::PACK;
use super::{Arg, Gpu, GpuError, GpuGrad, Grid, Kernel, Piece, Unit, View};
use crate::Dtype;
use crate::op::GradMode;

/// A row in the registers of a team of threads: statistics, the normalised row, its gradient. Comes after
/// [`PACK`]; takes the definitions of [`Team::define`].
pub const NORM: Piece = Piece {
    name: "gpu/norm/norm.cuh",
    text: include_str!("norm.cuh"),
};

static UNIT: Unit = Unit {
    name: "gpu/norm/norm.cu",
    text: include_str!("norm.cu"),
    pieces: &[PACK, NORM],
};

static FOLD: Unit = Unit {
    name: "gpu/norm/fold.cu",
    text: include_str!("fold.cu"),
    pieces: &[],
};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Root mean square, a gain.
    Rms,
    /// Mean and variance, a gain, perhaps a bias.
    Layer,
}

/// How many threads hold a row, and how much of it each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    /// Threads: a part of a warp, a warp, or a whole block.
    pub lanes: usize,
    /// Packs that each holds.
    pub packs: usize,
    /// Elements of a pack.
    pub width: usize,
}

impl Team {
    /// For rows of `cols` elements in packs of `width`. A warp holds up to `most_warp` packs a thread, a block of 64 or 128 up
    /// to `most_block`: what leaves registers for enough warps to hide the memory's latency.
    pub fn new(gpu: &Gpu, cols: usize, width: usize, most_warp: usize, most_block: usize) -> Self {
        let warp = gpu.info().warp as usize;
        let team = |lanes: usize| Self {
            lanes,
            packs: cols.div_ceil(width * lanes),
            width,
        };
        let parts = [8, 16, 32, 64].map(team);
        let part = parts
            .iter()
            .find(|team| team.lanes <= warp && team.packs == 1);
        let one = team(warp);
        if let Some(part) = part {
            return *part;
        }
        if one.packs <= most_warp {
            return one;
        }
        let blocks = [64, 128].map(team);
        let block = blocks
            .iter()
            .find(|team| team.lanes > warp && team.packs <= most_block);
        block.copied().unwrap_or_else(|| team(256))
    }

    /// Threads of a block: teams beside each other, or one.
    pub fn threads(&self, gpu: &Gpu) -> u32 {
        if self.lanes > gpu.info().warp as usize {
            self.lanes as u32
        } else {
            256
        }
    }

    /// A grid in which every one of `rows` rows has a team.
    pub fn cover(&self, gpu: &Gpu, rows: usize) -> Grid {
        let threads = self.threads(gpu);
        Grid::new(rows.div_ceil(threads as usize / self.lanes), threads)
    }

    /// Tells a kernel.
    #[must_use]
    pub fn define(&self, kernel: Kernel, kind: Kind) -> Kernel {
        kernel
            .with("LAYER", usize::from(kind == Kind::Layer))
            .with("W", self.width)
            .with("LANES", self.lanes)
            .with("PACKS", self.packs)
    }
}

/// Tensors and constants of a forward.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// Which norm.
    pub kind: Kind,
    /// Rows.
    pub x: View,
    /// Addend and where the sum goes, which is then what is normalised.
    pub add: Option<(View, View)>,
    /// Normalised rows.
    pub n: View,
    /// Means to save (`f32`, one a row).
    pub mean: Option<View>,
    /// Reciprocal deviations to save (`f32`, one a row).
    pub reciprocal: Option<View>,
    /// Gain (`f32`).
    pub w: View,
    /// Bias (`f32`).
    pub b: Option<View>,
    /// Added to the variance or mean square.
    pub eps: f64,
    /// Whether the gain is `1 + w`.
    pub zero_centered: bool,
}

/// Normalises all rows.
///
/// # Errors
/// If the device refuses.
pub fn forward(gpu: &Gpu, all: &Forward) -> Result<(), GpuError> {
    let (cols, rows) = (all.w.len, all.x.len / all.w.len);
    let (y, s) = (all.add.map(|(y, _)| y), all.add.map(|(_, s)| s));
    let mut views = vec![all.x, all.n, all.w];
    views.extend(all.b.into_iter().chain(y).chain(s));
    let team = Team::new(gpu, cols, pack_width(&views, cols), 4, 4);
    let kernel = UNIT
        .kernel("norm_forward")
        .with_type("X", all.x.dtype)
        .with_type("Y", y.unwrap_or(all.x).dtype)
        .with_type("OUT", all.n.dtype);
    let args = [
        s.into(),
        all.n.into(),
        all.mean.into(),
        all.reciprocal.into(),
        all.x.into(),
        y.into(),
        all.w.into(),
        all.b.into(),
        rows.into(),
        cols.into(),
        all.eps.into(),
        shift(all.zero_centered),
    ];
    gpu.launch(&team.define(kernel, all.kind), team.cover(gpu, rows), &args)
}

/// Tensors and constants of a backward.
#[derive(Clone, Copy, Debug)]
pub struct Backward {
    /// Which norm.
    pub kind: Kind,
    /// What was normalised.
    pub x: View,
    /// Gradient of the normalised rows.
    pub dn: View,
    /// A gradient that reaches the rows by another way, to be added.
    pub through: Option<View>,
    /// Saved means.
    pub mean: Option<View>,
    /// Saved reciprocal deviations.
    pub reciprocal: View,
    /// Gain (`f32`).
    pub w: View,
    /// Whether the gain is `1 + w`.
    pub zero_centered: bool,
    /// Gradient of the rows. [`GradMode::InPlace`]: `through` lies here.
    pub dx: Option<GpuGrad>,
    /// Gradient of the addend: the same values, rounded.
    pub dy: Option<GpuGrad>,
    /// Gradients of the gain and of the bias.
    pub d_params: [Option<GpuGrad>; 2],
    /// Scratch of [`scratch_bytes`].
    pub workspace: View,
}

/// Into how many chunks of rows the sums over rows are cut: a block each, 8 rows at least. Enough for several blocks on each
/// multiprocessor, and their sums are a few percent of what the rows themselves are. Depends on the shapes alone.
pub fn chunks(rows: usize) -> usize {
    rows.div_ceil(8).clamp(1, 1024)
}

/// Scratch of a backward over `rows` rows whose parameters have `len` values together.
pub fn scratch_bytes(rows: usize, len: usize) -> usize {
    (chunks(rows) * len * size_of::<f32>()).next_multiple_of(crate::arena::ALIGN)
}

/// Gradients of all rows and of the parameters.
///
/// # Errors
/// If the device refuses.
pub fn backward(gpu: &Gpu, all: &Backward) -> Result<(), GpuError> {
    let (cols, rows) = (all.w.len, all.x.len / all.w.len);
    let (mut through, mut dx_mode) = (all.through, GradMode::Set);
    match all.dx {
        Some(dx) if dx.mode == GradMode::InPlace => through = Some(dx.view),
        Some(dx) => dx_mode = dx.mode,
        None => {}
    }
    let (dx, dy) = [all.dx, all.dy].map(|d| d.map(|d| d.view)).into();
    let wanted = all.d_params.iter().any(Option::is_some);
    let params = 1 + usize::from(all.d_params[1].is_some());
    let mut workspace = all.workspace;
    let partial = wanted.then(|| workspace.carve(chunks(rows) * params * cols, Dtype::F32));
    let mut views = vec![all.x, all.dn, all.w];
    views.extend([through, dx, dy, partial].into_iter().flatten());
    let team = Team::new(gpu, cols, pack_width(&views, cols), 3, 2);
    let kernel = UNIT
        .kernel("norm_backward")
        .with_type("X", all.x.dtype)
        .with_type("Y", dy.unwrap_or(all.x).dtype)
        .with_type("OUT", all.dn.dtype);
    let args = [
        dx.into(),
        mode_arg(dx_mode),
        dy.into(),
        mode_arg(all.dy.map_or(GradMode::Set, |dy| dy.mode)),
        partial.into(),
        params.into(),
        all.x.into(),
        all.dn.into(),
        through.into(),
        all.mean.into(),
        all.reciprocal.into(),
        all.w.into(),
        rows.into(),
        cols.into(),
        shift(all.zero_centered),
    ];
    let grid = Grid::new(chunks(rows), team.threads(gpu));
    gpu.launch(&team.define(kernel, all.kind), grid, &args)?;
    match partial {
        Some(partial) => {
            let lens = [cols, (params - 1) * cols];
            fold(gpu, partial, chunks(rows), all.d_params, lens)
        }
        None => Ok(()),
    }
}

/// What is added to w to make the gain.
fn shift(zero_centered: bool) -> Arg {
    Arg::F32(f32::from(u8::from(zero_centered)))
}

/// Sums `partial (chunks, lens[0] + lens[1])` over its rows, in an order that depends on the shapes alone, and delivers the two
/// parts of the sum.
///
/// # Errors
/// If the device refuses.
pub fn fold(
    gpu: &Gpu,
    partial: View,
    chunks: usize,
    to: [Option<GpuGrad>; 2],
    lens: [usize; 2],
) -> Result<(), GpuError> {
    let [first, second] = to.map(|d| d.map(|d| d.view));
    let [first_mode, second_mode] = to.map(|d| mode_arg(d.map_or(GradMode::Set, |d| d.mode)));
    let args = [
        first.into(),
        first_mode,
        lens[0].into(),
        second.into(),
        second_mode,
        lens[1].into(),
        partial.into(),
        chunks.into(),
    ];
    let grid = Grid::new((lens[0] + lens[1]).div_ceil(16), 512);
    gpu.launch(&FOLD.kernel("fold_partial"), grid, &args)
}
