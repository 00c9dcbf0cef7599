//! # What
//! Root-mean-square normalisation of each row, times a gain (Zhang and Sennrich 2019, arXiv:1910.07467). With
//! `zero_centered` the gain is `1 + w` (Gemma), made in the wide type before rounding.
//!
//! # Shapes
//! `x (.., C)` any float type, `w (C)` parameter -> `y (.., C)` compute type, or wide ([`RmsNorm::wide`]). Saved: `r (rows)`.
//!
//! # Forward
//! `r = 1 / sqrt(mean(x^2) + eps)`, `y = x r g` with `g = w` or `1 + w`.
//!
//! # Backward
//! With `a = dy g`: `dr/dx_j = -r^3 x_j / C`, so `dx = r a - x r^3 mean(a x)`, and `dw = sum over rows of dy x r`. The rows of
//! the sum are folded in a fixed number of chunks ([`crate::cpu::rows::CHUNKS`]).
//!
//! # Kept for backward
//! `x`, `w`, and `r`.

pub(super) mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info, norm};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elems};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "rmsnorm",
    formula: "y = x w / sqrt(mean(x^2) + eps)",
    cases,
};

/// RMSNorm. Inputs: `x`, `w`. Output: `y`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f64,
    /// Whether the gain is `1 + w`.
    pub zero_centered: bool,
    /// Whether the output is of the wide type (it is the residual stream) and not of the compute type.
    pub wide: bool,
}

impl Op for RmsNorm {
    fn name(&self) -> &'static str {
        "rmsnorm"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [x, w] = inputs else {
            return Err(ShapeError::new(format!(
                "rmsnorm takes x and w, not {} inputs",
                inputs.len()
            )));
        };
        if w.shape != [x.cols()] {
            return Err(ShapeError::new(format!(
                "rmsnorm of {x:?} needs a gain of {} values, not {w:?}",
                x.cols()
            )));
        }
        Ok(vec![Meta::new(
            x.shape.clone(),
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

    fn saved(&self, inputs: &[Meta], precision: Precision) -> Vec<Meta> {
        vec![Meta::new([inputs[0].rows()], precision.wide())]
    }

    fn workspace(&self, inputs: &[Meta], _: &Cpu, backward: bool) -> usize {
        if backward {
            crate::cpu::rows::CHUNKS * inputs[1].bytes()
        } else {
            0
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
        with_elems!(x, X, y, Y => cpu::forward::<X, Y>(self, cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        let (x, y) = (
            cx.metas[0].dtype,
            cx.d_outputs[0].as_ref().expect("a gradient").dtype(),
        );
        with_elems!(x, X, y, Y => cpu::backward::<X, Y>(self, cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        if backward {
            norm::scratch_bytes(inputs[0].rows(), inputs[1].len())
        } else {
            0
        }
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        4 * inputs[0].len() as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, cols: usize, role, zero_centered, wide| {
        Case::new(
            RmsNorm {
                eps: 1e-5,
                zero_centered,
                wide,
            },
            vec![
                Input::new([rows, cols], role, Fill::Normal(1.5)),
                Input::new(
                    [cols],
                    Role::Param,
                    if zero_centered {
                        Fill::Normal(0.2)
                    } else {
                        Fill::NearOne
                    },
                ),
            ],
        )
    };
    vec![
        case(1, 1, Role::Wide, false, false),
        case(3, 7, Role::Wide, false, false),
        case(37, 67, Role::Compute, false, true),
        case(130, 128, Role::Wide, true, false),
        case(5, 513, Role::Wide, false, false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::GradMode;

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
        check(
            "rmsnorm",
            RmsNorm {
                eps: 1e-5,
                zero_centered: false,
                wide: false,
            },
        );
        check(
            "rmsnorm_zero_centered",
            RmsNorm {
                eps: 1e-6,
                zero_centered: true,
                wide: false,
            },
        );
    }

    #[test]
    fn scale_invariance() {
        let case = Case::new(
            RmsNorm {
                eps: 0.0,
                zero_centered: false,
                wide: false,
            },
            vec![
                Input::new([3, 33], Role::Wide, Fill::Normal(1.0)),
                Input::new([33], Role::Param, Fill::NearOne),
            ],
        );
        let mut trial = case.trial(Precision::F64, 1);
        let cpu = Cpu::new(1);
        let before = trial.run(&cpu, GradMode::Set).outputs;
        trial.inputs[0].iter_mut().for_each(|x| *x *= 1000.0);
        let after = trial.run(&cpu, GradMode::Set).outputs;
        assert!(crate::check::normalised_error(&after[0], &before[0]) < 1e-12);
    }
}
