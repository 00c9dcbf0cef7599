//! # What
//! Layer normalisation of each row: zero mean, unit variance, then a gain and (in GPT-2) a bias (Ba, Kiros and Hinton 2016,
//! arXiv:1607.06450).
//!
//! # Shapes
//! `x (.., C)` any float type, `w (C)` parameter, with [`LayerNorm::bias`] also `b (C)` parameter -> `y (.., C)` compute
//! type, or wide ([`LayerNorm::wide`]). Saved: `m (rows)` and `r (rows)`.
//!
//! # Forward
//! `m = mean(x)`, `r = 1 / sqrt(mean((x - m)^2) + eps)`, `h = (x - m) r`, `y = h w + b`. The variance is taken in a second pass
//! over the row, so that a large mean costs no digits.
//!
//! # Backward
//! With `a = dy w`: `dh_i/dx_j = r (1[i = j] - 1/C - h_i h_j / C)`, so `dx = r (a - mean(a) - h mean(a h))`; and
//! `dw = sum over rows of dy h`, `db = sum of dy`, folded in a fixed number of chunks ([`crate::cpu::rows::CHUNKS`]).
//!
//! # Kept for backward
//! `x`, `w`, `m` and `r`.

pub(super) mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info, norm};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elems};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "layernorm",
    formula: "y = w (x - mean(x)) / sqrt(var(x) + eps) + b",
    cases,
};

/// LayerNorm. Inputs: `x`, `w`, and `b` where there is a bias. Output: `y`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether the output is of the wide type (it is the residual stream) and not of the compute type.
    pub wide: bool,
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layernorm"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        if inputs.len() != 2 + usize::from(self.bias) {
            return Err(ShapeError::new(format!(
                "layernorm takes x, w{}, not {} inputs",
                if self.bias { " and b" } else { "" },
                inputs.len()
            )));
        }
        let x = &inputs[0];
        if let Some(wrong) = inputs[1..].iter().find(|p| p.shape != [x.cols()]) {
            return Err(ShapeError::new(format!(
                "layernorm of {x:?} needs parameters of {} values, not {wrong:?}",
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
        vec![Meta::new([inputs[0].rows()], precision.wide()); 2]
    }

    fn workspace(&self, inputs: &[Meta], _: &Cpu, backward: bool) -> usize {
        if backward {
            CHUNKS * (1 + usize::from(self.bias)) * inputs[1].bytes()
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
        with_elems!(x, X, y, N => cpu::forward::<X, N>(self, cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        let (x, y) = (
            cx.metas[0].dtype,
            cx.d_outputs[0].as_ref().expect("a gradient").dtype(),
        );
        with_elems!(x, X, y, N => cpu::backward::<X, N>(self, cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        if backward {
            norm::scratch_bytes(
                inputs[0].rows(),
                (1 + usize::from(self.bias)) * inputs[1].len(),
            )
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
        7 * inputs[0].len() as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, cols: usize, role, bias, wide| {
        let mut inputs = vec![
            Input::new([rows, cols], role, Fill::Normal(1.5)),
            Input::new([cols], Role::Param, Fill::NearOne),
        ];
        if bias {
            inputs.push(Input::new([cols], Role::Param, Fill::Normal(0.2)));
        }
        Case::new(
            LayerNorm {
                eps: 1e-5,
                bias,
                wide,
            },
            inputs,
        )
    };
    vec![
        case(3, 7, Role::Wide, false, false),
        case(2, 5, Role::Wide, true, false),
        case(37, 67, Role::Compute, true, true),
        case(130, 128, Role::Wide, false, false),
        case(5, 513, Role::Wide, true, false),
        case(3, 1048, Role::Wide, true, false),
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
            "layernorm",
            LayerNorm {
                eps: 1e-5,
                bias: true,
                wide: false,
            },
        );
        check(
            "layernorm_without_bias",
            LayerNorm {
                eps: 1e-5,
                bias: false,
                wide: false,
            },
        );
    }

    #[test]
    fn a_large_mean_costs_no_digits() {
        let case = &cases()[4];
        let mut trial = case.trial(Precision::F32, 2);
        trial.inputs[1].fill(1.0);
        trial.inputs[2].fill(0.0);
        // Multiples of 1/64, so that adding 4096 is exact in f32.
        for x in &mut trial.inputs[0] {
            *x = (*x * 64.0).round() / 64.0;
        }
        let cpu = Cpu::new(1);
        let near = trial.run(&cpu, GradMode::Set).outputs.remove(0);
        trial.inputs[0].iter_mut().for_each(|x| *x += 4096.0);
        let far = trial.run(&cpu, GradMode::Set).outputs.remove(0);
        assert!(crate::check::normalised_error(&far, &near) < 3e-4);
        let (sum, square) = near[..513]
            .iter()
            .fold((0.0, 0.0), |(s, q), y| (s + y, q + y * y));
        assert!((sum / 513.0).abs() < 1e-6 && (square / 513.0 - 1.0).abs() < 1e-4);
    }
}
