//! # What
//! The residual addition and the norm that reads it, in one pass: [`super::add`] then [`super::rmsnorm`] or
//! [`super::layernorm`]. [`AddNorm::reference`] is that definition.
//!
//! # Shapes
//! `x (.., C)` wide, `y (.., C)` wide or compute, `w (C)` parameter, for a layer norm with a bias also `b (C)` parameter ->
//! `s (.., C)` wide, `n (.., C)` compute. Saved: what the norm saves.
//!
//! # Forward
//! `s = x + y`, `n = norm(s)`, the norm while the row of s is in the first cache.
//!
//! # Backward
//! With `dn_s` the gradient that the norm sends to s: `dx = ds + dn_s`, and dy is the same, rounded where y is of the compute
//! type. ds is absent where only the norm reads s. In place, dx is made where ds is. Where y has the type of x (the planner
//! compares the types), dy is not made: it is dx.
//!
//! # Kept for backward
//! `s`, `w`, and what the norm saves.

mod cpu;
mod gpu;

use super::Entry;
use super::add::Add;
use super::layernorm::LayerNorm;
use super::rmsnorm::RmsNorm;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info, norm};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Bf16, Cpu, Dtype, Precision};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "add_norm",
    formula: "s = x + y, n = norm(s)",
    cases,
};

/// Which norm follows the addition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// As [`RmsNorm`].
    Rms {
        /// Added to the mean square.
        eps: f64,
        /// Whether the gain is `1 + w`.
        zero_centered: bool,
    },
    /// As [`LayerNorm`].
    Layer {
        /// Added to the variance.
        eps: f64,
        /// Whether there is a bias.
        bias: bool,
    },
}

impl Norm {
    /// The norm alone.
    pub fn op(&self) -> Box<dyn Op> {
        match *self {
            Self::Rms { eps, zero_centered } => Box::new(RmsNorm {
                eps,
                zero_centered,
                wide: false,
            }),
            Self::Layer { eps, bias } => Box::new(LayerNorm {
                eps,
                bias,
                wide: false,
            }),
        }
    }
}

/// Addition and norm. Inputs: `x`, `y`, `w`, and `b` where the norm has a bias. Outputs: `s`, `n`.
#[derive(Clone, Debug)]
pub struct AddNorm {
    /// The norm.
    pub norm: Norm,
}

impl AddNorm {
    /// The two operations that this one fuses: the norm reads the sum.
    pub fn reference(&self) -> (Add, Box<dyn Op>) {
        (Add, self.norm.op())
    }

    fn has_bias(&self) -> bool {
        matches!(self.norm, Norm::Layer { bias: true, .. })
    }
}

