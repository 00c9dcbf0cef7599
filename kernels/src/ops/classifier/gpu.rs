//! The classifier on a GPU: three products and one pass over the logits of each chunk.

use crate::arena::ALIGN;
use crate::gpu::blas::{Factor, Product};
use crate::gpu::gemm;
use crate::gpu::{
    Arg, Gpu, GpuBackward, GpuError, GpuForward, Grid, Info, LIVE_BYTES, REDUCE, Unit, View,
};
use crate::op::{GradMode, Meta};
use crate::ops::linear::product;
use crate::{Dtype, Precision};

static UNIT: Unit = Unit {
    name: "ops/classifier/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[REDUCE],
};

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Rows whose logits exist at once.
    pub(super) rows: usize,
    /// Bytes of shared memory that a row may take.
    pub(super) shared: usize,
    /// Threads that work on a row, at most.
    pub(super) threads: usize,
}

impl Plan {
    /// Rows follow from the vocabulary alone: about 512 MiB of logits. Each chunk reads and writes the gradient of the weights
    /// once, so that fewer than a thousand rows would wait for memory, and more than eight thousand gain nothing.
    pub(super) fn new(vocab: usize, device: &Info) -> Self {
        let rows = (512 << 20) / (4 * stride(vocab));
        Self {
            rows: rows.clamp(1024, 8192) / 128 * 128,
            // Beside the row the block keeps a sum for each of its warps.
            shared: (device.shared_bytes as usize).saturating_sub(1024),
            threads: 1024,
        }
    }
}

/// Elements between rows of logits, so that each is aligned to 16 bytes also as `bf16`.
fn stride(vocab: usize) -> usize {
    vocab.next_multiple_of(8)
}

pub(super) fn workspace(inputs: &[Meta], plan: Plan) -> usize {
    let bytes = lengths(inputs, plan).map(|len| (4 * len).next_multiple_of(ALIGN));
    bytes.iter().sum()
}

/// Words of the scratch's parts: logits of a chunk, the losses of all rows, scratch of the products.
fn lengths(metas: &[Meta], plan: Plan) -> [usize; 3] {
    let (n, c, vocab) = (metas[0].rows(), metas[0].cols(), metas[1].shape[0]);
    let precision = product(metas[0].dtype);
    // The last chunk may have fewer rows, and a product of fewer rows another cut.
    let rows = plan.rows.min(n);
    let products = [rows, n % rows.max(1)].into_iter().flat_map(|rows| {
        [(rows, vocab, c), (rows, c, vocab), (vocab, c, rows)]
            .map(|(m, n, k)| gemm::scratch_bytes(precision, m, n, k))
    });
    let products = products.max().expect("six products");
    [rows * stride(vocab), n, products.div_ceil(4)]
}

/// What every chunk needs.
struct Classifier<'a> {
    gpu: &'a Gpu,
    plan: Plan,
    h: View,
    w: View,
    targets: View,
    /// (rows of a chunk, stride), `f32`.
    logits: View,
    /// (n)
    losses: View,
    /// Scratch of the products.
    products: View,
    precision: Precision,
    c: usize,
    vocab: usize,
    live: u64,
}

impl<'a> Classifier<'a> {
    fn new(
        gpu: &'a Gpu,
        plan: Plan,
        metas: &[Meta],
        [h, w, targets]: [View; 3],
        mut workspace: View,
        live: u64,
    ) -> Self {
        let [logits, losses, products] = lengths(metas, plan);
        let [logits, losses] = [logits, losses].map(|len| workspace.carve(len, Dtype::F32));
        Self {
            gpu,
            plan,
            h,
            w: w.factor(),
            targets,
            logits,
            losses,
            products: workspace.carve(products, Dtype::I32),
            precision: product(metas[0].dtype),
            c: metas[0].cols(),
            vocab: metas[1].shape[0],
            live,
        }
    }

