//! The linear map on a GPU: one product forward, two backward, and the column sums of the bias. [`Map`] is what the
//! operations that fuse a linear map with something else build on.

use super::product;
use crate::gpu::blas::{Factor, Product};
use crate::gpu::gemm::{self, Sum, fold};
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, Grid, Unit, View};
use crate::op::{GradMode, Meta};
use crate::{Dtype, Precision};

static UNIT: Unit = Unit {
    name: "ops/linear/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

/// Rows of a chunk, where an operation makes a factor of its products in scratch: many enough to fill a device, few enough
/// that scratch stays small beside what is kept. In this crate's tests the cases have several chunks.
pub(crate) const ROWS: usize = if cfg!(test) { 512 } else { 16_384 };

/// The chunks that cover `rows`: start and length.
pub(crate) fn chunks(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows)
        .step_by(ROWS)
        .map(move |start| (start, ROWS.min(rows - start)))
}

/// `w (N, K)` on a device, and how products with it are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a> {
    gpu: &'a Gpu,
    precision: Precision,
    w: View,
    /// N, K.
    n: usize,
    k: usize,
    scratch: View,
}

impl<'a> Map<'a> {
    /// The map of parameter `w` whose output is of type `output`, with scratch of [`bytes`].
    pub(crate) fn new(gpu: &'a Gpu, w: View, meta: &Meta, output: Dtype, scratch: View) -> Self {
        let precision = product(output);
        let w = if precision == Precision::Bf16 {
            w.factor()
        } else {
            View { rounded: None, ..w }
        };
        Self {
            gpu,
            precision,
            w,
            n: meta.shape[0],
            k: meta.cols(),
            scratch,
        }
    }

    fn product(
        &self,
        [m, n, k]: [usize; 3],
        a: Factor,
        b: Factor,
        c: GpuGrad,
        bias: Option<View>,
    ) -> Result<(), GpuError> {
        let whole = Product {
            m,
            n,
            k,
            a,
            b,
            c: c.view,
            c_stride: n,
            accumulate: c.mode == GradMode::Add,
            bias,
        };
        gemm::product(self.gpu, self.precision, &whole, self.scratch)
    }

    /// `y = x w^T + b` for `rows` rows.
    pub(crate) fn forward(
        &self,
        rows: usize,
        x: View,
        y: View,
        bias: Option<View>,
    ) -> Result<(), GpuError> {
        let (x, w) = (Factor::new(x, self.k), Factor::t(self.w, self.k));
        self.product([rows, self.n, self.k], x, w, set(y), bias)
    }

    /// `dx = dy w` for `rows` rows.
    pub(crate) fn d_input(&self, rows: usize, dy: View, dx: GpuGrad) -> Result<(), GpuError> {
        let (dy, w) = (Factor::new(dy, self.n), Factor::new(self.w, self.k));
        self.product([rows, self.k, self.n], dy, w, dx, None)
    }

    /// `dw = dy^T x`, the sum over `rows` rows.
    pub(crate) fn d_weight(
        &self,
        rows: usize,
        dy: View,
        x: View,
        dw: GpuGrad,
    ) -> Result<(), GpuError> {
        let (dy, x) = (Factor::t(dy, self.n), Factor::new(x, self.k));
        self.product([self.n, self.k, rows], dy, x, dw, None)
    }

    /// `db`, the sum over `rows` rows of `dy`.
    pub(crate) fn d_bias(&self, rows: usize, dy: View, db: GpuGrad) -> Result<(), GpuError> {
        let n = self.n;
        let (count, part_rows) = row_parts(rows);
        let parts = { self.scratch }.carve(count * n, Dtype::F32);
        let quad = 4 * dy.dtype.size() as u64;
        let vec = n.is_multiple_of(4) && dy.ptr.is_multiple_of(quad);
        let kernel = UNIT
            .kernel("column_sums")
            .with_type("Y", dy.dtype)
            .with("VEC", u8::from(vec));
        let args = [
            parts.into(),
            dy.into(),
            rows.into(),
            n.into(),
            part_rows.into(),
        ];
        let grid = Grid::new(count * n.div_ceil(64), 256);
        self.gpu.launch(&kernel, grid, &args)?;
        let sum = Sum {
            m: 1,
            n,
            c: db.view,
            c_stride: n,
            accumulate: db.mode == GradMode::Add,
            bias: None,
        };
        fold(self.gpu, parts, count, &sum)
    }
}

/// Writes, whatever was there.
pub(crate) fn set(view: View) -> GpuGrad {
    GpuGrad {
        view,
        mode: GradMode::Set,
    }
}

/// How a gradient is delivered chunk after chunk: the first as it is asked for, the others added.
pub(crate) fn chunk_of(grad: GpuGrad, start: usize) -> GpuGrad {
    if start > 0 {
        GpuGrad {
            mode: GradMode::Add,
            ..grad
        }
    } else {
        grad
    }
}

/// How many parts the rows of a bias's gradient are cut into, and rows of each: by their number alone.
fn row_parts(rows: usize) -> (usize, usize) {
    let part = rows.div_ceil(64).max(64);
    (rows.div_ceil(part).max(1), part)
}

/// Bytes of scratch for a [`Map`] from K to N: forward, or any of the backward, of `rows` rows.
pub(crate) fn bytes(
    precision: Precision,
    rows: usize,
    n: usize,
    k: usize,
    backward: bool,
) -> usize {
    let product = |m, n, k| gemm::scratch_bytes(precision, m, n, k);
    if backward {
        let sums = (row_parts(rows).0 * n * size_of::<f32>()).next_multiple_of(crate::arena::ALIGN);
        product(rows, k, n).max(product(n, k, rows)).max(sums)
    } else {
        product(rows, n, k)
    }
}

pub(super) fn workspace(inputs: &[Meta], backward: bool) -> usize {
    let (rows, n, k) = (inputs[0].rows(), inputs[1].shape[0], inputs[1].cols());
    // The output's type is not known here: the wider need of the two precisions it may be made in.
    let of = |precision| bytes(precision, rows, n, k, backward);
    of(Precision::F32).max(of(Precision::Bf16))
}

pub(super) fn forward(cx: &GpuForward<'_>) -> Result<(), GpuError> {
    let (x, w, y) = (cx.inputs[0], cx.inputs[1], cx.outputs[0]);
    let map = Map::new(cx.gpu, w, &cx.metas[1], y.dtype, cx.workspace);
    map.forward(cx.metas[0].rows(), x, y, cx.inputs.get(2).copied())
}

pub(super) fn backward(cx: &GpuBackward<'_>) -> Result<(), GpuError> {
    let dy = cx.d_outputs[0].expect("the gradient of the output");
    let rows = cx.metas[0].rows();
    let map = Map::new(cx.gpu, cx.input(1), &cx.metas[1], dy.dtype, cx.workspace);
    if let Some(dx) = cx.d_inputs[0] {
        map.d_input(rows, dy, dx)?;
    }
    if let Some(dw) = cx.d_inputs[1] {
        map.d_weight(rows, dy, cx.input(0), dw)?;
    }
    if let Some(db) = cx.d_inputs.get(2).copied().flatten() {
        map.d_bias(rows, dy, db)?;
    }
    Ok(())
}
