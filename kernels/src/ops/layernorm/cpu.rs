//! LayerNorm of one row on the CPU: three passes forward, two backward, all but the first in the first cache.
//! [`crate::cpu::norm`] walks over the rows.

use super::LayerNorm;
use crate::arena::scratch_of;
use crate::cpu::norm::{self, RowGrad, RowNorm};
use crate::cpu::simd::{Simd, blocks};
use crate::op::{Backward, Forward};
use crate::{Elem, Float};

/// LayerNorm with its parameters. Backward reads only the length of the bias.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct LayerRow<'a, A> {
    pub w: &'a [A],
    pub b: Option<&'a [A]>,
    pub has_bias: bool,
    pub eps: f64,
}

impl<A: Float> RowNorm<A> for LayerRow<'_, A> {
    fn cols(&self) -> usize {
        self.w.len()
    }

    fn params(&self) -> usize {
        1 + usize::from(self.has_bias)
    }

    #[inline(always)]
    fn forward_row<S: Simd<A = A>, X: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        n: &mut [N],
    ) -> [A; 2] {
        let count = A::from_f64(x.len() as f64);
        // Two sums, so that an addition need not wait for the one before it.
        let (mut even, mut odd) = (S::zero(), S::zero());
        let mut rest = blocks::<S>(x.len());
        while let Some(i) = rest.next() {
            even = S::add(even, i.load::<S, X>(x));
            if let Some(i) = rest.next() {
                odd = S::add(odd, i.load::<S, X>(x));
            }
        }
        let mean = S::sum(S::add(even, odd)) / count;
        let m = S::splat(mean);
        (even, odd) = (S::zero(), S::zero());
        let mut rest = blocks::<S>(x.len());
        while let Some(i) = rest.next() {
            let d = i.within::<S>(S::sub(i.load::<S, X>(x), m));
            even = S::fma(d, d, even);
            if let Some(i) = rest.next() {
                let d = i.within::<S>(S::sub(i.load::<S, X>(x), m));
                odd = S::fma(d, d, odd);
            }
        }
        let variance = S::sum(S::add(even, odd)) / count;
        let reciprocal = A::ONE / (variance + A::from_f64(self.eps)).sqrt();
        let r = S::splat(reciprocal);
        for i in blocks::<S>(x.len()) {
            let h = S::mul(S::sub(i.load::<S, X>(x), m), r);
            let gain = i.load::<S, A>(self.w);
            let y = match self.b {
                Some(b) => S::fma(h, gain, i.load::<S, A>(b)),
                None => S::mul(h, gain),
            };
            i.store::<S, N>(n, y);
        }
        [mean, reciprocal]
    }

    #[inline(always)]
    fn backward_row<S: Simd<A = A>, X: Elem<Acc = A>, Y: Elem<Acc = A>, N: Elem<Acc = A>>(
        &self,
        x: &[X],
        dn: &[N],
        [mean, r]: [A; 2],
        sums: &mut [A],
        out: &mut RowGrad<'_, X, Y>,
    ) {
        let (m, r) = (S::splat(mean), S::splat(r));
        let (dw, db) = sums.split_at_mut(self.w.len());
        let (mut sum, mut dot) = (S::zero(), S::zero());
        for i in blocks::<S>(x.len()) {
            let d = i.load::<S, N>(dn);
            let h = S::mul(S::sub(i.load::<S, X>(x), m), r);
            let a = S::mul(d, i.load::<S, A>(self.w));
            sum = S::add(sum, a);
            dot = S::fma(a, h, dot);
            i.store::<S, A>(dw, S::fma(d, h, i.load::<S, A>(dw)));
            if self.has_bias {
                i.store::<S, A>(db, S::add(i.load::<S, A>(db), d));
            }
        }
        if !out.is_wanted() {
            return;
        }
        let count = A::from_f64(x.len() as f64);
        let (sum, dot) = (S::splat(S::sum(sum) / count), S::splat(S::sum(dot) / count));
        for i in blocks::<S>(x.len()) {
            let h = S::mul(S::sub(i.load::<S, X>(x), m), r);
            let a = S::mul(i.load::<S, N>(dn), i.load::<S, A>(self.w));
            let part = S::sub(S::sub(a, sum), S::mul(h, dot));
            out.put::<S>(i, S::mul(r, part));
        }
    }
}

pub(super) fn forward<X: Elem, N: Elem<Acc = X::Acc>>(op: &LayerNorm, cx: &mut Forward<'_>) {
    let row = LayerRow {
        w: cx.input::<X::Acc>(1),
        b: op.bias.then(|| cx.input(2)),
        has_bias: op.bias,
        eps: op.eps,
    };
    let all = norm::Forward {
        x: cx.input::<X>(0),
        add: None::<(&[X], _)>,
        n: cx.output::<N>(0),
        stats: [cx.saved(0), cx.saved(1)],
    };
    norm::forward(cx.cpu, row, all);
}

pub(super) fn backward<X: Elem, N: Elem<Acc = X::Acc>>(op: &LayerNorm, cx: &mut Backward<'_>) {
    let row = LayerRow {
        w: cx.input::<X::Acc>(1),
        b: None,
        has_bias: op.bias,
        eps: op.eps,
    };
    let all = norm::Backward {
        x: cx.input::<X>(0),
        dn: cx.d_output::<N>(0).expect("the gradient of the output"),
        stats: [cx.saved(0), cx.saved(1)],
        out: RowGrad {
            through: None,
            dx: cx.d_input(0),
            dy: None::<(&mut [X], _)>,
        },
        d_params: [cx.d_input(1), if op.bias { cx.d_input(2) } else { None }],
        partial: scratch_of(cx.take_workspace()),
    };
    norm::backward(cx.cpu, row, all);
}
