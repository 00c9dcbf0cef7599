//! Bandwidth of caches and memory.

use super::Caches;
use crate::arena::{Arena, Shared};
use crate::cpu::simd::{self, Kernel, Simd};
use crate::{Cpu, Isa};
use std::hint::black_box;
use std::time::Instant;

/// Passes over memory; the best counts.
const PASSES: usize = 3;
/// Values of one task on memory: 1 MiB.
const CHUNK: usize = 1 << 18;
/// Vectors that a step of the innermost loop reads: enough loads in flight for the first-level cache.
const VECTORS: usize = 8;
/// Tasks a thread on caches, so that one that starts late does fewer.
const TASKS: usize = 8;
/// How long a task on caches takes.
const TASK_SECONDS: f64 = 3e-4;
/// Tries of each cache.
const TRIES: usize = 5;

/// Bandwidth of memory in GB/s.
pub(super) struct Memory {
    pub(super) read: f64,
    pub(super) triad: f64,
    pub(super) triad_streaming: Option<f64>,
}

/// Measures on `bytes` bytes.
pub(super) fn measure(cpu: &Cpu, bytes: usize) -> Memory {
    let mut arena = Arena::new(bytes);
    let read = best(|| read_rate(cpu, arena.as_f32()));
    let values = arena.as_f32_mut();
    let third = (values.len() / 3).next_multiple_of(CHUNK) - CHUNK;
    if third == 0 {
        // Too little to be cut in three: no figure of its own.
        return Memory {
            read,
            triad: read,
            triad_streaming: None,
        };
    }
    let (a, rest) = values.split_at_mut(third);
    let (b, c) = rest.split_at(third);
    let c = &c[..third];
    Memory {
        read,
        triad: best(|| triad_pass(cpu, a, b, c, |isa, part| simd::run::<f32, _>(isa, part))),
        triad_streaming: streaming(cpu.isa)
            .map(|store| best(|| triad_pass(cpu, a, b, c, |_, part| store(part)))),
    }
}

/// Best rate of some passes.
fn best(mut pass: impl FnMut() -> f64) -> f64 {
    (0..PASSES).map(|_| pass()).fold(0.0, f64::max)
}

/// Reads `bytes` bytes of memory in order, split over the threads, and gives the best rate of some passes in GB/s. More
/// than the caches hold, or the caches are measured.
pub fn read_gbps(cpu: &Cpu, bytes: usize) -> f64 {
    let arena = Arena::new(bytes);
    best(|| read_rate(cpu, arena.as_f32()))
}

/// One pass of reading `values` in order, split over the threads, in GB/s.
pub fn read_rate(cpu: &Cpu, values: &[f32]) -> f64 {
    let start = Instant::now();
    cpu.pool.run(values.len().div_ceil(CHUNK), |task| {
        let chunk = &values[task * CHUNK..values.len().min((task + 1) * CHUNK)];
        black_box(simd::run::<f32, _>(cpu.isa, Reads(chunk)));
    });
    size_of_val(values) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Reads of the caches by all threads, in GB/s: each thread half of its own first and second level again and again, and
/// all of them the same part of the third. `None` where a level is too small to be told from the one below.
pub(super) fn caches(cpu: &Cpu, caches: &Caches) -> [Option<f64>; 3] {
    let third = (caches.l3 / 2).min((4 * caches.l2).max(8 << 20));
    [
        private(cpu, caches.l1 / 2),
        private(cpu, caches.l2 / 2),
        (third > 2 * caches.l2).then(|| {
            let arena = Arena::new(third);
            again(cpu, |_| arena.as_f32())
        }),
    ]
}

fn private(cpu: &Cpu, bytes: usize) -> Option<f64> {
    let step = 4 * VECTORS * 16;
    let size = bytes / step * step;
    let threads = cpu.pool.threads();
    (size > 0).then(|| {
        let arena = Arena::new(size * threads);
        let values = size / 4;
        again(cpu, |worker| {
            &arena.as_f32()[worker * values..(worker + 1) * values]
        })
    })
}

/// Reads what `of` gives each thread, as often as fills a task.
fn again<'a>(cpu: &Cpu, of: impl Fn(usize) -> &'a [f32] + Sync) -> f64 {
    let pass = |worker| {
        black_box(simd::run::<f32, _>(cpu.isa, Reads(black_box(of(worker)))));
    };
    pass(0);
    let start = Instant::now();
    pass(0);
    let once = start.elapsed().as_secs_f64().max(1e-8);
    let times = (TASK_SECONDS / once).ceil() as usize;
    let tasks = TASKS * cpu.pool.threads();
    let bytes = tasks * times * size_of_val(of(0));
    (0..TRIES)
        .map(|_| {
            let start = Instant::now();
            cpu.pool
                .run_with_worker(tasks, |worker, _| (0..times).for_each(|_| pass(worker)));
            bytes as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}

struct Reads<'a>(&'a [f32]);

impl Kernel<f32> for Reads<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f32 {
        let mut sums = [S::zero(); VECTORS];
        for part in self.0.chunks_exact(VECTORS * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a part has so many vectors.
                *sum = S::add(*sum, unsafe { S::load(part.as_ptr().add(i * S::LANES)) });
            }
        }
        S::sum(sums.into_iter().fold(S::zero(), S::add))
    }
}

