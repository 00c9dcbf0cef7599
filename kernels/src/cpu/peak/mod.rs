//! What this machine can do at most: multiply-adds from registers, and reads and writes of caches and memory. Measured, so
//! that the speed of a kernel can be given as a share of it.
//!
//! Everything is written over [`super::simd`] for the instruction set in use, but for instructions that the kernels do not
//! have (`x86.rs`); those are measured wherever the processor has them, whatever set is in use.

#![expect(
    unsafe_code,
    reason = "instructions that the vector trait does not have, and vector loads and stores"
)]

mod caches;
mod memory;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::simd::{self, Kernel, Simd};
use crate::{Cpu, Isa, Precision};
pub use caches::Caches;
pub use memory::{read_gbps, read_rate};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The limits of a [`Cpu`], with all of its threads unless a field says otherwise. A figure is the best of some tries: a
/// limit is what the machine does when nobody disturbs it. `None` where the machine lacks the instruction or the cache.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// `f32` multiply-adds, in GFLOP/s (one counts two).
    pub f32_gflops: f64,
    /// The same with one thread.
    pub f32_one_thread_gflops: f64,
    /// Products of `bf16` with `f32` sums as our kernels make them, in GFLOP/s: as for `f32`, unless the instruction set in
    /// use has an instruction for it ([`Isa::Avx512Bf16`]).
    pub bf16_gflops: f64,
    /// Products of `bf16` by the processor's own instruction (`vdpbf16ps`), in GFLOP/s, whether our kernels use it or not.
    pub bf16_instruction_gflops: Option<f64>,
    /// Products of 8-bit integers (`vpdpbusd`), in 10^9 operations a second.
    pub int8_gops: Option<f64>,
    /// Reading the first-level caches in order, in GB/s (10^9 bytes).
    pub l1_read_gbps: f64,
    /// Reading the second-level caches.
    pub l2_read_gbps: f64,
    /// Reading the third-level cache.
    pub l3_read_gbps: Option<f64>,
    /// Reading memory in order.
    pub read_gbps: f64,
    /// `a = b + s c` in memory, in GB/s as STREAM counts (McCalpin 1995): three arrays, though the processor reads `a` too
    /// before it writes it.
    pub triad_gbps: f64,
    /// The same with stores that pass the caches by, so that `a` is not read.
    pub triad_streaming_gbps: Option<f64>,
    /// Sizes of the caches.
    pub caches: Caches,
    /// Bytes of memory that were read for `read_gbps` and `triad_gbps`.
    pub memory_bytes: usize,
}

/// Tries of each figure.
const TRIES: usize = 5;

/// Measures all limits, in less than two seconds on an idle machine. Memory is measured on a quarter more than the third-level
/// cache holds and at least 256 MiB, but never more than `most_bytes` (nor than 1 GiB); with less than the caches hold, it is the caches
/// that are measured.
pub fn measure(cpu: &Cpu, most_bytes: usize) -> Peak {
    let caches = Caches::detect();
    let best = |run: &dyn Fn() -> f64| (0..TRIES).map(|_| run()).fold(0.0, f64::max);
    let memory_bytes = (caches.l3 / 4 * 5)
        .clamp(256 << 20, 1 << 30)
        .min(most_bytes.max(1 << 20));
    let memory = memory::measure(cpu, memory_bytes);
    let [l1, l2, l3] = memory::caches(cpu, &caches);
    Peak {
        f32_gflops: best(&|| gflops(cpu, Precision::F32)),
        f32_one_thread_gflops: best(&|| {
            rate(rounds(cpu.isa), |rounds| multiply_adds(cpu.isa, rounds))
        }),
        bf16_gflops: best(&|| gflops(cpu, Precision::Bf16)),
        bf16_instruction_gflops: bf16_instruction().map(|run| best(&|| all(cpu, run))),
        int8_gops: int8_instruction().map(|run| best(&|| all(cpu, run))),
        l1_read_gbps: l1.unwrap_or(memory.read),
        l2_read_gbps: l2.unwrap_or(memory.read),
        l3_read_gbps: l3,
        read_gbps: memory.read,
        triad_gbps: memory.triad,
        triad_streaming_gbps: memory.triad_streaming,
        caches,
        memory_bytes,
    }
}

/// Sums that do not wait for each other: enough for two units of latency 5, and few enough for 16 registers.
const SUMS: usize = 12;
/// Tasks a thread, so that one that starts late does fewer.
const TASKS: usize = 8;

/// Rounds of a task: some tenths of a millisecond.
fn rounds(isa: Isa) -> usize {
    if isa == Isa::Scalar { 20_000 } else { 200_000 }
}

/// One try, some milliseconds: GFLOP/s of multiply-adds in precision `F32` or `Bf16` (`F64` is not measured, and taken as
/// `F32`), as our kernels make them.
pub fn gflops(cpu: &Cpu, precision: Precision) -> f64 {
    if precision == Precision::Bf16
        && cpu.isa == Isa::Avx512Bf16
        && let Some(run) = bf16_instruction()
    {
        return all(cpu, run);
    }
    let isa = cpu.isa;
    let tasks = TASKS * cpu.pool.threads();
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    cpu.pool.run(tasks, |_| {
        done.fetch_add(multiply_adds(isa, rounds(isa)), Ordering::Relaxed);
    });
    done.into_inner() as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Makes so many rounds of an instruction and returns its operations.
type Rounds = fn(usize) -> usize;

/// One try with all threads, in 10^9 operations a second.
fn all(cpu: &Cpu, run: Rounds) -> f64 {
    let tasks = TASKS * cpu.pool.threads();
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    cpu.pool.run(tasks, |_| {
        done.fetch_add(run(rounds(cpu.isa)), Ordering::Relaxed);
    });
    done.into_inner() as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// One try with this thread, in 10^9 operations a second.
fn rate(rounds: usize, run: impl Fn(usize) -> usize) -> f64 {
    let start = Instant::now();
    let done: usize = (0..TASKS).map(|_| run(rounds)).sum();
    done as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The processor's instruction for products of `bf16`.
fn bf16_instruction() -> Option<Rounds> {
    #[cfg(target_arch = "x86_64")]
    return x86::bf16();
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// The processor's instruction for products of 8-bit integers.
fn int8_instruction() -> Option<Rounds> {
    #[cfg(target_arch = "x86_64")]
    return x86::int8();
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Operations of `rounds` rounds.
fn multiply_adds(isa: Isa, rounds: usize) -> usize {
    2 * SUMS * rounds * simd::run::<f32, _>(isa, MultiplyAdds(rounds))
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

    #[test]
    fn all_limits_are_measured() {
        let peak = measure(&Cpu::new(2), 16 << 20);
        let there = [
            peak.f32_gflops,
            peak.f32_one_thread_gflops,
            peak.bf16_gflops,
            peak.l1_read_gbps,
            peak.l2_read_gbps,
            peak.read_gbps,
            peak.triad_gbps,
        ];
        let others = [
            peak.bf16_instruction_gflops,
            peak.int8_gops,
            peak.l3_read_gbps,
            peak.triad_streaming_gbps,
        ];
        for figure in there.into_iter().chain(others.into_iter().flatten()) {
            assert!((0.1..1e6).contains(&figure), "{peak:?}");
        }
        assert_eq!(peak.memory_bytes, 16 << 20);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            peak.bf16_instruction_gflops.is_some(),
            is_x86_feature_detected!("avx512bf16")
        );
    }
}
