//! # What
//! An activation function of each element (the list is [`Act`]).
//!
//! # Shapes
//! `x (..)` any float type -> `y (..)` of that type.
//!
//! # Forward
//! `y = f(x)`.
//!
//! # Backward
//! `dx = dy f'(x)`. Works in place.
//!
//! # Kept for backward
//! `x`.

mod cpu;
mod gpu;

use super::Entry;
use super::act::Act;
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "activation",
    formula: "y = f(x), f one of silu, gelu_tanh, gelu, relu, relu2",
    cases,
};

/// Activation. Input: `x`. Output: `y`.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The function.
    pub act: Act,
}

impl Op for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn outputs(&self, inputs: &[Meta], _: Precision) -> Result<Vec<Meta>, ShapeError> {
        match inputs {
            [x] if x.dtype.is_float() => Ok(vec![x.clone()]),
            _ => Err(ShapeError::new(format!(
                "activation takes one tensor of floats, not {inputs:?}"
            ))),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b1)
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
            equal: None,
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::forward::<X>(self.act, cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::backward::<X>(self.act, cx));
    }

    fn workspace_gpu(&self, _: &[Meta], _: &Info, _: bool) -> usize {
        0
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self.act, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self.act, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        // An exponential is counted as ten.
        let each = if matches!(self.act, Act::Relu | Act::Relu2) {
            2
        } else {
            14
        };
        each * inputs[0].len() as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for act in Act::ALL {
        for (shape, role) in [
            (vec![3, 7], Role::Compute),
            (vec![5, 11, 65], Role::Compute),
            (vec![33], Role::Wide),
        ] {
            let x = Input::new(shape, role, Fill::Normal(1.5));
            cases.push(Case::new(Activation { act }, vec![x]));
        }
    }
    cases
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
        for act in Act::ALL {
            check(&format!("activation_{}", act.name()), Activation { act });
        }
    }
}