/// A part of `a = b + s c`; the slices have one length, a multiple of a vector's, and start on a cache line.
pub(super) struct Triad<'a> {
    pub(super) a: &'a mut [f32],
    pub(super) b: &'a [f32],
    pub(super) c: &'a [f32],
}

/// The factor.
pub(super) const FACTOR: f32 = 3.0;

impl Kernel<f32> for Triad<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        let factor = S::splat(FACTOR);
        let parts = self
            .b
            .chunks_exact(S::LANES)
            .zip(self.c.chunks_exact(S::LANES));
        for (a, (b, c)) in self.a.chunks_exact_mut(S::LANES).zip(parts) {
            // SAFETY: each part is one vector.
            unsafe {
                let sum = S::fma(S::load(c.as_ptr()), factor, S::load(b.as_ptr()));
                S::store(a.as_mut_ptr(), sum);
            }
        }
    }
}

fn triad_pass(
    cpu: &Cpu,
    a: &mut [f32],
    b: &[f32],
    c: &[f32],
    store: impl Fn(Isa, Triad<'_>) + Sync,
) -> f64 {
    let bytes = 3 * size_of_val(a);
    let tasks = a.len() / CHUNK;
    let a = Shared::new(a);
    let start = Instant::now();
    cpu.pool.run(tasks, |task| {
        let range = task * CHUNK..(task + 1) * CHUNK;
        // SAFETY: each task has a chunk of its own.
        let a = unsafe { a.slice(range.start, CHUNK) };
        let (b, c) = (&b[range.clone()], &c[range]);
        store(cpu.isa, Triad { a, b, c });
    });
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The triad with stores that pass the caches by, where the set in use has them.
fn streaming(isa: Isa) -> Option<fn(Triad<'_>)> {
    #[cfg(target_arch = "x86_64")]
    return super::x86::streaming(isa);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triads_are_the_formula() {
        let values = 2 * CHUNK;
        let mut arena = Arena::new(3 * 4 * values);
        let (a, rest) = arena.as_f32_mut().split_at_mut(values);
        let (b, c) = rest.split_at_mut(values);
        let c = &mut c[..values];
        for (i, (b, c)) in b.iter_mut().zip(c.iter_mut()).enumerate() {
            (*b, *c) = (i as f32, 1.0 + (i % 5) as f32);
        }
        let right = |a: &[f32]| {
            a.iter()
                .enumerate()
                .all(|(i, a)| *a == i as f32 + 3.0 * (1.0 + (i % 5) as f32))
        };
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(2, isa);
            a.fill(0.0);
            triad_pass(&cpu, a, b, c, |isa, part| simd::run::<f32, _>(isa, part));
            assert!(right(a), "{isa:?}");
            if let Some(store) = streaming(isa) {
                a.fill(0.0);
                triad_pass(&cpu, a, b, c, |_, part| store(part));
                assert!(right(a), "{isa:?}, streaming");
            }
        }
    }
}
