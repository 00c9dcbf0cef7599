//! Runs one operation on its own and compares it with its definition: finite differences, instruction sets, threads,
//! precisions. The tests of every operation and `zerollm doctor` use the same functions on the same [`Case`]s.

use crate::op::{Backward, Forward, Grad, GradMode, Meta, Op, Scalars};
use crate::philox::Stream;
use crate::{Bf16, Cpu, Dtype, Elem as _, Isa, Precision, Slot, SlotMut};

/// One operation with shapes and values to try it on.
#[derive(Debug)]
pub struct Case {
    /// The operation.
    pub op: Box<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Input>,
}

/// An input of a [`Case`].
#[derive(Clone, Debug)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Which type it has in each precision.
    pub role: Role,
    /// Its values.
    pub fill: Fill,
}

/// Which element type a tensor has (see the table in the crate's page).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Residual stream.
    Wide,
    /// Between operations.
    Compute,
    /// A parameter.
    Param,
    /// Ids and positions.
    Index,
}

/// How values are made.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Normal, with this standard deviation.
    Normal(f64),
    /// 1 plus a tenth of a normal.
    NearOne,
    /// Uniform in `-1..n`: -1 is a target to ignore.
    Targets(i32),
    /// Uniform in `0..n`.
    Ids(i32),
    /// Position in a row of this length.
    Positions(usize),
    /// Start of the document, for rows of the first length cut into documents of the second.
    Documents(usize, usize),
}

impl Input {
    /// An input.
    pub fn new(shape: impl Into<Vec<usize>>, role: Role, fill: Fill) -> Self {
        Self {
            shape: shape.into(),
            role,
            fill,
        }
    }

    fn meta(&self, precision: Precision) -> Meta {
        let dtype = match self.role {
            Role::Wide | Role::Param => precision.wide(),
            Role::Compute => precision.compute(),
            Role::Index => Dtype::I32,
        };
        Meta::new(self.shape.clone(), dtype)
    }

    fn values(&self, stream: &mut Stream) -> Vec<f64> {
        let len = self.shape.iter().product();
        (0..len)
            .map(|i| match self.fill {
                Fill::Normal(std) => stream.normal() * std,
                Fill::NearOne => 1.0 + 0.1 * stream.normal(),
                Fill::Targets(n) => stream.below(n as u64 + 1) as f64 - 1.0,
                Fill::Ids(n) => stream.below(n as u64) as f64,
                Fill::Positions(t) => (i % t) as f64,
                Fill::Documents(t, d) => (i % t / d * d) as f64,
            })
            .collect()
    }
}

/// A tensor's memory with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Buffer {
    /// `f32`.
    F32(Vec<f32>),
    /// `bf16`.
    Bf16(Vec<Bf16>),
    /// `f64`.
    F64(Vec<f64>),
    /// Indices.
    I32(Vec<i32>),
}

impl Buffer {
    /// A buffer with these values, rounded to `dtype`.
    pub fn new(dtype: Dtype, values: &[f64]) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(values.iter().map(|x| *x as f32).collect()),
            Dtype::Bf16 => Self::Bf16(values.iter().map(|x| Bf16::put(*x as f32)).collect()),
            Dtype::F64 => Self::F64(values.to_vec()),
            Dtype::I32 => Self::I32(values.iter().map(|x| *x as i32).collect()),
        }
    }

    /// To be read.
    pub fn slot(&self) -> Slot<'_> {
        match self {
            Self::F32(v) => Slot::new(v),
            Self::Bf16(v) => Slot::new(v),
            Self::F64(v) => Slot::new(v),
            Self::I32(v) => Slot::new_i32(v),
        }
    }

    /// To be written. Panics for indices.
    pub fn slot_mut(&mut self) -> SlotMut<'_> {
        match self {
            Self::F32(v) => SlotMut::new(v),
            Self::Bf16(v) => SlotMut::new(v),
            Self::F64(v) => SlotMut::new(v),
            Self::I32(_) => panic!("indices are never written by an operation"),
        }
    }

    /// The values as `f64`.
    pub fn values(&self) -> Vec<f64> {
        self.slot().to_f64()
    }
}

/// What one forward and backward gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Outputs.
    pub outputs: Vec<Vec<f64>>,
    /// Gradients of the inputs; empty for indices.
    pub d_inputs: Vec<Vec<f64>>,
}

/// What gradients are added to in mode `Add`: small, so that rounding to `bf16` does not drown them.
pub(crate) const BASE: f64 = 0.015625;

