//! The classifier on the CPU: three products and one pass over the logits of each chunk.

#![expect(
    unsafe_code,
    reason = "rows of a chunk are shared among threads, and read by vectors"
)]

use super::chunk_rows;
use crate::arena::{Shared, scratch_of};
use crate::cpu::gemm::{Epilogue, Mat, MatMut, gemm, packed_bytes};
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::ops::linear::product;
use crate::{Cpu, Elem, Float as _, Precision, Slot, SlotMut};

/// The parts of the scratch.
struct Scratch<'a, A> {
    /// (rows of a chunk, V)
    logits: &'a mut [A],
    /// (N): loss of each row.
    losses: &'a mut [A],
    /// Packed weights of the logits, and of the gradient of h; empty where they are not packed beforehand.
    panels: [&'a mut [u8]; 2],
    products: &'a mut [u8],
}

/// Packed weights that every chunk reads; where they are larger than this they would fill the caches, and each product packs
/// its own.
const MOST_PANELS: usize = 32 << 20;

/// Bytes of the two packed weights for `rows` rows: none where there is one chunk.
pub(super) fn panel_bytes(
    cpu: &Cpu,
    precision: Precision,
    (n, c, v): (usize, usize, usize),
) -> [usize; 2] {
    let bytes = [(v, c), (c, v)].map(|(n, k)| packed_bytes(cpu, precision, n, k));
    if n > chunk_rows(v) && bytes.iter().all(|bytes| *bytes <= MOST_PANELS) {
        bytes
    } else {
        [0; 2]
    }
}

fn split<'a, A: Elem>(
    cpu: &Cpu,
    precision: Precision,
    workspace: &'a mut [u8],
    (n, c, v): (usize, usize, usize),
) -> Scratch<'a, A> {
    let logits = chunk_rows(v).min(n) * v;
    let [first, second] = panel_bytes(cpu, precision, (n, c, v));
    let (first, rest) = workspace.split_at_mut(first);
    let (second, rest) = rest.split_at_mut(second);
    let (third, rest) = rest.split_at_mut((logits * size_of::<A>()).next_multiple_of(64));
    let (fourth, products) = rest.split_at_mut((n * size_of::<A>()).next_multiple_of(64));
    Scratch {
        logits: &mut scratch_of(third)[..logits],
        losses: &mut scratch_of(fourth)[..n],
        panels: [first, second],
        products,
    }
}

pub(super) fn forward<H: Elem>(cx: &mut Forward<'_>) {
    let (h, w, targets) = (
        cx.input::<H>(0),
        cx.input::<H::Acc>(1),
        cx.inputs[2].as_i32(),
    );
    let (n, c, v) = (cx.metas[0].rows(), cx.metas[0].cols(), cx.metas[1].shape[0]);
    let (cpu, precision) = (cx.cpu, product(H::DTYPE));
    let rows = chunk_rows(v).min(n);
    let scratch = split::<H::Acc>(cpu, precision, cx.take_workspace(), (n, c, v));
    let w = Mat::new(Slot::new(w), v, c).t();
    let [panels, _] = scratch.panels;
    let w = w.packed(cpu, precision, panels);
    for start in (0..n).step_by(rows) {
        let count = rows.min(n - start);
        let logits = &mut scratch.logits[..count * v];
        multiply(
            cpu,
            precision,
            &h[start * c..(start + count) * c],
            w,
            logits,
            scratch.products,
        );
        let losses = &mut scratch.losses[start..start + count];
        softmax_cross_entropy(cpu, logits, &targets[start..start + count], losses, v, None);
    }
    cx.output::<H::Acc>(0)[0] = total(scratch.losses, cx.scalars.loss_scale);
}

