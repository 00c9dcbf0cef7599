//! Activations on the CPU: one pass each way.

#![expect(
    unsafe_code,
    reason = "parts of one tensor written by different threads"
)]

use super::Act;
use crate::Elem;
use crate::arena::Shared;
use crate::cpu::elementwise::elements;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::op::{Backward, Forward, GradMode};

pub(super) fn forward<X: Elem>(act: Act, cx: &mut Forward<'_>) {
    let (x, isa) = (cx.input::<X>(0), cx.cpu.isa);
    let y = Shared::new(cx.output::<X>(0));
    elements(&cx.cpu.pool, x.len(), |start, end| {
        let x = &x[start..end];
        // SAFETY: each task has elements of its own.
        let y = unsafe { y.slice(start, end - start) };
        run(isa, ForwardPart { act, x, y });
    });
}

struct ForwardPart<'a, X> {
    act: Act,
    x: &'a [X],
    y: &'a mut [X],
}

impl<X: Elem> Kernel<X::Acc> for ForwardPart<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        for i in blocks::<S>(self.x.len()) {
            i.store::<S, X>(self.y, self.act.value::<S>(i.load::<S, X>(self.x)));
        }
    }
}

pub(super) fn backward<X: Elem>(act: Act, cx: &mut Backward<'_>) {
    let Some((dx, mode)) = cx.d_input::<X>(0) else {
        return;
    };
    let (x, dy, isa) = (cx.input::<X>(0), cx.d_output::<X>(0), cx.cpu.isa);
    let dx = Shared::new(dx);
    elements(&cx.cpu.pool, x.len(), |start, end| {
        let part = BackwardPart {
            act,
            x: &x[start..end],
            dy: match mode {
                GradMode::InPlace => None,
                _ => Some(&dy.expect("the gradient of the output")[start..end]),
            },
            // SAFETY: each task has elements of its own.
            dx: unsafe { dx.slice(start, end - start) },
            add: mode == GradMode::Add,
        };
        run(isa, part);
    });
}

struct BackwardPart<'a, X> {
    act: Act,
    x: &'a [X],
    /// `None`: it lies in `dx`.
    dy: Option<&'a [X]>,
    dx: &'a mut [X],
    add: bool,
}

impl<X: Elem> Kernel<X::Acc> for BackwardPart<'_, X> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = X::Acc>>(self) {
        for i in blocks::<S>(self.x.len()) {
            let dy = i.load::<S, X>(self.dy.unwrap_or(self.dx));
            let (_, slope) = self.act.value_and_derivative::<S>(i.load::<S, X>(self.x));
            let mut out = S::mul(dy, slope);
            if self.add {
                out = S::add(out, i.load::<S, X>(self.dx));
            }
            i.store::<S, X>(self.dx, out);
        }
    }
}