impl Op for AddNorm {
    fn name(&self) -> &'static str {
        "add_norm"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        if inputs.len() < 3 {
            return Err(ShapeError::new(format!(
                "add_norm takes x, y and w, not {} inputs",
                inputs.len()
            )));
        }
        let (add, norm) = self.reference();
        let mut outputs = add.outputs(&inputs[..2], precision)?;
        outputs.extend(norm.outputs(&norm_inputs(inputs), precision)?);
        Ok(outputs)
    }

    fn keeps(&self) -> Keeps {
        Keeps {
            inputs: 0b100,
            ..Keeps::outputs(0b01)
        }
    }

    fn saved(&self, inputs: &[Meta], precision: Precision) -> Vec<Meta> {
        let (_, norm) = self.reference();
        norm.saved(&norm_inputs(inputs), precision)
    }

    fn workspace(&self, inputs: &[Meta], _: &Cpu, backward: bool) -> usize {
        if backward {
            CHUNKS * (1 + usize::from(self.has_bias())) * inputs[2].bytes()
        } else {
            0
        }
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing {
            in_place: Some((0, 0)),
            equal: Some((0, 1)),
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        let n = cx.outputs[1].as_ref().expect("an output").dtype();
        match (cx.metas[0].dtype, cx.metas[1].dtype, n) {
            (Dtype::F32, Dtype::F32, Dtype::F32) => cpu::forward::<f32, f32, f32>(self, cx),
            (Dtype::F32, Dtype::F32, Dtype::Bf16) => cpu::forward::<f32, f32, Bf16>(self, cx),
            (Dtype::F32, Dtype::Bf16, Dtype::Bf16) => cpu::forward::<f32, Bf16, Bf16>(self, cx),
            (Dtype::F64, Dtype::F64, Dtype::F64) => cpu::forward::<f64, f64, f64>(self, cx),
            types => unreachable!("no precision has the types {types:?}"),
        }
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        let n = cx.d_outputs[1].as_ref().expect("a gradient").dtype();
        match (cx.metas[0].dtype, cx.metas[1].dtype, n) {
            (Dtype::F32, Dtype::F32, Dtype::F32) => cpu::backward::<f32, f32, f32>(self, cx),
            (Dtype::F32, Dtype::F32, Dtype::Bf16) => cpu::backward::<f32, f32, Bf16>(self, cx),
            (Dtype::F32, Dtype::Bf16, Dtype::Bf16) => cpu::backward::<f32, Bf16, Bf16>(self, cx),
            (Dtype::F64, Dtype::F64, Dtype::F64) => cpu::backward::<f64, f64, f64>(self, cx),
            types => unreachable!("no precision has the types {types:?}"),
        }
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        if backward {
            norm::scratch_bytes(
                inputs[0].rows(),
                (1 + usize::from(self.has_bias())) * inputs[2].len(),
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
        let (add, norm) = self.reference();
        add.flops(inputs) + norm.flops(&norm_inputs(inputs))
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

/// The sum has the shape and type of x; the parameters follow.
fn norm_inputs(inputs: &[Meta]) -> Vec<Meta> {
    let mut norm = vec![inputs[0].clone()];
    norm.extend_from_slice(&inputs[2..]);
    norm
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, cols: usize, role, norm| {
        let op = AddNorm { norm };
        let gain = match norm {
            Norm::Rms {
                zero_centered: true,
                ..
            } => Fill::Normal(0.2),
            _ => Fill::NearOne,
        };
        let mut inputs = vec![
            Input::new([rows, cols], Role::Wide, Fill::Normal(1.5)),
            Input::new([rows, cols], role, Fill::Normal(0.7)),
            Input::new([cols], Role::Param, gain),
        ];
        if op.has_bias() {
            inputs.push(Input::new([cols], Role::Param, Fill::Normal(0.2)));
        }
        Case::new(op, inputs)
    };
    let rms = |zero_centered| Norm::Rms {
        eps: 1e-5,
        zero_centered,
    };
    let layer = |bias| Norm::Layer { eps: 1e-5, bias };
    vec![
        case(3, 7, Role::Wide, rms(false)),
        case(37, 67, Role::Compute, rms(true)),
        case(130, 128, Role::Compute, rms(false)),
        case(3, 7, Role::Compute, layer(false)),
        case(37, 67, Role::Wide, layer(true)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Outcome;
    use crate::op::{Grad, GradMode};
    use crate::{Slot, SlotMut};

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
            "add_norm_rms",
            AddNorm {
                norm: Norm::Rms {
                    eps: 1e-5,
                    zero_centered: false,
                },
            },
        );
        check(
            "add_norm_layer",
            AddNorm {
                norm: Norm::Layer {
                    eps: 1e-5,
                    bias: true,
                },
            },
        );
    }

    /// Outputs s and n; gradients of x, y and the parameters, by the two simple operations.
    fn unfused(case: &Case, op: &AddNorm, precision: Precision) -> (Outcome, Outcome) {
        let cpu = Cpu::new(2);
        let trial = case.trial(precision, 21);
        let (add, norm) = op.reference();
        let add = Case::new(add, case.inputs[..2].to_vec());
        let mut inputs = vec![case.inputs[0].clone()];
        inputs.extend_from_slice(&case.inputs[2..]);
        let norm = Case { op: norm, inputs };

        let mut add = add.trial(precision, 1);
        add.inputs = trial.inputs[..2].to_vec();
        let s = add.run(&cpu, GradMode::Set).outputs.remove(0);
        let mut norm = norm.trial(precision, 1);
        norm.inputs = vec![s.clone()];
        norm.inputs.extend_from_slice(&trial.inputs[2..]);
        norm.d_outputs = vec![trial.d_outputs[1].clone()];
        let norm = norm.run(&cpu, GradMode::Set);
        let ds = trial.d_outputs[0].iter().zip(&norm.d_inputs[0]);
        // Rounded to f32 as a tensor of ds would be.
        add.d_outputs = vec![match precision {
            Precision::F64 => ds.map(|(a, b)| a + b).collect(),
            _ => ds.map(|(a, b)| f64::from(*a as f32 + *b as f32)).collect(),
        }];
        let mut d_inputs = add.run(&cpu, GradMode::Set).d_inputs;
        d_inputs.extend_from_slice(&norm.d_inputs[1..]);
        let want = Outcome {
            outputs: vec![s, norm.outputs[0].clone()],
            d_inputs,
        };
        (trial.run(&cpu, GradMode::Set), want)
    }

    #[test]
    fn fused_equals_its_reference_to_the_bit() {
        for case in cases() {
            let op: &dyn std::any::Any = &*case.op;
            let op = op.downcast_ref::<AddNorm>().expect("its own case");
            for precision in [Precision::F32, Precision::Bf16, Precision::F64] {
                let (got, want) = unfused(&case, op, precision);
                assert!(got == want, "{case:?} in {precision:?}");
            }
        }
    }

    /// The last norm of a model: nothing else reads the sum, and the addend's gradient is not wanted.
    #[test]
    fn without_a_gradient_of_the_sum_only_the_norm_counts() {
        let cpu = Cpu::new(1);
        let op = AddNorm {
            norm: Norm::Rms {
                eps: 1e-5,
                zero_centered: false,
            },
        };
        let metas = [[2, 3].as_slice(), &[2, 3], &[3]].map(|s| Meta::new(s, Dtype::F32));
        let (s, w, dn) = (
            [1f32, -2.0, 0.5, 3.0, 0.1, -1.0],
            [1f32, 0.5, 2.0],
            [1f32; 6],
        );
        let r = [0, 1].map(|row| {
            let square: f32 = s[3 * row..3 * row + 3].iter().map(|x| x * x).sum();
            1.0 / (square / 3.0 + 1e-5).sqrt()
        });
        let mut workspace = vec![0u64; op.workspace(&metas, &cpu, true) / 8 + 1];
        let mut backward = |ds: Option<&[f32]>| -> Vec<f32> {
            let mut dx = vec![f32::NAN; 6];
            op.backward_cpu(&mut Backward {
                cpu: &cpu,
                scalars: &crate::Scalars::default(),
                metas: &metas,
                inputs: &[None, None, Some(Slot::new(&w))],
                outputs: &[Some(Slot::new(&s)), None],
                late_outputs: Vec::new(),
                d_outputs: &[ds.map(Slot::new), Some(Slot::new(&dn))],
                d_inputs: vec![
                    Some(Grad {
                        slot: SlotMut::new(&mut dx),
                        mode: GradMode::Set,
                    }),
                    None,
                    None,
                ],
                saved: &[Slot::new(&r)],
                workspace: crate::arena::bytes_of(&mut workspace),
            });
            dx
        };
        let absent = backward(None);
        assert!(absent.iter().all(|d| d.is_finite()));
        assert_eq!(absent, backward(Some(&[0.0; 6])));
        let one = backward(Some(&[1.0; 6]));
        assert!(one.iter().zip(&absent).all(|(a, b)| *a == b + 1.0));
    }
}
