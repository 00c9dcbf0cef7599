//! AdamW on the CPU.

#![expect(unsafe_code, reason = "each thread updates elements of its own")]

use super::AdamW;
use crate::Cpu;
use crate::arena::Shared;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::update::CHUNK;

pub(super) fn update(cpu: &Cpu, s: &AdamW, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let n = g.len();
    assert!(
        w.len() == n && m.len() == n && v.len() == n,
        "buffers of an update have one length"
    );
    let (w, m, v) = (Shared::new(w), Shared::new(m), Shared::new(v));
    cpu.pool.run(n.div_ceil(CHUNK), |chunk| {
        let start = chunk * CHUNK;
        let len = CHUNK.min(n - start);
        // SAFETY: each task has a chunk of its own.
        let part = unsafe {
            Part {
                s,
                start,
                w: w.slice(start, len),
                g: &g[start..start + len],
                m: m.slice(start, len),
                v: v.slice(start, len),
            }
        };
        run(cpu.isa, part);
    });
}

struct Part<'a> {
    s: &'a AdamW,
    /// Number of the first element in the buffer.
    start: usize,
    w: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel<f32> for Part<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let s = self.s;
        let correct1 = 1.0 - s.beta1.powf(s.step as f64);
        let correct2 = 1.0 - s.beta2.powf(s.step as f64);
        let (beta1, rest1) = (S::c(s.beta1), S::c(1.0 - s.beta1));
        let (beta2, rest2) = (S::c(s.beta2), S::c(1.0 - s.beta2));
        let (keep, step) = (S::c(1.0 - s.lr * s.weight_decay), S::c(s.lr / correct1));
        let (root, eps, scale) = (S::c(1.0 / correct2), S::c(s.eps), S::c(s.grad_scale));
        for i in blocks::<S>(self.g.len()) {
            let g = S::mul(i.load::<S, f32>(self.g), scale);
            let m = S::fma(rest1, g, S::mul(beta1, i.load::<S, f32>(self.m)));
            let v = S::fma(S::mul(rest2, g), g, S::mul(beta2, i.load::<S, f32>(self.v)));
            let divisor = S::add(S::sqrt(S::mul(v, root)), eps);
            let w = S::mul(i.load::<S, f32>(self.w), keep);
            i.store::<S, f32>(self.w, S::sub(w, S::div(S::mul(step, m), divisor)));
            i.store::<S, f32>(self.m, m);
            i.store::<S, f32>(self.v, v);
        }
        if let Some(rounding) = &s.rounding {
            rounding.round(self.start, self.w);
        }
    }
}