    /// First row and number of rows of each chunk.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let (n, rows) = (self.targets.len, self.plan.rows);
        (0..n)
            .step_by(rows)
            .map(move |start| (start, rows.min(n - start)))
    }

    fn multiply(&self, product: &Product) -> Result<(), GpuError> {
        gemm::product(self.gpu, self.precision, product, self.products)
    }

    /// Logits of rows from `start` on: `h` (count, C) by `w` (V, C) transposed.
    fn make_logits(&self, start: usize, count: usize) -> Result<(), GpuError> {
        let logits = Product {
            m: count,
            n: self.vocab,
            k: self.c,
            a: Factor::new(self.h.from(start * self.c), self.c),
            b: Factor::t(self.w, self.c),
            c: self.logits,
            c_stride: stride(self.vocab),
            accumulate: false,
            bias: None,
        };
        self.multiply(&logits)
    }

    /// Losses of rows from `start` on; with an `upstream` gradient (an address, 0: it is zero) the logits become their own.
    fn softmax(&self, start: usize, count: usize, upstream: Option<u64>) -> Result<(), GpuError> {
        let stride = stride(self.vocab);
        let row_bytes = 4 * stride;
        let in_shared = upstream.is_some() && row_bytes <= self.plan.shared;
        let name = if in_shared {
            "softmax_in_shared"
        } else {
            "softmax_in_passes"
        };
        let kernel = UNIT.kernel(name).with_type("DZ", self.h.dtype);
        let threads = self.vocab.div_ceil(4).next_multiple_of(64);
        let threads = threads.min(self.plan.threads);
        let mut grid = Grid::new(count, threads as u32);
        let mut args: Vec<Arg> = vec![
            self.logits.into(),
            self.losses.from(start).into(),
            self.targets.from(start).into(),
            Arg::Ptr(upstream.unwrap_or(0)),
            Arg::Ptr(self.live),
            self.vocab.into(),
            stride.into(),
        ];
        if in_shared {
            grid = grid.with_shared(row_bytes);
        } else {
            args.push(upstream.is_some().into());
        }
        self.gpu.launch(&kernel, grid, &args)
    }

    /// The gradient of the logits, where [`Self::softmax`] has left it, and the elements between its rows.
    fn gradient(&self) -> (View, usize) {
        let wide = Dtype::F32.size() / self.h.dtype.size();
        let view = View::new(self.logits.ptr, self.logits.len * wide, self.h.dtype);
        (view, stride(self.vocab) * wide)
    }

    fn total(&self, loss: View) -> Result<(), GpuError> {
        let kernel = UNIT.kernel("total_loss").with_type("DZ", self.h.dtype);
        let args = [
            loss.into(),
            self.losses.into(),
            Arg::Ptr(self.live),
            self.targets.len.into(),
        ];
        self.gpu.launch(&kernel, Grid::new(1, 1024), &args)
    }
}

pub(super) fn forward(cx: &GpuForward<'_>, plan: Plan) -> Result<(), GpuError> {
    let inputs = [cx.inputs[0], cx.inputs[1], cx.inputs[2]];
    let op = Classifier::new(cx.gpu, plan, cx.metas, inputs, cx.workspace, cx.live);
    for (start, count) in op.chunks() {
        op.make_logits(start, count)?;
        op.softmax(start, count, None)?;
    }
    op.total(cx.outputs[0])
}

pub(super) fn backward(cx: &GpuBackward<'_>, plan: Plan) -> Result<(), GpuError> {
    let inputs = [cx.input(0), cx.input(1), cx.input(2)];
    let op = Classifier::new(cx.gpu, plan, cx.metas, inputs, cx.workspace, cx.live);
    let upstream = cx.d_outputs[0].map_or(0, |d| d.ptr);
    for (start, count) in op.chunks() {
        op.make_logits(start, count)?;
        op.softmax(start, count, Some(upstream))?;
        let (dz, stride) = op.gradient();
        if let Some(dh) = cx.d_inputs[0] {
            let dh = Product {
                m: count,
                n: op.c,
                k: op.vocab,
                a: Factor::new(dz, stride),
                b: Factor::new(op.w, op.c),
                c: dh.view.from(start * op.c),
                c_stride: op.c,
                accumulate: dh.mode == GradMode::Add,
                bias: None,
            };
            op.multiply(&dh)?;
        }
        if let Some(dw) = cx.d_inputs[1] {
            let dw = Product {
                m: op.vocab,
                n: op.c,
                k: count,
                a: Factor::t(dz, stride),
                b: Factor::new(op.h.from(start * op.c), op.c),
                c: dw.view,
                c_stride: op.c,
                accumulate: start > 0 || dw.mode == GradMode::Add,
                bias: None,
            };
            op.multiply(&dw)?;
        }
    }
    op.total(cx.late_outputs[0])
}

/// Seconds of the pass over the logits of `rows` rows, at most a chunk's, by the device's clock: the mean of `calls` behind one
/// another.
pub(super) fn time_pass(
    gpu: &Gpu,
    plan: Plan,
    [rows, vocab]: [usize; 2],
    calls: usize,
) -> Result<f64, GpuError> {
    let metas = [
        Meta::new([rows, 8], Dtype::Bf16),
        Meta::new([vocab, 8], Dtype::F32),
        Meta::new([rows], Dtype::I32),
    ];
    let scratch = gpu.alloc(workspace(&metas, plan))?;
    let small = gpu.alloc(4 * rows + LIVE_BYTES + 4)?;
    // Logits of zero, targets of zero, an upstream gradient of zero: every row is worked on all the same.
    gpu.driver().fill(scratch.address(), 0, scratch.bytes())?;
    gpu.driver().fill(small.address(), 0, small.bytes())?;
    let targets = small.view(LIVE_BYTES, rows, Dtype::I32);
    let upstream = small.view(LIVE_BYTES + 4 * rows, 1, Dtype::F32);
    let none = View::new(0, 0, Dtype::Bf16);
    let workspace = scratch.view(0, scratch.bytes() / 4, Dtype::I32);
    let inputs = [none, none, targets];
    let op = Classifier::new(gpu, plan, &metas, inputs, workspace, small.address());
    let pass = || op.softmax(0, rows, Some(upstream.ptr));
    pass()?;
    let seconds = gpu
        .driver()
        .time(&mut || (0..calls).try_for_each(|_| pass()))?;
    Ok(seconds / calls as f64)
}
