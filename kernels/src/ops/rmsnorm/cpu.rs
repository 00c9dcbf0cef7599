//! RMSNorm on the CPU: one pass over each row forward, two backward while the row is in the first cache.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and rows written by different threads"
)]

use super::RmsNorm;
use crate::arena::{Shared, scratch_of};
use crate::cpu::rows::{CHUNKS, chunk, parallel};
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::{Elem, Float as _};

pub(super) fn forward<X: Elem, Y: Elem<Acc = X::Acc>>(op: &RmsNorm, cx: &mut Forward<'_>) {
    let (x, w) = (cx.input::<X>(0), cx.input::<X::Acc>(1));
    let cols = w.len();
    let y = Shared::new(cx.output::<Y>(0));
    let r = cx.saved::<X::Acc>(0).map(Shared::new);
    let isa = cx.cpu.isa;
    parallel(&cx.cpu.pool, cx.metas[0].rows(), cols, |start, end| {
        // SAFETY: each task has rows of its own.
        let (y, r) = unsafe {
            (
                y.slice(start * cols, (end - start) * cols),
                r.map(|r| r.slice(start, end - start)),
            )
        };
        run(
            isa,
            ForwardRows {
                op,
                x: &x[start * cols..end * cols],
                w,
                y,
                r,
            },
        );
    });
}

struct ForwardRows<'a, X: Elem, Y> {
    op: &'a RmsNorm,
    x: &'a [X],
    w: &'a [X::Acc],
    y: &'a mut [Y],
    r: Option<&'a mut [X::Acc]>,
}

impl<X: Elem, Y: Elem<Acc = X::Acc>> Kernel<X::Acc> for ForwardRows<'_, X, Y> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(mut self) {
        let cols = self.w.len();
        let shift = if self.op.zero_centered {
            S::c(1.0)
        } else {
            S::zero()
        };
        for (row, (x, y)) in self
            .x
            .chunks_exact(cols)
            .zip(self.y.chunks_exact_mut(cols))
            .enumerate()
        {
            let mut sums = [S::zero(); 2];
            for (i, sum) in blocks::<S>(cols).zip([0, 1].into_iter().cycle()) {
                let v = i.load::<S, X>(x);
                sums[sum] = S::fma(v, v, sums[sum]);
            }
            let mean = S::sum(S::add(sums[0], sums[1])) / S::A::from_f64(cols as f64);
            let r = S::A::ONE / (mean + S::A::from_f64(self.op.eps)).sqrt();
            if let Some(saved) = &mut self.r {
                saved[row] = r;
            }
            let r = S::splat(r);
            for i in blocks::<S>(cols) {
                let gain = S::add(i.load::<S, _>(self.w), shift);
                i.store::<S, Y>(y, S::mul(S::mul(i.load::<S, X>(x), r), gain));
            }
        }
    }
}

pub(super) fn backward<X: Elem, Y: Elem<Acc = X::Acc>>(op: &RmsNorm, cx: &mut Backward<'_>) {
    let (x, w) = (cx.input::<X>(0), cx.input::<X::Acc>(1));
    let (cols, rows) = (w.len(), cx.metas[0].rows());
    let dy = cx.d_output::<Y>(0).expect("the gradient of the output");
    let r = cx.saved::<X::Acc>(0);
    let (isa, pool) = (cx.cpu.isa, &cx.cpu.pool);
    let dx = cx
        .d_input::<X>(0)
        .map(|(dx, mode)| (Shared::new(dx), mode == GradMode::Add));
    let dw = cx.d_input::<X::Acc>(1);
    let partial = scratch_of::<X::Acc>(cx.take_workspace());
    let shared = Shared::new(partial);
    pool.run(CHUNKS, |index| {
        let (start, end) = chunk(rows, index);
        let all = start * cols..end * cols;
        // SAFETY: each task has a chunk of rows and a row of `partial` of its own.
        let (dx, sums) = unsafe {
            (
                dx.map(|(dx, add)| (dx.slice(all.start, all.len()), add)),
                shared.slice(index * cols, cols),
            )
        };
        run(
            isa,
            BackwardRows {
                op,
                x: &x[all.clone()],
                w,
                dy: &dy[all],
                r: &r[start..end],
                dx,
                sums,
            },
        );
    });
    if let Some((dw, mode)) = dw {
        for (i, out) in dw.iter_mut().enumerate() {
            let sum =
                (0..CHUNKS).fold(<X::Acc>::ZERO, |sum, chunk| sum + partial[chunk * cols + i]);
            *out = if mode == GradMode::Add {
                *out + sum
            } else {
                sum
            };
        }
    }
}

struct BackwardRows<'a, X: Elem, Y> {
    op: &'a RmsNorm,
    x: &'a [X],
    w: &'a [X::Acc],
    dy: &'a [Y],
    r: &'a [X::Acc],
    /// Where, and whether to add.
    dx: Option<(&'a mut [X], bool)>,
    /// This chunk's part of dw.
    sums: &'a mut [X::Acc],
}

impl<X: Elem, Y: Elem<Acc = X::Acc>> Kernel<X::Acc> for BackwardRows<'_, X, Y> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(mut self) {
        let cols = self.w.len();
        let shift = if self.op.zero_centered {
            S::c(1.0)
        } else {
            S::zero()
        };
        self.sums.fill(S::A::ZERO);
        for (row, (x, dy)) in self
            .x
            .chunks_exact(cols)
            .zip(self.dy.chunks_exact(cols))
            .enumerate()
        {
            let r = S::splat(self.r[row]);
            let mut dot = S::zero();
            for i in blocks::<S>(cols) {
                let (v, d) = (i.load::<S, X>(x), i.load::<S, Y>(dy));
                let gain = S::add(i.load::<S, _>(self.w), shift);
                dot = S::fma(S::mul(d, gain), v, dot);
                let sum = i.load::<S, _>(self.sums);
                i.store::<S, _>(self.sums, S::fma(S::mul(d, v), r, sum));
            }
            let Some((dx, add)) = &mut self.dx else {
                continue;
            };
            let dx = &mut dx[row * cols..(row + 1) * cols];
            let mean = S::sum(dot) / S::A::from_f64(cols as f64);
            let factor = S::mul(S::splat(mean), S::mul(r, S::mul(r, r)));
            for i in blocks::<S>(cols) {
                let (v, d) = (i.load::<S, X>(x), i.load::<S, Y>(dy));
                let gain = S::add(i.load::<S, _>(self.w), shift);
                let mut out = S::sub(S::mul(r, S::mul(d, gain)), S::mul(v, factor));
                if *add {
                    out = S::add(out, i.load::<S, X>(dx));
                }
                i.store::<S, X>(dx, out);
            }
        }
    }
}
