//! SGD on the CPU.

#![expect(unsafe_code, reason = "each thread updates elements of its own")]

use super::Sgd;
use crate::Cpu;
use crate::arena::Shared;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::update::CHUNK;

pub(super) fn update(cpu: &Cpu, s: &Sgd, w: &mut [f32], g: &[f32], b: &mut [f32]) {
    let n = g.len();
    assert!(
        w.len() == n && b.len() == n,
        "buffers of an update have one length"
    );
    let (w, b) = (Shared::new(w), Shared::new(b));
    cpu.pool.run(n.div_ceil(CHUNK), |chunk| {
        let start = chunk * CHUNK;
        let len = CHUNK.min(n - start);
        // SAFETY: each task has a chunk of its own.
        let part = unsafe {
            Part {
                s,
                w: w.slice(start, len),
                g: &g[start..start + len],
                b: b.slice(start, len),
            }
        };
        run(cpu.isa, part);
    });
}

struct Part<'a> {
    s: &'a Sgd,
    w: &'a mut [f32],
    g: &'a [f32],
    b: &'a mut [f32],
}

impl Kernel<f32> for Part<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let s = self.s;
        let (scale, decay) = (S::c(s.grad_scale), S::c(s.weight_decay));
        let (momentum, lr) = (S::c(s.momentum), S::c(-s.lr));
        for i in blocks::<S>(self.g.len()) {
            let w = i.load::<S, f32>(self.w);
            let g = S::fma(decay, w, S::mul(i.load::<S, f32>(self.g), scale));
            let b = S::fma(momentum, i.load::<S, f32>(self.b), g);
            let step = if s.nesterov {
                S::fma(momentum, b, g)
            } else {
                b
            };
            i.store::<S, f32>(self.w, S::fma(lr, step, w));
            i.store::<S, f32>(self.b, b);
        }
    }
}
