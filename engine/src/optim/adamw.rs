//! Adam with decoupled weight decay.
//!
//! With gradient `g` at step `t` (from 1): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `w = w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w)`.
//!
//! With `stochastic_rounding` every new weight but gains and biases is rounded to `bf16` at random and kept so: training without
//! `f32` master weights, whose mean is still that of the updates (Zamirai et al., arXiv:2010.06192).
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101; Kingma and Ba, arXiv:1412.6980.

use super::{Optimizer, Update, is_decayed};
use crate::config::Choice;
use crate::param::{Group, Params};
use crate::registry::{Class, Default, Key, Kind, Variant};
use kernels::Cpu;
use kernels::arena::Arena;
use kernels::gpu::{Gpu, GpuError};
use kernels::update::rounding::Rounding;
use kernels::update::{Pass, adamw};
use std::ops::Range;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "adamw",
    summary: "Adam with decoupled weight decay",
    reference: "Loshchilov and Hutter, arXiv:1711.05101",
    keys: &[
        Key {
            name: "betas",
            kind: Kind::List(&Kind::SHARE),
            default: Default::Is("[0.9, 0.95]"),
            class: Class::Live,
            doc: "decay rates of the first and second moment, each at least 0 and below 1",
        },
        Key {
            name: "eps",
            kind: Kind::ABOVE_ZERO,
            default: Default::Is("1e-8"),
            class: Class::Live,
            doc: "added to the root of the second moment",
        },
        Key {
            name: "weight_decay",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("0.1"),
            class: Class::Live,
            doc: "decoupled decay of matrices; biases and norms are never decayed",
        },
        Key {
            name: "stochastic_rounding",
            kind: Kind::Bool,
            default: Default::Is("false"),
            // A device's captured steps hold the one kernel or the other.
            class: Class::Boundary,
            doc: "keeps matrices, tables and head in bf16's numbers, without f32 master weights: each update is rounded up or down at random",
        },
    ],
};

#[derive(Debug)]
struct AdamW {
    len: usize,
    /// First moments.
    m: Arena,
    /// Second moments.
    v: Arena,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    stochastic_rounding: bool,
}

/// Makes its state: two arrays of zeros.
pub(super) fn build(choice: &Choice, len: usize) -> Box<dyn Optimizer> {
    let arena = || Arena::new(len * size_of::<f32>());
    let mut adamw = AdamW {
        len,
        m: arena(),
        v: arena(),
        betas: (0.0, 0.0),
        eps: 0.0,
        weight_decay: 0.0,
        stochastic_rounding: false,
    };
    adamw.configure(choice);
    Box::new(adamw)
}

impl AdamW {
    /// Whether the weights of a group are rounded at random: all but gains and biases.
    fn rounds(&self, group: Group) -> bool {
        self.stochastic_rounding && group != Group::Vector
    }

    /// The scalars of a group whose parameters begin at element `first` of the flat buffers.
    fn scalars(&self, group: Group, first: usize, update: &Update) -> adamw::AdamW {
        adamw::AdamW {
            lr: update.lr,
            beta1: self.betas.0,
            beta2: self.betas.1,
            eps: self.eps,
            weight_decay: if is_decayed(group) {
                self.weight_decay
            } else {
                0.0
            },
            step: update.step,
            grad_scale: update.grad_scale,
            rounding: self
                .rounds(group)
                .then(|| Rounding::new(update.seed, update.step, first)),
        }
    }
}

impl Optimizer for AdamW {
    fn configure(&mut self, choice: &Choice) {
        let betas = choice.floats("betas");
        self.betas = (betas[0], betas[1]);
        self.eps = choice.float("eps");
        self.weight_decay = choice.float("weight_decay");
        self.stochastic_rounding = choice.flag("stochastic_rounding");
    }

    fn step(&mut self, cpu: &Cpu, params: &mut Params, update: &Update) {
        let groups = params.groups().to_vec();
        for (group, range) in groups {
            let scalars = self.scalars(group, range.start, update);
            let (w, g) = params.both_mut();
            let m = &mut self.m.as_f32_mut()[range.clone()];
            let v = &mut self.v.as_f32_mut()[range.clone()];
            adamw::update(cpu, &scalars, &mut w[range.clone()], &g[range], m, v);
        }
    }

    fn scalars_gpu(&self, group: Group, update: &Update) -> Vec<u8> {
        // Where the group begins, its pass is told.
        self.scalars(group, 0, update).scalars_bytes().into()
    }

    fn pass_gpu(&self, gpu: &Gpu, group: Group, pass: &Pass<'_>) -> Result<(), GpuError> {
        adamw::update_gpu(gpu, self.rounds(group), pass)
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        vec![
            ("m", &self.m.as_f32()[..self.len]),
            ("v", &self.v.as_f32()[..self.len]),
        ]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut [f32])> {
        vec![
            ("m", &mut self.m.as_f32_mut()[..self.len]),
            ("v", &mut self.v.as_f32_mut()[..self.len]),
        ]
    }

    fn update_rms(
        &self,
        params: &Params,
        range: Range<usize>,
        group: Group,
        update: &Update,
    ) -> f64 {
        let s = self.scalars(group, range.start, update);
        let correct1 = 1.0 - s.beta1.powf(s.step as f64);
        let correct2 = 1.0 - s.beta2.powf(s.step as f64);
        let moments = self.m.as_f32()[range.clone()]
            .iter()
            .zip(&self.v.as_f32()[range.clone()]);
        let sum: f64 = moments
            .zip(&params.values()[range.clone()])
            .map(|((m, v), w)| {
                let adam = f64::from(*m) / correct1 / ((f64::from(*v) / correct2).sqrt() + s.eps);
                let move_ = s.lr * (adam + s.weight_decay * f64::from(*w));
                move_ * move_
            })
            .sum();
        (sum / range.len().max(1) as f64).sqrt()
    }
}
