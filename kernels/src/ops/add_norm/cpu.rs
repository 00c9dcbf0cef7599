//! Addition and norm on the CPU: the rows of [`crate::ops::rmsnorm`] or [`crate::ops::layernorm`], walked over by
//! [`crate::cpu::norm`] with the addition before them.

use super::{AddNorm, Norm};
use crate::Elem;
use crate::arena::scratch_of;
use crate::cpu::norm::{self, RowGrad};
use crate::op::{Backward, Forward};
use crate::ops::layernorm::cpu::LayerRow;
use crate::ops::rmsnorm::cpu::RmsRow;

pub(super) fn forward<X, Y, N>(op: &AddNorm, cx: &mut Forward<'_>)
where
    X: Elem,
    Y: Elem<Acc = X::Acc>,
    N: Elem<Acc = X::Acc>,
{
    let w = cx.input::<X::Acc>(2);
    let all = norm::Forward {
        x: cx.input::<X>(0),
        add: Some((cx.input::<Y>(1), cx.output::<X>(0))),
        n: cx.output::<N>(1),
        stats: [cx.saved(0), cx.saved(1)],
    };
    match op.norm {
        Norm::Rms { eps, zero_centered } => {
            let row = RmsRow {
                w,
                eps,
                zero_centered,
            };
            norm::forward(cx.cpu, row, all);
        }
        Norm::Layer { eps, bias } => {
            let row = LayerRow {
                w,
                b: bias.then(|| cx.input(3)),
                has_bias: bias,
                eps,
            };
            norm::forward(cx.cpu, row, all);
        }
    }
}

pub(super) fn backward<X, Y, N>(op: &AddNorm, cx: &mut Backward<'_>)
where
    X: Elem,
    Y: Elem<Acc = X::Acc>,
    N: Elem<Acc = X::Acc>,
{
    let w = cx.input::<X::Acc>(2);
    let d_bias = if op.has_bias() { cx.d_input(3) } else { None };
    let second = if cx.saved.len() > 1 { cx.saved(1) } else { &[] };
    let all = norm::Backward {
        x: cx.output::<X>(0),
        dn: cx.d_output::<N>(1).expect("the gradient of the norm"),
        stats: [cx.saved(0), second],
        out: RowGrad {
            through: cx.d_output::<X>(0),
            dx: cx.d_input::<X>(0),
            dy: cx.d_input::<Y>(1),
        },
        d_params: [cx.d_input(2), d_bias],
        partial: scratch_of(cx.take_workspace()),
    };
    match op.norm {
        Norm::Rms { eps, zero_centered } => {
            let row = RmsRow {
                w,
                eps,
                zero_centered,
            };
            norm::backward(cx.cpu, row, all);
        }
        Norm::Layer { eps, bias } => {
            let row = LayerRow {
                w,
                b: None,
                has_bias: bias,
                eps,
            };
            norm::backward(cx.cpu, row, all);
        }
    }
}
