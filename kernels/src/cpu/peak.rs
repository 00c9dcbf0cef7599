//! What this machine can do at most: multiply-adds from registers, and reads from memory. Measured, so that the speed of a
//! kernel can be given as a share of it.

#![expect(
    unsafe_code,
    reason = "an instruction that the vector trait does not have, and vector loads"
)]

use super::simd::{self, Kernel, Simd};
use crate::arena::Arena;
use crate::{Cpu, Isa, Precision};
use std::hint::black_box;
use std::time::Instant;

/// The limits of a [`Cpu`], with all of its threads.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// `f32` multiply-adds, in GFLOP/s (one counts two).
    pub f32_gflops: f64,
    /// Products of `bf16` with `f32` sums, in GFLOP/s; as for `f32` where no instruction multiplies `bf16`.
    pub bf16_gflops: f64,
    /// Reading memory in order, in GB/s (10^9 bytes).
    pub read_gbps: f64,
}

/// Measures all limits, in less than two seconds: the best of some short tries each.
pub fn measure(cpu: &Cpu) -> Peak {
    let best = |precision| (0..5).map(|_| gflops(cpu, precision)).fold(0.0, f64::max);
    Peak {
        f32_gflops: best(Precision::F32),
        bf16_gflops: best(Precision::Bf16),
        read_gbps: read_gbps(cpu, 256 << 20),
    }
}

/// Sums that do not wait for each other: enough for two units of latency 5, and few enough for 16 registers.
const SUMS: usize = 12;
/// Tasks a thread, so that one that starts late does fewer.
const TASKS: usize = 8;

/// One try, some milliseconds: GFLOP/s of multiply-adds in precision `F32` or `Bf16` (`F64` is not measured, and taken as
/// `F32`).
pub fn gflops(cpu: &Cpu, precision: Precision) -> f64 {
    let pairs = precision == Precision::Bf16 && cpu.isa == Isa::Avx512Bf16;
    let rounds = if cpu.isa == Isa::Scalar {
        20_000
    } else {
        200_000
    };
    let tasks = TASKS * cpu.pool.threads();
    let start = Instant::now();
    let lanes = std::sync::atomic::AtomicUsize::new(0);
    cpu.pool.run(tasks, |_| {
        #[cfg(target_arch = "x86_64")]
        if pairs {
            // SAFETY: an `Isa` is only made for a machine that has it.
            unsafe { x86::pairs(rounds) };
            lanes.store(32, std::sync::atomic::Ordering::Relaxed);
            return;
        }
        let count = simd::run::<f32, _>(cpu.isa, MultiplyAdds(rounds));
        lanes.store(count, std::sync::atomic::Ordering::Relaxed);
    });
    let flops = 2 * tasks * rounds * SUMS * lanes.into_inner();
    debug_assert!(!pairs || cfg!(target_arch = "x86_64"));
    flops as f64 / start.elapsed().as_secs_f64() / 1e9
}

struct MultiplyAdds(usize);

impl Kernel<f32> for MultiplyAdds {
    type Out = usize;
    /// Returns the number of lanes.
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> usize {
        let (x, y) = (black_box(0.999f32), black_box(0.5f32));
        let (x, y) = (S::splat(x), S::splat(y));
        let mut sums = [S::zero(); SUMS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = S::fma(*sum, x, y);
            }
        }
        black_box(sums.into_iter().fold(S::zero(), S::add));
        S::LANES
    }
}

/// Reads `bytes` bytes of memory in order, split over the threads, twice, and gives the better rate in GB/s. More than the
/// caches hold, or the caches are measured.
pub fn read_gbps(cpu: &Cpu, bytes: usize) -> f64 {
    let arena = Arena::new(bytes);
    let words = arena.as_f32();
    let mut best = 0f64;
    for _ in 0..2 {
        let start = Instant::now();
        cpu.pool.run(words.len().div_ceil(CHUNK), |task| {
            let chunk = &words[task * CHUNK..words.len().min((task + 1) * CHUNK)];
            black_box(simd::run::<f32, _>(cpu.isa, Reads(chunk)));
        });
        best = best.max(size_of_val(words) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Values of one task that reads: 1 MiB.
const CHUNK: usize = 1 << 18;

struct Reads<'a>(&'a [f32]);

impl Kernel<f32> for Reads<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f32 {
        let mut sums = [S::zero(); 4];
        for part in self.0.chunks_exact(4 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a part has four vectors.
                *sum = S::add(*sum, unsafe { S::load(part.as_ptr().add(i * S::LANES)) });
            }
        }
        S::sum(sums.into_iter().fold(S::zero(), S::add))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use std::arch::x86_64::{__m512, __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_set1_ps};
    use std::hint::black_box;

    /// # Safety
    /// The machine has AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn pairs(rounds: usize) {
        let mut sums = [_mm512_set1_ps(0.0); SUMS];
        // SAFETY: the types are the same 512 bits.
        let x = unsafe { std::mem::transmute::<__m512, __m512bh>(black_box(_mm512_set1_ps(0.5))) };
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(
            sums.into_iter()
                .fold(_mm512_set1_ps(0.0), |a, b| _mm512_add_ps(a, b)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_plausible() {
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa);
            let (single, pairs) = (gflops(&cpu, Precision::F32), gflops(&cpu, Precision::Bf16));
            // Between an instruction in ten cycles and a hundred cores.
            assert!((0.1..50_000.0).contains(&single), "{isa:?}: {single}");
            assert!((0.1..100_000.0).contains(&pairs), "{isa:?}: {pairs}");
            let rate = read_gbps(&cpu, 8 << 20);
            assert!((0.1..10_000.0).contains(&rate), "{isa:?}: {rate}");
        }
    }
}
