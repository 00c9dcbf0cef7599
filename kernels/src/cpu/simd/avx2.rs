//! AVX2 with FMA: eight `f32` lanes.

use super::{Elem, Kernel, Simd};
use crate::Dtype;
use std::arch::x86_64::*;

/// Eight `f32` in a `ymm` register.
#[derive(Clone, Copy, Debug)]
pub struct Avx2;

/// Compiles `kernel` with AVX2 and FMA and runs it.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel<f32>>(kernel: K) -> K::Out {
    kernel.run::<Avx2>()
}

/// The lanes rounded to `bf16`, to nearest, ties to even; a NaN stays a (quiet) NaN.
#[inline(always)]
fn halves(v: __m256) -> __m128i {
    // SAFETY: inlined into `run`.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(
            bits,
            _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)),
        ));
        let quiet = _mm256_or_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(0x40));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let word = _mm256_blendv_epi8(rounded, quiet, nan);
        // packus works in 128-bit halves: gather the two low quarters.
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(word, word));
        _mm256_castsi256_si128(packed)
    }
}

// SAFETY of the blocks below: the functions are inlined into `run`, which is only called where the instructions exist.
impl Simd for Avx2 {
    type A = f32;
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load<T: Elem<Acc = f32>>(p: *const T) -> __m256 {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let half = _mm_loadu_si128(p.cast());
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))
            } else {
                _mm256_loadu_ps(p.cast())
            }
        }
    }
    #[inline(always)]
    unsafe fn store<T: Elem<Acc = f32>>(p: *mut T, v: __m256) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                _mm_storeu_si128(p.cast(), halves(v));
            } else {
                _mm256_storeu_ps(p.cast(), v);
            }
        }
    }
    #[inline(always)]
    unsafe fn stream_pair<T: Elem<Acc = f32>>(p: *mut T, [a, b]: [__m256; 2]) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if !p.addr().is_multiple_of(32) {
                Self::store_pair(p, [a, b]);
            } else if T::DTYPE == Dtype::Bf16 {
                _mm_stream_si128(p.cast(), halves(a));
                _mm_stream_si128(p.add(8).cast(), halves(b));
            } else {
                _mm256_stream_ps(p.cast(), a);
                _mm256_stream_ps(p.add(8).cast(), b);
            }
        }
    }
    #[inline(always)]
    fn fence() {
        // SAFETY: every x86-64 has it.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn round(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(n: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn round_bf16(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let bits = _mm256_castps_si256(a);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_castsi256_ps(_mm256_add_epi32(bits, half));
            let quiet = _mm256_or_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x0040_0000)));
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
            _mm256_and_ps(_mm256_blendv_ps(rounded, quiet, nan), upper)
        }
    }
    #[inline(always)]
    fn select_gt(a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
    #[inline(always)]
    fn sum(a: __m256) -> f32 {
        let mut lanes = [0f32; 8];
        // SAFETY: see above; the buffer has eight lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), a) };
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
            + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    }
    #[inline(always)]
    fn max_lane(a: __m256) -> f32 {
        let mut lanes = [0f32; 8];
        // SAFETY: see above; the buffer has eight lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), a) };
        lanes
            .into_iter()
            .fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m })
    }
}
