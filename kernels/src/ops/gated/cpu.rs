//! Gated activations on the CPU: one pass each way.

#![expect(unsafe_code, reason = "rows written by different threads")]

use super::{Act, Gate};
use crate::Elem;
use crate::arena::Shared;
use crate::cpu::rows::parallel;
use crate::cpu::simd::{Kernel, Simd, Store, blocks, run, zip};
use crate::op::{Backward, Forward, GradMode};

pub(super) fn forward<X: Elem>(act: Act, cx: &mut Forward<'_>) {
    let (x, isa, cols) = (cx.input::<X>(0), cx.cpu.isa, cx.metas[0].cols() / 2);
    let y = cx.output::<X>(0);
    let to = Store::of(size_of_val(y));
    let y = Shared::new(y);
    parallel(&cx.cpu.pool, cx.metas[0].rows(), 3 * cols, |start, end| {
        let rows = ForwardRows {
            act,
            cols,
            x: &x[2 * start * cols..2 * end * cols],
            // SAFETY: each task has rows of its own.
            y: unsafe { y.slice(start * cols, (end - start) * cols) },
            to,
        };
        run(isa, rows);
    });
}

struct ForwardRows<'a, X> {
    act: Act,
    cols: usize,
    x: &'a [X],
    y: &'a mut [X],
    to: Store,
}

impl<X: Elem> Kernel<X::Acc> for ForwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let rows = self.x.chunks_exact(2 * self.cols);
        for (x, y) in rows.zip(self.y.chunks_exact_mut(self.cols)) {
            let (gate, up) = x.split_at(self.cols);
            zip::<S, X>(gate, up, y, self.to, &Gate(self.act));
        }
        S::fence();
    }
}

pub(super) fn backward<X: Elem>(act: Act, cx: &mut Backward<'_>) {
    let Some((dx, mode)) = cx.d_input::<X>(0) else {
        return;
    };
    let (x, isa, cols) = (cx.input::<X>(0), cx.cpu.isa, cx.metas[0].cols() / 2);
    let dy = cx.d_output::<X>(0).expect("the gradient of the output");
    let dx = Shared::new(dx);
    parallel(&cx.cpu.pool, cx.metas[0].rows(), 5 * cols, |start, end| {
        let rows = BackwardRows {
            act,
            cols,
            x: &x[2 * start * cols..2 * end * cols],
            dy: &dy[start * cols..end * cols],
            // SAFETY: each task has rows of its own.
            dx: unsafe { dx.slice(2 * start * cols, 2 * (end - start) * cols) },
            add: mode == GradMode::Add,
        };
        run(isa, rows);
    });
}

struct BackwardRows<'a, X> {
    act: Act,
    cols: usize,
    x: &'a [X],
    dy: &'a [X],
    dx: &'a mut [X],
    add: bool,
}

impl<X: Elem> Kernel<X::Acc> for BackwardRows<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        let rows = self.x.chunks_exact(2 * self.cols);
        let rows = rows.zip(self.dy.chunks_exact(self.cols));
        for ((x, dy), dx) in rows.zip(self.dx.chunks_exact_mut(2 * self.cols)) {
            let (gate, up) = x.split_at(self.cols);
            let (d_gate, d_up) = dx.split_at_mut(self.cols);
            for i in blocks::<S>(self.cols) {
                let dy = i.load::<S, X>(dy);
                let (value, slope) = self.act.value_and_derivative::<S>(i.load::<S, X>(gate));
                let mut first = S::mul(S::mul(dy, i.load::<S, X>(up)), slope);
                let mut second = S::mul(dy, value);
                if self.add {
                    first = S::add(first, i.load::<S, X>(d_gate));
                    second = S::add(second, i.load::<S, X>(d_up));
                }
                i.store::<S, X>(d_gate, first);
                i.store::<S, X>(d_up, second);
            }
        }
    }
}
