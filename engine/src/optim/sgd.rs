//! Stochastic gradient descent with momentum.
//!
//! `g = g + weight_decay w`, `m = momentum m + g`, `w = w - lr m`; with Nesterov's form `w = w - lr (g + momentum m)`.
//!
//! Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

use super::{Optimizer, Update, is_decayed};
use crate::config::Choice;
use crate::param::{Group, Params};
use crate::registry::{Class, Default, Key, Kind, Variant};
use kernels::Cpu;
use kernels::arena::Arena;
use kernels::gpu::{Gpu, GpuError};
use kernels::update::{Pass, sgd};
use std::ops::Range;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "sgd",
    summary: "gradient descent with momentum",
    reference: "Sutskever et al., ICML 2013",
    keys: &[
        Key {
            name: "momentum",
            kind: Kind::SHARE,
            default: Default::Is("0.0"),
            class: Class::Live,
            doc: "share of the last update that is kept, below 1",
        },
        Key {
            name: "nesterov",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Live,
            doc: "looks one update ahead (needs momentum)",
        },
        Key {
            name: "weight_decay",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("0.0"),
            class: Class::Live,
            doc: "added to the gradient of matrices as weight_decay * w",
        },
    ],
};

#[derive(Debug)]
struct Sgd {
    len: usize,
    momentum_buffer: Arena,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
}

/// Makes its state: one array of zeros.
pub(super) fn build(choice: &Choice, len: usize) -> Box<dyn Optimizer> {
    let momentum_buffer = Arena::new(len * size_of::<f32>());
    let mut sgd = Sgd {
        len,
        momentum_buffer,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
    };
    sgd.configure(choice);
    Box::new(sgd)
}

impl Sgd {
    fn scalars(&self, group: Group, update: &Update) -> sgd::Sgd {
        sgd::Sgd {
            lr: update.lr,
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: if is_decayed(group) {
                self.weight_decay
            } else {
                0.0
            },
            grad_scale: update.grad_scale,
        }
    }
}

impl Optimizer for Sgd {
    fn configure(&mut self, choice: &Choice) {
        self.momentum = choice.float("momentum");
        self.nesterov = choice.flag("nesterov");
        self.weight_decay = choice.float("weight_decay");
    }

    fn step(&mut self, cpu: &Cpu, params: &mut Params, update: &Update) {
        let groups = params.groups().to_vec();
        for (group, range) in groups {
            let scalars = self.scalars(group, update);
            let (w, g) = params.both_mut();
            let b = &mut self.momentum_buffer.as_f32_mut()[range.clone()];
            sgd::update(cpu, &scalars, &mut w[range.clone()], &g[range], b);
        }
    }

    fn scalars_gpu(&self, group: Group, update: &Update) -> Vec<u8> {
        self.scalars(group, update).scalars_bytes().into()
    }

    fn pass_gpu(&self, gpu: &Gpu, _: Group, pass: &Pass<'_>) -> Result<(), GpuError> {
        sgd::update_gpu(gpu, pass)
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        vec![("momentum", &self.momentum_buffer.as_f32()[..self.len])]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut [f32])> {
        vec![(
            "momentum",
            &mut self.momentum_buffer.as_f32_mut()[..self.len],
        )]
    }

    fn update_rms(&self, params: &Params, range: Range<usize>, _: Group, update: &Update) -> f64 {
        let b = &self.momentum_buffer.as_f32()[range.clone()];
        let look_ahead = if self.nesterov {
            update.grad_scale
        } else {
            0.0
        };
        let keep = if self.nesterov { self.momentum } else { 1.0 };
        let sum: f64 = b
            .iter()
            .zip(&params.gradients()[range.clone()])
            .map(|(b, g)| (keep * f64::from(*b) + look_ahead * f64::from(*g)).powi(2))
            .sum();
        update.lr * (sum / range.len().max(1) as f64).sqrt()
    }
}
