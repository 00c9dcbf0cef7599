//! # What
//! Adds the sinusoidal position vectors of the first Transformer (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).
//!
//! # Shapes
//! `x (B, T, C)` wide, C even; `positions (B, T)` indices -> `y (B, T, C)` wide.
//!
//! # Forward
//! `y = x + PE(p)` with `PE(p)_2i = sin(p 10000^(-2i/C))` and `PE(p)_2i+1` its cosine, made in `f64`
//! ([`crate::cpu::angles`]).
//!
//! # Backward
//! `dx = dy`: in place, nothing is left to do.
//!
//! # Kept for backward
//! Nothing.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::angles::{Angles, Order};
use crate::cpu::elementwise::deliver;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradMode, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "sinusoid",
    formula: "y_2i = x_2i + sin(p f_i), y_2i+1 = x_2i+1 + cos(p f_i), f_i = 10000^(-2i/C)",
    cases,
};

/// Sinusoidal positions. Inputs: `x`, `positions`. Output: `y`.
#[derive(Clone, Debug)]
pub struct Sinusoid;

impl Sinusoid {
    fn angles(cols: usize) -> Angles {
        Angles {
            theta: 10_000.0,
            dims: cols,
            order: Order::SinCosPairs,
        }
    }
}

impl Op for Sinusoid {
    fn name(&self) -> &'static str {
        "sinusoid"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [x, positions] = inputs else {
            return Err(ShapeError::new(format!(
                "sinusoid takes x and positions, not {} inputs",
                inputs.len()
            )));
        };
        let fits = x.shape.len() == 3
            && x.shape[..2] == positions.shape
            && x.cols().is_multiple_of(2)
            && x.dtype == precision.wide()
            && positions.dtype == Dtype::I32;
        if !fits {
            return Err(ShapeError::new(format!(
                "sinusoid takes a residual stream of even width and a position a token, not {x:?} and {positions:?}"
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

    fn workspace(&self, inputs: &[Meta], _: &Cpu, backward: bool) -> usize {
        let (x, positions) = (&inputs[0], &inputs[1]);
        if backward {
            0
        } else {
            Self::angles(x.cols()).scratch(positions.cols(), x.dtype.size())
        }
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing {
            in_place: Some((0, 0)),
            equal: None,
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::forward::<X>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, X => {
            if let Some((dx, mode @ (GradMode::Set | GradMode::Add))) = cx.d_input::<X>(0) {
                let dy = cx.d_output::<X>(0).expect("the gradient of the output");
                deliver(cx.cpu, dy, dx, mode == GradMode::Add);
            }
        });
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        if backward {
            0
        } else {
            gpu::angles(inputs[0].cols()).bytes(inputs[1].cols())
        }
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

fn cases() -> Vec<Case> {
    let case = |batch: usize, seq: usize, cols: usize, fill| {
        Case::new(
            Sinusoid,
            vec![
                Input::new([batch, seq, cols], Role::Wide, Fill::Normal(1.0)),
                Input::new([batch, seq], Role::Index, fill),
            ],
        )
    };
    vec![
        case(1, 1, 2, Fill::Ids(3)),
        case(2, 9, 6, Fill::Positions(9)),
        case(3, 70, 34, Fill::Positions(70)),
        case(3, 4, 66, Fill::Ids(3000)),
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
        check("sinusoid", Sinusoid);
    }

    #[test]
    fn products_depend_on_the_distance() {
        let case = Case::new(
            Sinusoid,
            vec![
                Input::new([1, 4, 64], Role::Wide, Fill::Normal(0.0)),
                Input::new([1, 4], Role::Index, Fill::Ids(1)),
            ],
        );
        let mut trial = case.trial(Precision::F64, 1);
        trial.inputs[1] = vec![3.0, 10.0, 400.0, 407.0];
        let y = trial.run(&Cpu::new(1), GradMode::Set).outputs.remove(0);
        let dot =
            |i: usize, j: usize| -> f64 { (0..64).map(|c| y[i * 64 + c] * y[j * 64 + c]).sum() };
        let want: f64 = (0..32)
            .map(|i| (7.0 * 10_000f64.powf(-f64::from(i) / 32.0)).cos())
            .sum();
        assert!((dot(0, 1) - want).abs() < 1e-9);
        assert!((dot(2, 3) - want).abs() < 1e-9);
        assert_eq!(y[0], 3f64.sin());
    }
}
