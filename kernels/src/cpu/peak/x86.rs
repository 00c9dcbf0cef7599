//! Instructions of x86-64 that the vector trait does not have.

use super::memory::{FACTOR, Triad};
use super::{Rounds, SUMS};
use crate::Isa;
use std::arch::x86_64::*;
use std::hint::black_box;

/// `vdpbf16ps` on 512 bits, where the processor has it.
pub(super) fn bf16() -> Option<Rounds> {
    fn run(rounds: usize) -> usize {
        // SAFETY: only given out where the processor has it.
        unsafe { bf16_pairs(rounds) };
        2 * 32 * SUMS * rounds
    }
    let there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    there.then_some(run)
}

/// `vpdpbusd` on 512 bits, else on 256, where the processor has it.
pub(super) fn int8() -> Option<Rounds> {
    fn run_512(rounds: usize) -> usize {
        // SAFETY: only given out where the processor has it.
        unsafe { int8_512(rounds) };
        2 * 64 * SUMS * rounds
    }
    fn run_256(rounds: usize) -> usize {
        // SAFETY: as above.
        unsafe { int8_256(rounds) };
        2 * 32 * SUMS * rounds
    }
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        Some(run_512)
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") {
        Some(run_256)
    } else {
        None
    }
}

/// The triad with streaming stores, with the vectors of `isa`.
pub(super) fn streaming(isa: Isa) -> Option<fn(Triad<'_>)> {
    fn run_512(part: Triad<'_>) {
        // SAFETY: only given out for a set that the machine has.
        unsafe { triad_512(part) }
    }
    fn run_256(part: Triad<'_>) {
        // SAFETY: as above.
        unsafe { triad_256(part) }
    }
    match isa {
        Isa::Avx512 | Isa::Avx512Bf16 => Some(run_512),
        Isa::Avx2 => Some(run_256),
        Isa::Scalar | Isa::Neon => None,
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_pairs(rounds: usize) {
    let mut sums = [_mm512_setzero_ps(); SUMS];
    // SAFETY: the types are the same 512 bits.
    let x = unsafe { std::mem::transmute::<__m512, __m512bh>(black_box(_mm512_set1_ps(0.5))) };
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, x, x);
        }
    }
    let total = sums.into_iter().reduce(|a, b| _mm512_add_ps(a, b));
    black_box(total);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn int8_512(rounds: usize) {
    let mut sums = [_mm512_setzero_si512(); SUMS];
    let x = black_box(_mm512_set1_epi8(1));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, x, x);
        }
    }
    let total = sums.into_iter().reduce(|a, b| _mm512_add_epi32(a, b));
    black_box(total);
}

#[target_feature(enable = "avx2,avxvnni")]
fn int8_256(rounds: usize) {
    let mut sums = [_mm256_setzero_si256(); SUMS];
    let x = black_box(_mm256_set1_epi8(1));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, x, x);
        }
    }
    let total = sums.into_iter().reduce(|a, b| _mm256_add_epi32(a, b));
    black_box(total);
}

#[target_feature(enable = "avx512f")]
fn triad_512(part: Triad<'_>) {
    let factor = _mm512_set1_ps(FACTOR);
    let Triad { a, b, c } = part;
    let parts = b.chunks_exact(16).zip(c.chunks_exact(16));
    for (a, (b, c)) in a.chunks_exact_mut(16).zip(parts) {
        // SAFETY: each part is one vector, and `a` starts on a cache line.
        unsafe {
            let sum = _mm512_fmadd_ps(
                _mm512_loadu_ps(c.as_ptr()),
                factor,
                _mm512_loadu_ps(b.as_ptr()),
            );
            _mm512_stream_ps(a.as_mut_ptr(), sum);
        }
    }
    // Streaming stores are ordered with nothing until a fence.
    _mm_sfence();
}

#[target_feature(enable = "avx2,fma")]
fn triad_256(part: Triad<'_>) {
    let factor = _mm256_set1_ps(FACTOR);
    let Triad { a, b, c } = part;
    let parts = b.chunks_exact(8).zip(c.chunks_exact(8));
    for (a, (b, c)) in a.chunks_exact_mut(8).zip(parts) {
        // SAFETY: each part is one vector, and `a` starts on a cache line.
        unsafe {
            let sum = _mm256_fmadd_ps(
                _mm256_loadu_ps(c.as_ptr()),
                factor,
                _mm256_loadu_ps(b.as_ptr()),
            );
            _mm256_stream_ps(a.as_mut_ptr(), sum);
        }
    }
    // As above.
    _mm_sfence();
}
