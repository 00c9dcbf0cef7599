//! RMSNorm of one row on the CPU: two passes each way, the second while the row is in the first cache.
//! [`crate::cpu::norm`] walks over the rows.

use super::RmsNorm;
use crate::arena::scratch_of;
use crate::cpu::norm::{self, RowGrad, RowNorm};
use crate::cpu::simd::{Simd, blocks};
use crate::op::{Backward, Forward};
use crate::{Elem, Float};

/// RMSNorm with its gain.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct RmsRow<'a, A> {
    pub w: &'a [A],
    pub eps: f64,
    pub zero_centered: bool,
}

impl<A: Float> RmsRow<'_, A> {
    /// What is added to w to make the gain.
    #[inline(always)]
    fn shift<S: Simd<A = A>>(&self) -> S::V {
        if self.zero_centered {
            S::c(1.0)
        } else {
            S::zero()
        }
    }

    /// The reciprocal of the root mean square of a row.
    #[inline(always)]
    pub fn reciprocal<S: Simd<A = A>, X: Elem<Acc = A>>(&self, x: &[X]) -> A {
        // Two sums, so that an addition need not wait for the one before it.
        let (mut even, mut odd) = (S::zero(), S::zero());
        let mut blocks = blocks::<S>(x.len());
        while let Some(i) = blocks.next() {
            let v = i.load::<S, X>(x);
            even = S::fma(v, v, even);
            if let Some(i) = blocks.next() {
                let v = i.load::<S, X>(x);
                odd = S::fma(v, v, odd);
            }
        }
        let mean = S::sum(S::add(even, odd)) / A::from_f64(x.len() as f64);
        A::ONE / (mean + A::from_f64(self.eps)).sqrt()
    }
}

impl<A: Float> RowNorm<A> for RmsRow<'_, A> {
    fn cols(&self) -> usize {
        self.w.len()
    }

    fn params(&self) -> usize {
        1
    }

    #[inline(always)]
    fn forward_row<S: Simd<A = A>, X: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        n: &mut [N],
    ) -> [A; 2] {
        let (saved, shift) = (self.reciprocal::<S, X>(x), self.shift::<S>());
        let r = S::splat(saved);
        for i in blocks::<S>(x.len()) {
            let gain = S::add(i.load::<S, A>(self.w), shift);
            i.store::<S, N>(n, S::mul(S::mul(i.load::<S, X>(x), r), gain));
        }
        [saved, A::ZERO]
    }

    #[inline(always)]
    fn backward_row<S: Simd<A = A>, X: Elem<Acc = A>, Y: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        dn: &[N],
        [r, _]: [A; 2],
        sums: &mut [A],
        out: &mut RowGrad<'_, X, Y>,
    ) {
        let (r, shift, mut dot) = (S::splat(r), self.shift::<S>(), S::zero());
        for i in blocks::<S>(x.len()) {
            let (v, d) = (i.load::<S, X>(x), i.load::<S, N>(dn));
            let gain = S::add(i.load::<S, A>(self.w), shift);
            dot = S::fma(S::mul(d, gain), v, dot);
            let sum = i.load::<S, A>(sums);
            i.store::<S, A>(sums, S::fma(S::mul(d, v), r, sum));
        }
        if !out.is_wanted() {
            return;
        }
        let mean = S::sum(dot) / A::from_f64(x.len() as f64);
        let factor = S::mul(S::splat(mean), S::mul(r, S::mul(r, r)));
        for i in blocks::<S>(x.len()) {
            let (v, d) = (i.load::<S, X>(x), i.load::<S, N>(dn));
            let gain = S::add(i.load::<S, A>(self.w), shift);
            let part = S::sub(S::mul(r, S::mul(d, gain)), S::mul(v, factor));
            out.put::<S>(i, part);
        }
    }
}

fn row<'a, A: Float>(op: &RmsNorm, w: &'a [A]) -> RmsRow<'a, A> {
    RmsRow {
        w,
        eps: op.eps,
        zero_centered: op.zero_centered,
    }
}

pub(super) fn forward<X: Elem, N: Elem<Acc = X::Acc>>(op: &RmsNorm, cx: &mut Forward<'_>) {
    let all = norm::Forward {
        x: cx.input::<X>(0),
        add: None::<(&[X], _)>,
        n: cx.output::<N>(0),
        stats: [cx.saved(0), None],
    };
    norm::forward(cx.cpu, row(op, cx.input(1)), all);
}

pub(super) fn backward<X: Elem, N: Elem<Acc = X::Acc>>(op: &RmsNorm, cx: &mut Backward<'_>) {
    let all = norm::Backward {
        x: cx.input::<X>(0),
        dn: cx.d_output::<N>(0).expect("the gradient of the output"),
        stats: [cx.saved(0), &[]],
        out: RowGrad {
            through: None,
            dx: cx.d_input(0),
            dy: None::<(&mut [X], _)>,
        },
        d_params: [cx.d_input(1), None],
        partial: scratch_of(cx.take_workspace()),
    };
    norm::backward(cx.cpu, row(op, cx.input(1)), all);
}
