//! Passes over the flat buffers of parameters and gradients.

use super::case::{Kind, Runner, Stage};
use super::tensor::Tensor;
use kernels::update::{adamw, norm};
use kernels::{Cpu, Dtype, Meta};
use std::hint::black_box;

/// The norm of the gradient and AdamW with clipping, as after every backward.
pub static ADAMW: Kind = Kind {
    name: "adamw",
    dims: "N",
    rank: 1,
    stages: |_| &[Stage::Update],
    bf16: false,
    bytes: |dims| 16 * dims[0] as u64,
    build: |_, _, dims| Ok(Box::new(AdamW::new(dims[0]))),
};

/// The norm of the gradient alone.
pub static NORM: Kind = Kind {
    name: "norm",
    dims: "N",
    rank: 1,
    stages: |_| &[Stage::Update],
    bf16: false,
    bytes: |dims| 4 * dims[0] as u64,
    build: |_, _, dims| Ok(Box::new(Norm(flat(dims[0])))),
};

fn flat(len: usize) -> Tensor {
    Tensor::new(Meta::new([len], Dtype::F32))
}

struct AdamW {
    /// Values and gradients of the parameters.
    w: Tensor,
    g: Tensor,
    /// Moments.
    m: Tensor,
    v: Tensor,
}

impl AdamW {
    fn new(len: usize) -> Self {
        let mut adamw = Self {
            w: flat(len),
            g: flat(len),
            m: flat(len),
            v: flat(len),
        };
        // A second moment is not negative.
        adamw.v.values_mut().fill(0.3);
        adamw
    }
}

impl Runner for AdamW {
    fn run(&mut self, cpu: &Cpu, _: Stage) {
        let size = norm::sum_of_squares(cpu, self.g.values()).sqrt();
        let scalars = adamw::AdamW {
            lr: 1e-6,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            step: 1000,
            grad_scale: norm::clip_factor(size, 1.0),
            rounding: None,
        };
        let (w, m, v) = (
            self.w.values_mut(),
            self.m.values_mut(),
            self.v.values_mut(),
        );
        adamw::update(cpu, &scalars, w, self.g.values(), m, v);
    }

    fn work(&self, _: Stage) -> (u64, u64) {
        // 2 of the norm, 3 a moment, 6 of the update. The gradient is read twice; weights and moments are written too.
        let len = self.w.meta().len() as u64;
        (14 * len, 32 * len)
    }
}

struct Norm(Tensor);

impl Runner for Norm {
    fn run(&mut self, cpu: &Cpu, _: Stage) {
        black_box(norm::sum_of_squares(cpu, self.0.values()));
    }

    fn work(&self, _: Stage) -> (u64, u64) {
        let len = self.0.meta().len() as u64;
        (2 * len, 4 * len)
    }
}
