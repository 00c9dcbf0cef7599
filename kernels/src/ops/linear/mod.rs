//! # What
//! A linear map with or without a bias.
//!
//! # Shapes
//! `x (.., K)` any float type, `w (N, K)` parameter, optionally `b (N)` parameter -> `y (.., N)` compute type, or wide.
//!
//! # Forward
//! `y = x w^T + b`.
//!
//! # Backward
//! `dx = dy w`, `dw = dy^T x`, `db = sum over rows of dy`, folded in a fixed number of chunks.
//!
//! # Kept for backward
//! `x`, `w`.

pub(crate) mod cpu;
pub(crate) mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::gemm;
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Precision, with_elems};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "linear",
    formula: "y = x w^T + b",
    cases,
};

/// A linear map. Inputs: `x`, `w`, and `b` if there is one. Output: `y`.
#[derive(Clone, Debug, Default)]
pub struct Linear {
    /// Whether the output is of the wide type (logits that are read) and not of the compute type.
    pub wide: bool,
}

/// The precision of the products of a map whose output, or output's gradient, has this type.
pub(crate) fn product(output: Dtype) -> Precision {
    match output {
        Dtype::Bf16 => Precision::Bf16,
        Dtype::F64 => Precision::F64,
        Dtype::F32 | Dtype::I32 => Precision::F32,
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let (x, w) = match inputs {
            [x, w] => (x, w),
            [x, w, b] if b.shape == [w.shape[0]] => (x, w),
            _ => {
                return Err(ShapeError::new(format!(
                    "linear takes x, w and maybe b, not {inputs:?}"
                )));
            }
        };
        if w.shape.len() != 2 || x.cols() != w.cols() {
            return Err(ShapeError::new(format!(
                "linear map {w:?} of {x:?}: the inner sizes differ"
            )));
        }
        let mut shape = x.shape.clone();
        *shape.last_mut().expect("one dimension at least") = w.shape[0];
        Ok(vec![Meta::new(
            shape,
            if self.wide {
                precision.wide()
            } else {
                precision.compute()
            },
        )])
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b11)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, backward: bool) -> usize {
        let (m, n, k) = (inputs[0].rows(), inputs[1].shape[0], inputs[1].cols());
        // The output's type is not known here: the wider need of the two precisions it may be made in.
        let bytes =
            |m, n, k| match inputs[0].dtype {
                Dtype::F64 => gemm::workspace_bytes(cpu, Precision::F64, m, n, k),
                _ => gemm::workspace_bytes(cpu, Precision::F32, m, n, k)
                    .max(gemm::workspace_bytes(cpu, Precision::Bf16, m, n, k)),
            };
        if backward {
            let partial = if inputs.len() == 3 {
                CHUNKS * inputs[2].bytes()
            } else {
                0
            };
            bytes(m, k, n).max(bytes(n, k, m)).max(partial)
        } else {
            bytes(m, n, k)
        }
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing::NONE
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        let (x, y) = (
            cx.metas[0].dtype,
            cx.outputs[0].as_ref().expect("an output").dtype(),
        );
        with_elems!(x, X, y, Y => cpu::forward::<X, Y>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        let (x, y) = (
            cx.metas[0].dtype,
            cx.d_outputs[0].as_ref().expect("a gradient").dtype(),
        );
        with_elems!(x, X, y, Y => cpu::backward::<X, Y>(cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        gpu::workspace(inputs, backward)
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        2 * (inputs[0].rows() * inputs[1].len()) as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, k: usize, n: usize, role, bias: bool, wide| {
        let mut inputs = vec![
            Input::new([rows, k], role, Fill::Normal(1.0)),
            Input::new([n, k], Role::Param, Fill::Normal(0.5)),
        ];
        if bias {
            inputs.push(Input::new([n], Role::Param, Fill::Normal(1.0)));
        }
        Case::new(Linear { wide }, inputs)
    };
    vec![
        case(1, 1, 1, Role::Compute, true, false),
        case(3, 7, 5, Role::Compute, false, false),
        case(37, 19, 67, Role::Compute, true, false),
        case(130, 33, 31, Role::Wide, true, true),
        case(1, 70, 90, Role::Compute, false, true),
        // Lines of whole vectors.
        case(20, 16, 24, Role::Compute, true, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_checks() {
        for case in cases() {
            crate::check::all(&case, 3e-6, 2e-2);
            crate::gpu::check::all(&case, 3e-6, 2e-2);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let meta = |shape: &[usize]| Meta::new(shape, Dtype::F32);
        let error = Linear::default()
            .outputs(&[meta(&[4, 3]), meta(&[5, 2])], Precision::F32)
            .unwrap_err();
        assert!(
            error.0.contains("[4, 3]") && error.0.contains("[5, 2]"),
            "{error}"
        );
    }
}