/// A case made concrete: precision, shapes, values, upstream gradients.
#[derive(Debug)]
pub struct Trial<'a> {
    pub(crate) op: &'a dyn Op,
    pub(crate) precision: Precision,
    pub(crate) roles: Vec<Role>,
    pub(crate) metas: Vec<Meta>,
    pub(crate) outputs: Vec<Meta>,
    /// Values of the inputs.
    pub inputs: Vec<Vec<f64>>,
    /// Upstream gradients.
    pub d_outputs: Vec<Vec<f64>>,
    /// Scalars of the replay.
    pub scalars: Scalars,
}

impl Case {
    /// A case.
    pub fn new(op: impl Op + 'static, inputs: Vec<Input>) -> Self {
        Self {
            op: Box::new(op),
            inputs,
        }
    }

    /// Random values in one precision.
    pub fn trial(&self, precision: Precision, seed: u64) -> Trial<'_> {
        let mut stream = Stream::new(seed, 0x0c4e_c4e0);
        let metas: Vec<_> = self
            .inputs
            .iter()
            .map(|input| input.meta(precision))
            .collect();
        let outputs = self
            .op
            .outputs(&metas, precision)
            .expect("a case has shapes that fit");
        let inputs = self
            .inputs
            .iter()
            .map(|input| input.values(&mut stream))
            .collect();
        let d_outputs = outputs
            .iter()
            .map(|meta| (0..meta.len()).map(|_| stream.normal()).collect())
            .collect();
        let scalars = Scalars {
            seed: 5,
            loss_scale: 0.25,
            ..Scalars::default()
        };
        Trial {
            op: self.op.as_ref(),
            precision,
            roles: self.inputs.iter().map(|input| input.role).collect(),
            metas,
            outputs,
            inputs,
            d_outputs,
            scalars,
        }
    }
}

