//! The norm on the CPU.

#![expect(unsafe_code, reason = "each thread writes the sums of its own chunks")]

use crate::Cpu;
use crate::arena::Shared;
use crate::cpu::simd::{Kernel, Simd, blocks, run};
use crate::update::CHUNK;

pub(super) fn sum_of_squares(cpu: &Cpu, x: &[f32]) -> f64 {
    let chunks = x.len().div_ceil(CHUNK);
    let mut sums = vec![0f64; chunks];
    let shared = Shared::new(&mut sums);
    cpu.pool.run(chunks, |chunk| {
        let part = &x[chunk * CHUNK..x.len().min((chunk + 1) * CHUNK)];
        // SAFETY: each task has a place of its own.
        unsafe { shared.slice(chunk, 1)[0] = run(cpu.isa, Part(part)) };
    });
    sums.iter().sum()
}

/// Places of a chunk that are read at the same time: memory gives more to several readers than to one, and the sums need
/// not wait for each other.
const STREAMS: usize = 8;
/// Elements of each that are summed in `f32`, so that lanes do not grow large before they are added in `f64`. A multiple of
/// the lanes of every instruction set.
const RUN: usize = 128;

struct Part<'a>(&'a [f32]);

impl Kernel<f32> for Part<'_> {
    type Out = f64;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f64 {
        let stream = self.0.len() / (STREAMS * RUN) * RUN;
        let (streams, rest) = self.0.split_at(STREAMS * stream);
        let mut total = 0.0;
        for run in (0..stream).step_by(RUN) {
            let mut sums = [S::zero(); STREAMS];
            for at in (run..run + RUN).step_by(S::LANES) {
                for (k, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a vector fits into the stream from `at` on.
                    let v = unsafe { S::load(streams.as_ptr().add(k * stream + at)) };
                    *sum = S::fma(v, v, *sum);
                }
            }
            let [a, b, c, d, e, f, g, h] = sums;
            let (low, high) = (
                S::add(S::add(a, b), S::add(c, d)),
                S::add(S::add(e, f), S::add(g, h)),
            );
            total += f64::from(S::sum(S::add(low, high)));
        }
        for run in rest.chunks(RUN) {
            let mut sum = S::zero();
            for i in blocks::<S>(run.len()) {
                let v = i.load::<S, f32>(run);
                sum = S::fma(v, v, sum);
            }
            total += f64::from(S::sum(sum));
        }
        total
    }
}