pub(super) fn backward<H: Elem>(cx: &mut Backward<'_>) {
    let (h, w, targets) = (cx.input::<H>(0), cx.input::<H::Acc>(1), cx.input_i32(2));
    let (n, c, v) = (cx.metas[0].rows(), cx.metas[0].cols(), cx.metas[1].shape[0]);
    let upstream = cx.d_output::<H::Acc>(0).map_or(H::Acc::ZERO, |d| d[0]);
    let factor = H::Acc::from_f64(cx.scalars.loss_scale) * upstream;
    let mut dh = cx.d_input::<H>(0);
    let mut dw = cx.d_input::<H::Acc>(1);
    let (cpu, precision) = (cx.cpu, product(H::DTYPE));
    let rows = chunk_rows(v).min(n);
    let scratch = split::<H::Acc>(cpu, precision, cx.take_workspace(), (n, c, v));
    let w = Mat::new(Slot::new(w), v, c);
    let [forward, backward] = scratch.panels;
    // (C, V) for the logits, (V, C) for the gradient of h
    let w_logits = w.t().packed(cpu, precision, forward);
    let w = if dh.is_some() {
        w.packed(cpu, precision, backward)
    } else {
        w
    };
    for start in (0..n).step_by(rows) {
        let count = rows.min(n - start);
        let logits = &mut scratch.logits[..count * v];
        multiply(
            cpu,
            precision,
            &h[start * c..(start + count) * c],
            w_logits,
            logits,
            scratch.products,
        );
        let losses = &mut scratch.losses[start..start + count];
        softmax_cross_entropy(
            cpu,
            logits,
            &targets[start..start + count],
            losses,
            v,
            Some(factor),
        );
        // (count, V): dz
        let dz = Mat::new(Slot::new(&*logits), count, v);
        if let Some((dh, mode)) = &mut dh {
            let part = MatMut::new(
                SlotMut::new(&mut dh[start * c..(start + count) * c]),
                count,
                c,
            );
            let epilogue = Epilogue {
                accumulate: *mode == GradMode::Add,
                bias: None,
            };
            gemm(cpu, precision, dz, w, part, epilogue, scratch.products);
        }
        if let Some((dw, mode)) = &mut dw {
            let epilogue = Epilogue {
                accumulate: start > 0 || *mode == GradMode::Add,
                bias: None,
            };
            let part = Mat::new(Slot::new(&h[start * c..(start + count) * c]), count, c);
            gemm(
                cpu,
                precision,
                dz.t(),
                part,
                MatMut::new(SlotMut::new(dw), v, c),
                epilogue,
                scratch.products,
            );
        }
    }
    let loss = cx.late_outputs[0]
        .take()
        .expect("the loss is written here")
        .into_slice::<H::Acc>();
    loss[0] = total(scratch.losses, cx.scalars.loss_scale);
}

/// Logits of some rows: `h` (rows, C) by `w` (C, V).
fn multiply<H: Elem>(
    cpu: &Cpu,
    precision: Precision,
    h: &[H],
    w: Mat<'_>,
    logits: &mut [H::Acc],
    scratch: &mut [u8],
) {
    let (c, v) = (w.rows, w.cols);
    let count = h.len() / c;
    let h = Mat::new(Slot::new(h), count, c);
    gemm(
        cpu,
        precision,
        h,
        w,
        MatMut::new(SlotMut::new(logits), count, v),
        Epilogue::default(),
        scratch,
    );
}

/// The sum in the order of the rows, in `f64`, so that it neither drifts nor depends on threads.
fn total<A: Elem<Acc = A> + crate::Float>(losses: &[A], scale: f64) -> A {
    A::from_f64(losses.iter().map(|x| x.to_f64()).sum::<f64>() * scale)
}

/// The pass over the logits of some rows, (rows, V), that the chunks of the classifier make: the loss of each row, and with a
/// `factor` (the upstream gradient times the scale) its gradient in place of the logits. Rows whose target is negative have
/// neither.
pub fn softmax_cross_entropy<A: crate::Float>(
    cpu: &Cpu,
    logits: &mut [A],
    targets: &[i32],
    losses: &mut [A],
    vocab: usize,
    factor: Option<A>,
) {
    assert!(
        logits.len() == targets.len() * vocab && losses.len() == targets.len(),
        "a row of logits and a loss for each target"
    );
    let (logits, losses) = (Shared::new(logits), Shared::new(losses));
    parallel(&cpu.pool, targets.len(), vocab, |start, end| {
        // SAFETY: each task has rows of its own.
        let (logits, losses) = unsafe {
            (
                logits.slice(start * vocab, (end - start) * vocab),
                losses.slice(start, end - start),
            )
        };
        run(
            cpu.isa,
            SoftmaxRows {
                logits,
                targets: &targets[start..end],
                losses,
                vocab,
                factor,
            },
        );
    });
}