impl Trial<'_> {
    /// One forward and one backward. Gradients are delivered in `mode` (for `Add` they are added to a constant,
    /// which is subtracted again). All scratch and all outputs are filled with NaN beforehand.
    pub fn run(&self, cpu: &Cpu, mode: GradMode) -> Outcome {
        let op = self.op;
        let inputs: Vec<_> = self
            .metas
            .iter()
            .zip(&self.inputs)
            .map(|(meta, v)| Buffer::new(meta.dtype, v))
            .collect();
        let slots: Vec<_> = inputs.iter().map(Buffer::slot).collect();
        let nan = |meta: &Meta| Buffer::new(meta.dtype, &vec![f64::NAN; meta.len()]);
        let mut outputs: Vec<_> = self.outputs.iter().map(nan).collect();
        let mut saved: Vec<_> = op
            .saved(&self.metas, self.precision)
            .iter()
            .map(nan)
            .collect();
        let scratch =
            |backward| vec![u64::MAX; op.workspace(&self.metas, cpu, backward).div_ceil(8) + 8];
        let keeps = op.keeps();
        if !keeps.forward_in_backward {
            let mut workspace = scratch(false);
            op.forward_cpu(&mut Forward {
                cpu,
                scalars: &self.scalars,
                training: true,
                metas: &self.metas,
                inputs: &slots,
                outputs: outputs.iter_mut().map(|b| Some(b.slot_mut())).collect(),
                saved: saved.iter_mut().map(|b| Some(b.slot_mut())).collect(),
                workspace: aligned(&mut workspace),
            });
        }
        let kept = |mask: u32, slots: &[Slot<'_>]| -> Vec<Option<usize>> {
            (0..slots.len())
                .map(|i| (mask >> i & 1 == 1).then_some(i))
                .collect()
        };
        let kept_inputs: Vec<_> = kept(keeps.inputs, &slots)
            .into_iter()
            .map(|i| i.map(|i| slots[i]))
            .collect();
        let mut late = outputs.clone();
        let output_slots: Vec<_> = outputs.iter().map(Buffer::slot).collect();
        let kept_outputs: Vec<_> = kept(keeps.outputs, &output_slots)
            .into_iter()
            .map(|i| i.map(|i| output_slots[i]))
            .collect();
        let d_outputs: Vec<_> = self
            .outputs
            .iter()
            .zip(&self.d_outputs)
            .map(|(meta, v)| Buffer::new(meta.dtype, v))
            .collect();
        let in_place = if mode == GradMode::InPlace {
            op.grad_sharing().in_place
        } else {
            None
        };
        let d_output_slots: Vec<_> = d_outputs
            .iter()
            .enumerate()
            .map(|(o, b)| (in_place.map(|(_, output)| output) != Some(o)).then(|| b.slot()))
            .collect();
        let mut d_inputs: Vec<_> = self
            .metas
            .iter()
            .enumerate()
            .map(|(i, meta)| match in_place {
                _ if !meta.dtype.is_float() => None,
                Some((input, output)) if input == i => Some(d_outputs[output].clone()),
                _ if mode == GradMode::Add => {
                    Some(Buffer::new(meta.dtype, &vec![BASE; meta.len()]))
                }
                _ => Some(nan(meta)),
            })
            .collect();
        let saved_slots: Vec<_> = saved.iter().map(Buffer::slot).collect();
        let mut workspace = scratch(true);
        op.backward_cpu(&mut Backward {
            cpu,
            scalars: &self.scalars,
            metas: &self.metas,
            inputs: &kept_inputs,
            outputs: &kept_outputs,
            late_outputs: if keeps.forward_in_backward {
                late.iter_mut().map(|b| Some(b.slot_mut())).collect()
            } else {
                Vec::new()
            },
            d_outputs: &d_output_slots,
            d_inputs: d_inputs
                .iter_mut()
                .enumerate()
                .map(|(i, b)| {
                    b.as_mut().map(|b| Grad {
                        slot: b.slot_mut(),
                        mode: match in_place {
                            Some((input, _)) if input == i => GradMode::InPlace,
                            _ if mode == GradMode::InPlace => GradMode::Set,
                            _ => mode,
                        },
                    })
                })
                .collect(),
            saved: &saved_slots,
            workspace: aligned(&mut workspace),
        });
        let outputs = if keeps.forward_in_backward {
            late
        } else {
            outputs
        };
        let base = if mode == GradMode::Add { BASE } else { 0.0 };
        Outcome {
            outputs: outputs.iter().map(Buffer::values).collect(),
            d_inputs: d_inputs
                .iter()
                .map(|b| {
                    b.as_ref()
                        .map_or_else(Vec::new, |b| b.values().iter().map(|x| x - base).collect())
                })
                .collect(),
        }
    }

    /// Only a forward, as in evaluation (`training` false).
    pub fn infer(&self, cpu: &Cpu) -> Vec<Vec<f64>> {
        self.forward(cpu, false)
    }

    fn forward(&self, cpu: &Cpu, training: bool) -> Vec<Vec<f64>> {
        let inputs: Vec<_> = self
            .metas
            .iter()
            .zip(&self.inputs)
            .map(|(meta, v)| Buffer::new(meta.dtype, v))
            .collect();
        let slots: Vec<_> = inputs.iter().map(Buffer::slot).collect();
        let zero = |meta: &Meta| Buffer::new(meta.dtype, &vec![0.0; meta.len()]);
        let mut outputs: Vec<_> = self.outputs.iter().map(zero).collect();
        let saved_metas = if training {
            self.op.saved(&self.metas, self.precision)
        } else {
            Vec::new()
        };
        let mut saved: Vec<_> = saved_metas.iter().map(zero).collect();
        let mut workspace =
            vec![u64::MAX; self.op.workspace(&self.metas, cpu, false).div_ceil(8) + 8];
        self.op.forward_cpu(&mut Forward {
            cpu,
            scalars: &self.scalars,
            training,
            metas: &self.metas,
            inputs: &slots,
            outputs: outputs.iter_mut().map(|b| Some(b.slot_mut())).collect(),
            saved: saved.iter_mut().map(|b| Some(b.slot_mut())).collect(),
            workspace: aligned(&mut workspace),
        });
        outputs.iter().map(Buffer::values).collect()
    }

    fn objective(&self, cpu: &Cpu) -> f64 {
        let outputs = self.forward(cpu, !self.op.keeps().forward_in_backward);
        outputs
            .iter()
            .zip(&self.d_outputs)
            .flat_map(|(y, d)| y.iter().zip(d))
            .map(|(y, d)| y * d)
            .sum()
    }
}

fn aligned(words: &mut [u64]) -> &mut [u8] {
    let skip = words.as_ptr().align_offset(crate::arena::ALIGN);
    crate::arena::bytes_of(&mut words[skip..])
}

