//! Addition on the CPU: one pass.

#![expect(
    unsafe_code,
    reason = "parts of one tensor written by different threads"
)]

use crate::Elem;
use crate::arena::Shared;
use crate::cpu::elementwise::elements;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::Forward;

pub(super) fn forward<X: Elem, Y: Elem<Acc = X::Acc>>(cx: &mut Forward<'_>) {
    let (x, y, isa) = (cx.input::<X>(0), cx.input::<Y>(1), cx.cpu.isa);
    let s = Shared::new(cx.output::<X>(0));
    elements(&cx.cpu.pool, x.len(), |start, end| {
        let part = Part {
            x: &x[start..end],
            y: &y[start..end],
            // SAFETY: each task has elements of its own.
            s: unsafe { s.slice(start, end - start) },
        };
        run(isa, part);
    });
}

struct Part<'a, X, Y> {
    x: &'a [X],
    y: &'a [Y],
    s: &'a mut [X],
}

impl<X: Elem, Y: Elem<Acc = X::Acc>> Kernel<X::Acc> for Part<'_, X, Y> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        for i in blocks::<S>(self.x.len()) {
            let sum = S::add(i.load::<S, X>(self.x), i.load::<S, Y>(self.y));
            i.store::<S, X>(self.s, sum);
        }
    }
}