/// Loss of each row, and with a `factor` its gradient in place of the logits. A row is read from memory once and, with a
/// `factor`, written once: it stays in the nearest caches for its three loops.
struct SoftmaxRows<'a, A> {
    logits: &'a mut [A],
    targets: &'a [i32],
    losses: &'a mut [A],
    vocab: usize,
    factor: Option<A>,
}

impl<A: crate::Float> Kernel<A> for SoftmaxRows<'_, A> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = A>>(self) {
        for ((row, target), loss) in self
            .logits
            .chunks_exact_mut(self.vocab)
            .zip(self.targets)
            .zip(self.losses)
        {
            let Ok(target) = usize::try_from(*target) else {
                *loss = A::ZERO;
                if self.factor.is_some() {
                    row.fill(A::ZERO);
                }
                continue;
            };
            let at_target = row[target];
            let highest = highest::<S>(row);
            let sum = if self.factor.is_some() {
                exponentials::<S, true>(row, highest)
            } else {
                exponentials::<S, false>(row, highest)
            };
            *loss = sum.ln() + highest - at_target;
            if let Some(factor) = self.factor {
                let scale = S::splat(factor / sum);
                for i in blocks::<S>(row.len()) {
                    let e = i.load::<S, A>(row);
                    i.store::<S, A>(row, S::mul(e, scale));
                }
                row[target] = row[target] - factor;
            }
        }
    }
}

/// The largest number of a row.
#[inline(always)]
fn highest<S: Simd>(row: &[S::A]) -> S::A {
    let quads = row.chunks_exact(4 * S::LANES);
    let rest = quads.remainder();
    // Four at once: each waits for itself.
    let mut largest = [S::splat(row[0]); 4];
    for quad in quads {
        for (i, largest) in largest.iter_mut().enumerate() {
            // SAFETY: a quad has four vectors.
            *largest = S::max(*largest, unsafe {
                S::load(quad.as_ptr().add(i * S::LANES))
            });
        }
    }
    let [a, b, c, d] = largest;
    let largest = S::max_lane(S::max(S::max(a, b), S::max(c, d)));
    rest.iter().fold(largest, |m, x| m.max(*x))
}

/// The sum of `e^(x - highest)` over a row, which `STORE` puts in place of each `x`. The order of additions depends on nothing
/// but the vectors: whole ones by turns into two sums, then what is left.
#[inline(always)]
fn exponentials<S: Simd, const STORE: bool>(row: &mut [S::A], highest: S::A) -> S::A {
    let lanes = S::LANES;
    let minus = S::splat(highest);
    let mut sums = [S::zero(); 2];
    let mut pairs = row.chunks_exact_mut(2 * lanes);
    for pair in &mut pairs {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a pair has two vectors.
            unsafe {
                let at = pair.as_mut_ptr().add(i * lanes);
                let e = S::exp(S::sub(S::load(at.cast_const()), minus));
                *sum = S::add(*sum, e);
                if STORE {
                    S::store(at, e);
                }
            }
        }
    }
    let mut rest = pairs.into_remainder();
    if rest.len() >= lanes {
        let (whole, last) = rest.split_at_mut(lanes);
        // SAFETY: one vector.
        unsafe {
            let e = S::exp(S::sub(S::load(whole.as_ptr()), minus));
            sums[0] = S::add(sums[0], e);
            if STORE {
                S::store(whole.as_mut_ptr(), e);
            }
        }
        rest = last;
    }
    let mut sum = S::sum(S::add(sums[0], sums[1]));
    for x in rest {
        let e = (*x - highest).exp();
        sum += e;
        if STORE {
            *x = e;
        }
    }
    sum
}