/// Largest difference between the gradients in `f64` and central differences of the objective `sum(output * upstream)`,
/// relative to `1 + |difference|`, over up to `samples` elements of each input.
pub fn gradient_error(case: &Case, samples: usize) -> f64 {
    let cpu = Cpu::with_isa(1, Isa::Scalar);
    let mut trial = case.trial(Precision::F64, 11);
    let analytic = trial.run(&cpu, GradMode::Set).d_inputs;
    let mut stream = Stream::new(4, 4);
    let mut worst: f64 = 0.0;
    for (input, gradient) in analytic.iter().enumerate() {
        let len = gradient.len();
        let chosen: Vec<usize> = if len <= samples {
            (0..len).collect()
        } else {
            (0..samples)
                .map(|_| stream.below(len as u64) as usize)
                .collect()
        };
        for i in chosen {
            let x = trial.inputs[input][i];
            let step = 1e-5 * x.abs().max(1.0);
            let mut at = |value: f64| {
                trial.inputs[input][i] = value;
                trial.objective(&cpu)
            };
            // Fourth-order central difference: the error of the difference itself stays below 1e-9.
            let numeric = (8.0 * (at(x + step) - at(x - step))
                - (at(x + 2.0 * step) - at(x - 2.0 * step)))
                / (12.0 * step);
            trial.inputs[input][i] = x;
            let error = (numeric - gradient[i]).abs() / (1.0 + numeric.abs());
            // A NaN must count as the worst error, not vanish in a comparison.
            if error.is_nan() {
                return f64::INFINITY;
            }
            worst = worst.max(error);
        }
    }
    worst
}

/// Largest normalised error `sqrt(mean((a - b)^2) / mean(b^2))` of any output or gradient between an instruction set and
/// the scalar definition in the same precision.
pub fn isa_error(case: &Case, precision: Precision, isa: Isa) -> f64 {
    let trial = case.trial(precision, 12);
    let want = trial.run(&Cpu::with_isa(1, Isa::Scalar), GradMode::Set);
    let got = trial.run(&Cpu::with_isa(1, isa), GradMode::Set);
    outcome_error(&got, &want)
}

/// Largest normalised error between two outcomes.
pub fn outcome_error(got: &Outcome, want: &Outcome) -> f64 {
    let all = |o: &Outcome| {
        o.outputs
            .iter()
            .chain(&o.d_inputs)
            .cloned()
            .collect::<Vec<_>>()
    };
    all(got)
        .iter()
        .zip(&all(want))
        .map(|(a, b)| normalised_error(a, b))
        .fold(0.0, f64::max)
}

/// `sqrt(sum((a - b)^2) / sum(b^2))`; infinite where a value is not finite in one of them only.
pub fn normalised_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "tensors of different sizes");
    let difference: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    let square: f64 = b.iter().map(|y| y * y).sum();
    if difference == 0.0 {
        0.0
    } else if difference.is_nan() || square == 0.0 {
        f64::INFINITY
    } else {
        (difference / square).sqrt()
    }
}

/// All that every operation must fulfil; panics with the case on the first failure. `limit` bounds the difference between
/// instruction sets in `f32`; `bf16_limit` between `bf16` and `f32`, and between instruction sets in `bf16`.
pub fn all(case: &Case, limit: f64, bf16_limit: f64) {
    let error = gradient_error(case, 40);
    assert!(
        error < 1e-6,
        "{case:?}: gradient differs from finite differences by {error:e}"
    );
    for precision in [Precision::F32, Precision::Bf16] {
        let bound = if precision == Precision::F32 {
            limit
        } else {
            bf16_limit
        };
        for isa in Isa::available() {
            let error = isa_error(case, precision, isa);
            assert!(
                error < bound,
                "{case:?}: {isa:?} in {precision:?} differs from scalar by {error:e}"
            );
        }
        let trial = case.trial(precision, 13);
        let best = Isa::choose(None).expect("there is always one");
        let one = trial.run(&Cpu::with_isa(1, best), GradMode::Set);
        for threads in [2, 3] {
            let more = trial.run(&Cpu::with_isa(threads, best), GradMode::Set);
            assert!(
                more == one,
                "{case:?}: {threads} threads change bits in {precision:?}"
            );
        }
        let cpu = Cpu::with_isa(2, best);
        for mode in [GradMode::Add, GradMode::InPlace] {
            let other = trial.run(&cpu, mode);
            assert_eq!(
                other.outputs, one.outputs,
                "{case:?}: outputs depend on how gradients are delivered"
            );
            let bound = if precision == Precision::F32 {
                1e-5
            } else {
                2e-2
            };
            let error = outcome_error(&other, &one);
            assert!(
                error < bound,
                "{case:?}: gradients in mode {mode:?} differ by {error:e} in {precision:?}"
            );
        }
    }
    let wide = case
        .trial(Precision::F32, 14)
        .run(&Cpu::new(2), GradMode::Set);
    let narrow = case
        .trial(Precision::Bf16, 14)
        .run(&Cpu::new(2), GradMode::Set);
    let error = outcome_error(&narrow, &wide);
    assert!(
        error < bf16_limit,
        "{case:?}: bf16 differs from f32 by {error:e}"
    );
}
