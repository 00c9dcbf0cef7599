//! QK-norm on the CPU: the row of [`crate::ops::rmsnorm`] for each query and key head.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::HeadNorm;
use crate::arena::{Shared, scratch_of};
use crate::cpu::norm::{Delivery, RowGrad, RowNorm as _, fold};
use crate::cpu::rows::{CHUNKS, chunk, parallel};
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};
use crate::ops::rmsnorm::cpu::RmsRow;
use crate::{Elem, Float as _};

fn gains<'a, A>(op: &HeadNorm, wq: &'a [A], wk: &'a [A]) -> [RmsRow<'a, A>; 2] {
    [wq, wk].map(|w| RmsRow {
        w,
        eps: op.eps,
        zero_centered: false,
    })
}

pub(super) fn forward<X: Elem>(op: &HeadNorm, cx: &mut Forward<'_>) {
    let (x, cols, isa) = (cx.input::<X>(0), cx.metas[0].cols(), cx.cpu.isa);
    let norms = gains::<X::Acc>(op, cx.input(1), cx.input(2));
    let y = Shared::new(cx.output::<X>(0));
    parallel(&cx.cpu.pool, cx.metas[0].rows(), cols, |start, end| {
        let all = start * cols..end * cols;
        let rows = ForwardRows {
            op,
            norms,
            x: &x[all.clone()],
            // SAFETY: each task has rows of its own.
            y: unsafe { y.slice(all.start, all.len()) },
        };
        run(isa, rows);
    });
}

struct ForwardRows<'a, X: Elem> {
    op: &'a HeadNorm,
    norms: [RmsRow<'a, X::Acc>; 2],
    x: &'a [X],
    y: &'a mut [X],
}

impl<X: Elem> Kernel<X::Acc> for ForwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let (heads, width) = (self.op.heads, self.op.head_dim);
        let normed = heads + self.op.kv_heads;
        let cols = (normed + self.op.kv_heads) * width;
        let rows = self.x.chunks_exact(cols);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(cols)) {
            for head in 0..normed {
                let here = head * width..(head + 1) * width;
                let norm = &self.norms[usize::from(head >= heads)];
                norm.forward_row::<S, X, X>(&x[here.clone()], &mut y[here]);
            }
            y[normed * width..].copy_from_slice(&x[normed * width..]);
        }
    }
}

pub(super) fn backward<X: Elem>(op: &HeadNorm, cx: &mut Backward<'_>) {
    let (x, rows, cols) = (cx.input::<X>(0), cx.metas[0].rows(), cx.metas[0].cols());
    let dy = cx.d_output::<X>(0).expect("the gradient of the output");
    let norms = gains::<X::Acc>(op, cx.input(1), cx.input(2));
    let dx = cx.d_input::<X>(0).map(|(dx, mode)| (Shared::new(dx), mode));
    let width = 2 * op.head_dim;
    let (isa, scratch) = (cx.cpu.isa, scratch_of::<X::Acc>(cx.take_workspace()));
    let partial = &mut scratch[..CHUNKS * width];
    let shared = Shared::new(partial);
    cx.cpu.pool.run(CHUNKS, |index| {
        let (start, end) = chunk(rows, index);
        let all = start * cols..end * cols;
        // SAFETY: each task has a chunk of rows and a row of `partial` of its own.
        let (dx, sums) = unsafe {
            (
                dx.map(|(dx, mode)| (dx.slice(all.start, all.len()), mode)),
                shared.slice(index * width, width),
            )
        };
        let rows = BackwardRows {
            op,
            norms,
            x: &x[all.clone()],
            dy: &dy[all],
            dx,
            sums,
        };
        run(isa, rows);
    });
    for param in 0..2 {
        if let Some((target, mode)) = cx.d_input(1 + param) {
            fold(cx.cpu, &partial[param * op.head_dim..], width, target, mode);
        }
    }
}

struct BackwardRows<'a, X: Elem> {
    op: &'a HeadNorm,
    norms: [RmsRow<'a, X::Acc>; 2],
    x: &'a [X],
    dy: &'a [X],
    dx: Option<Delivery<'a, X>>,
    /// This chunk's part of dwq, then of dwk.
    sums: &'a mut [X::Acc],
}

impl<X: Elem> Kernel<X::Acc> for BackwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(mut self) {
        let (heads, width) = (self.op.heads, self.op.head_dim);
        let normed = heads + self.op.kv_heads;
        let cols = (normed + self.op.kv_heads) * width;
        self.sums.fill(S::A::ZERO);
        let (sums_q, sums_k) = self.sums.split_at_mut(width);
        let rows = self.x.chunks_exact(cols).zip(self.dy.chunks_exact(cols));
        for (row, (x, dy)) in rows.enumerate() {
            let mut dx = self
                .dx
                .as_mut()
                .map(|(dx, mode)| (&mut dx[row * cols..(row + 1) * cols], *mode));
            for head in 0..normed {
                let here = head * width..(head + 1) * width;
                let (norm, sums) = if head < heads {
                    (&self.norms[0], &mut *sums_q)
                } else {
                    (&self.norms[1], &mut *sums_k)
                };
                let x = &x[here.clone()];
                let stats = [norm.reciprocal::<S, X>(x), S::A::ZERO];
                let mut out = RowGrad {
                    through: None,
                    dx: dx.as_mut().map(|(dx, mode)| (&mut dx[here.clone()], *mode)),
                    dy: None::<Delivery<'_, X>>,
                };
                norm.backward_row::<S, X, X, X>(x, &dy[here], stats, sums, &mut out);
            }
            let Some((dx, mode)) = dx else { continue };
            let (dx, dy) = (&mut dx[normed * width..], &dy[normed * width..]);
            if mode == GradMode::Set {
                dx.copy_from_slice(dy);
                continue;
            }
            for i in blocks::<S>(dy.len()) {
                let sum = S::add(i.load::<S, X>(dx), i.load::<S, X>(dy));
                i.store::<S, X>(dx, sum);
            }
        }
    }
}
