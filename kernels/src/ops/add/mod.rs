//! # What
//! The residual connection: adds what a layer computed to the residual stream.
//!
//! # Shapes
//! `x (..)` wide, `y (..)` wide or compute, of one shape -> `s (..)` wide.
//!
//! # Forward
//! `s = x + y`.
//!
//! # Backward
//! `dx = ds`, `dy = ds`, rounded where y is of the compute type. In place, dx is there already. Where y has the type of x
//! (the planner compares the types), dy is not made: it is dx.
//!
//! # Kept for backward
//! Nothing.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::elementwise::deliver;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradMode, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Elem, Precision, with_elems};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "add",
    formula: "s = x + y",
    cases,
};

/// Addition. Inputs: `x`, `y`. Output: `s`.
#[derive(Clone, Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [x, y] = inputs else {
            return Err(ShapeError::new(format!(
                "add takes x and y, not {} inputs",
                inputs.len()
            )));
        };
        if x.shape != y.shape || x.dtype != precision.wide() || !y.dtype.is_float() {
            return Err(ShapeError::new(format!(
                "add takes a residual stream and an addend of its shape, not {x:?} and {y:?}"
            )));
        }
        Ok(vec![x.clone()])
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, _: &[Meta], _: &Cpu, _: bool) -> usize {
        0
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing {
            in_place: Some((0, 0)),
            equal: Some((0, 1)),
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elems!(cx.metas[0].dtype, X, cx.metas[1].dtype, Y => cpu::forward::<X, Y>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elems!(cx.metas[0].dtype, X, cx.metas[1].dtype, Y => backward::<X, Y>(cx));
    }

    fn workspace_gpu(&self, _: &[Meta], _: &Info, _: bool) -> usize {
        0
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        inputs[0].len() as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn backward<X: Elem, Y: Elem<Acc = X::Acc>>(cx: &mut Backward<'_>) {
    let mut ds = cx.d_output::<X>(0);
    match cx.d_input::<X>(0) {
        Some((dx, GradMode::InPlace)) => ds = Some(dx),
        Some((dx, mode)) => {
            let ds = ds.expect("the gradient of the output");
            deliver(cx.cpu, ds, dx, mode == GradMode::Add);
        }
        None => {}
    }
    if let Some((dy, mode)) = cx.d_input::<Y>(1) {
        let ds = ds.expect("the gradient of the output");
        deliver(cx.cpu, ds, dy, mode == GradMode::Add);
    }
}

fn cases() -> Vec<Case> {
    let case = |shape: &[usize], role| {
        Case::new(
            Add,
            vec![
                Input::new(shape, Role::Wide, Fill::Normal(1.0)),
                Input::new(shape, role, Fill::Normal(1.0)),
            ],
        )
    };
    vec![
        case(&[1], Role::Wide),
        case(&[3, 5, 7], Role::Compute),
        case(&[5, 11, 65], Role::Wide),
        case(&[4, 70, 64], Role::Compute),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_checks() {
        for case in cases() {
            crate::check::all(&case, 2e-6, 2e-2);
            crate::gpu::check::all(&case, 2e-6, 2e-2);
        }
    }

    #[test]
    fn pytorch() {
        use crate::ops::torch_fixture::check;
        check("add", Add);
    }
}
