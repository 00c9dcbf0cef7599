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

struct Part<'a>(&'a [f32]);

impl Kernel<f32> for Part<'_> {
    type Out = f64;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f64 {
        // Short runs in f32, so that lanes do not grow large before they are added in f64.
        let mut total = 0.0;
        for run in self.0.chunks(1024) {
            let mut sums = [S::zero(); 4];
            for (i, sum) in blocks::<S>(run.len()).zip([0, 1, 2, 3].into_iter().cycle()) {
                let v = i.load::<S, f32>(run);
                sums[sum] = S::fma(v, v, sums[sum]);
            }
            total += f64::from(S::sum(S::add(
                S::add(sums[0], sums[1]),
                S::add(sums[2], sums[3]),
            )));
        }
        total
    }
}
