//! Adam with decoupled weight decay.
//!
//! With gradient `g` at step `t` (from 1): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `w = w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w)`.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101; Kingma and Ba, arXiv:1412.6980.

use super::{DeviceArrays, Optimizer, Update, is_decayed};
use crate::config::Choice;
use crate::param::{Group, Params};
use crate::registry::{Class, Default, Key, Kind, Variant};
use kernels::Cpu;
use kernels::arena::Arena;
use kernels::gpu::{GpuError, View};
use kernels::update::adamw;
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
    };
    adamw.configure(choice);
    Box::new(adamw)
}

impl AdamW {
    fn scalars(&self, group: Group, update: &Update) -> adamw::AdamW {
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
        }
    }
}

impl Optimizer for AdamW {
    fn configure(&mut self, choice: &Choice) {
        let betas = choice.floats("betas");
        self.betas = (betas[0], betas[1]);
        self.eps = choice.float("eps");
        self.weight_decay = choice.float("weight_decay");
    }

    fn step(&mut self, cpu: &Cpu, params: &mut Params, update: &Update) {
        let groups = params.groups().to_vec();
        for (group, range) in groups {
            let scalars = self.scalars(group, update);
            let (w, g) = params.both_mut();
            let m = &mut self.m.as_f32_mut()[range.clone()];
            let v = &mut self.v.as_f32_mut()[range.clone()];
            adamw::update(cpu, &scalars, &mut w[range.clone()], &g[range], m, v);
        }
    }

    fn step_gpu(
        &self,
        arrays: &DeviceArrays<'_>,
        groups: &[(Group, Range<usize>)],
        update: &Update,
    ) -> Result<(), GpuError> {
        for (number, (group, range)) in groups.iter().enumerate() {
            let part = |view: View| view.slice(range.start, range.len());
            let [m, v] = arrays.state else {
                unreachable!("two arrays, as in `state`")
            };
            let scalars =
                arrays.write_scalars(number, &self.scalars(*group, update).scalars_bytes())?;
            adamw::update_gpu(
                arrays.gpu,
                scalars,
                part(arrays.values),
                part(arrays.gradients),
                part(*m),
                part(*v),
            )?;
        }
        Ok(())
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
        let s = self.scalars(group, update);
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
