//! # What
//! The gate of a gated linear unit (Shazeer 2020, arXiv:2002.05202): SwiGLU with silu, GeGLU with gelu, ReGLU with relu.
//! One linear map made both halves of its input.
//!
//! # Shapes
//! `gate_up (.., 2F)` any float type, the gate first -> `y (.., F)` of that type.
//!
//! # Forward
//! `y = f(gate) up`.
//!
//! # Backward
//! `dgate = dy up f'(gate)`, `dup = dy f(gate)`; f is computed again rather than kept.
//!
//! # Kept for backward
//! `gate_up`.

mod cpu;
mod gpu;

use super::Entry;
use super::act::{Act, Gate};
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "gated",
    formula: "y = f(gate) up",
    cases,
};

/// Gated activation. Input: `gate_up`. Output: `y`.
#[derive(Clone, Debug)]
pub struct Gated {
    /// The function of the gate.
    pub act: Act,
}

impl Op for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn outputs(&self, inputs: &[Meta], _: Precision) -> Result<Vec<Meta>, ShapeError> {
        match inputs {
            [x] if x.dtype.is_float() && x.cols().is_multiple_of(2) && !x.shape.is_empty() => {
                let mut y = x.clone();
                *y.shape.last_mut().expect("one dimension at least") /= 2;
                Ok(vec![y])
            }
            _ => Err(ShapeError::new(format!(
                "gated takes one tensor of floats with an even last dimension, not {inputs:?}"
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
        GradSharing::NONE
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
            3
        } else {
            15
        };
        each * inputs[0].len() as u64 / 2
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for act in Act::ALL {
        for shape in [vec![1, 2], vec![3, 14], vec![4, 33, 130]] {
            let x = Input::new(shape, Role::Compute, Fill::Normal(1.5));
            cases.push(Case::new(Gated { act }, vec![x]));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::GradMode;
    use crate::ops::activation::Activation;

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
            check(&format!("gated_{}", act.name()), Gated { act });
        }
    }

    #[test]
    fn with_an_open_gate_it_is_the_activation() {
        let input = |cols: usize| vec![Input::new([1, cols], Role::Compute, Fill::Normal(1.0))];
        let (gated, plain) = (
            Case::new(Gated { act: Act::Silu }, input(20)),
            Case::new(Activation { act: Act::Silu }, input(10)),
        );
        let mut gated = gated.trial(Precision::F64, 2);
        let mut plain = plain.trial(Precision::F64, 2);
        gated.inputs[0][10..].fill(1.0);
        plain.inputs[0] = gated.inputs[0][..10].to_vec();
        plain.d_outputs = gated.d_outputs.clone();
        let cpu = Cpu::new(1);
        let (gated, plain) = (
            gated.run(&cpu, GradMode::Set),
            plain.run(&cpu, GradMode::Set),
        );
        assert_eq!(gated.outputs, plain.outputs);
        assert_eq!(gated.d_inputs[0][..10], plain.d_inputs[0]);
    }
}
