//! AVX-512: sixteen `f32` lanes.

use super::{Elem, Kernel, Simd};
use crate::Dtype;
use std::arch::x86_64::*;

/// Sixteen `f32` in a `zmm` register.
#[derive(Clone, Copy, Debug)]
pub struct Avx512;

/// Compiles `kernel` with AVX-512 and runs it.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<K: Kernel<f32>>(kernel: K) -> K::Out {
    kernel.run::<Avx512>()
}

/// Each lane rounded to `bf16`, to nearest, ties to even, in its upper half; the lower half is what the sum left there. A
/// NaN stays a (quiet) NaN.
#[inline(always)]
fn rounded(v: __m512) -> __m512i {
    // SAFETY: inlined into `run`.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1_0000));
        let half = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        let sum = _mm512_mask_add_epi32(half, odd, half, _mm512_set1_epi32(1));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x0040_0000))
    }
}

/// The lanes rounded to `bf16`, one behind the other.
#[inline(always)]
fn halves(v: __m512) -> __m256i {
    const UPPER: [u16; 32] = {
        let mut upper = [0; 32];
        let mut i = 0;
        while i < 16 {
            upper[i] = 2 * i as u16 + 1;
            i += 1;
        }
        upper
    };
    // SAFETY: inlined into `run`.
    unsafe {
        let upper = _mm512_loadu_epi16(UPPER.as_ptr().cast());
        _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper, rounded(v)))
    }
}

/// The lanes of two vectors rounded to `bf16`, one of `a` and one of `b` in turns: the order of `load_pair`. As `rounded`, on
/// both at once: the upper halves side by side, and one more where the lower half, with the tie's odd bit, is above the middle.
#[inline(always)]
fn interleaved(a: __m512, b: __m512) -> __m512i {
    const OF_B: u32 = 0xaaaa_aaaa;
    // SAFETY: inlined into `run`.
    unsafe {
        if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b) != 0 {
            // A NaN: rare, and not to be carried into infinity.
            let low = _mm512_srli_epi32::<16>(rounded(a));
            return _mm512_mask_mov_epi16(low, OF_B, rounded(b));
        }
        let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
        let upper = _mm512_mask_mov_epi16(_mm512_srli_epi32::<16>(a), OF_B, b);
        let lower = _mm512_mask_mov_epi16(a, OF_B, _mm512_slli_epi32::<16>(b));
        let odd = _mm512_and_si512(upper, _mm512_set1_epi16(1));
        let middle = _mm512_set1_epi16(i16::MIN);
        let up = _mm512_cmpgt_epu16_mask(_mm512_adds_epu16(lower, odd), middle);
        _mm512_mask_add_epi16(upper, up, upper, _mm512_set1_epi16(1))
    }
}

// SAFETY of the blocks below: the functions are inlined into `run`, which is only called where the instructions exist.
impl Simd for Avx512 {
    type A = f32;
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load<T: Elem<Acc = f32>>(p: *const T) -> __m512 {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let half = _mm256_loadu_si256(p.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
            } else {
                _mm512_loadu_ps(p.cast())
            }
        }
    }
    #[inline(always)]
    unsafe fn store<T: Elem<Acc = f32>>(p: *mut T, v: __m512) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                _mm256_storeu_si256(p.cast(), halves(v));
            } else {
                _mm512_storeu_ps(p.cast(), v);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_pair<T: Elem<Acc = f32>>(p: *const T) -> [__m512; 2] {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let both = _mm512_loadu_epi32(p.cast());
                let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
                [
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)),
                    _mm512_castsi512_ps(_mm512_and_si512(both, upper)),
                ]
            } else {
                [Self::load(p), Self::load(p.add(16))]
            }
        }
    }
    #[inline(always)]
    unsafe fn store_pair<T: Elem<Acc = f32>>(p: *mut T, [a, b]: [__m512; 2]) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                _mm512_storeu_epi32(p.cast(), interleaved(a, b));
            } else {
                Self::store(p, a);
                Self::store(p.add(16), b);
            }
        }
    }
    #[inline(always)]
    unsafe fn stream_pair<T: Elem<Acc = f32>>(p: *mut T, [a, b]: [__m512; 2]) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if !p.addr().is_multiple_of(64) {
                Self::store_pair(p, [a, b]);
            } else if T::DTYPE == Dtype::Bf16 {
                _mm512_stream_si512(p.cast(), interleaved(a, b));
            } else {
                _mm512_stream_ps(p.cast(), a);
                _mm512_stream_ps(p.add(16).cast(), b);
            }
        }
    }
    #[inline(always)]
    fn fence() {
        // SAFETY: every x86-64 has it.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    unsafe fn load_part<T: Elem<Acc = f32>>(p: *const T, n: usize) -> __m512 {
        let mask = ((1u32 << n) - 1) as u16;
        // SAFETY: see above; masked lanes are not read.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let half = _mm256_maskz_loadu_epi16(mask, p.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
            } else {
                _mm512_maskz_loadu_ps(mask, p.cast())
            }
        }
    }
    #[inline(always)]
    fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn round(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn round_bf16(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(rounded(a), upper))
        }
    }
    #[inline(always)]
    fn select_gt(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn sum(a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn max_lane(a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    /// As the function it replaces, in fewer steps: the sum with one hides what is left of the exponential's accuracy where
    /// `n ln 2` is subtracted at once, and `a` beyond 87 changes it no more.
    #[inline(always)]
    fn one_and_exp_of_minus(a: __m512) -> __m512 {
        // A NaN passes: max and min give their second argument when the first is not comparable.
        let clamped = Self::max(Self::c(-87.0), Self::min(Self::c(87.0), a));
        let n = Self::round(Self::mul(clamped, Self::c(-std::f64::consts::LOG2_E)));
        // SAFETY: see above.
        unsafe {
            let r = _mm512_fnmsub_ps(n, Self::c(std::f64::consts::LN_2), clamped);
            let p = super::math::exp_polynomial::<Self>(r);
            Self::add(Self::c(1.0), _mm512_scalef_ps(p, n))
        }
    }
    /// As the function it replaces, with one instruction in place of the powers of two.
    #[inline(always)]
    fn exp(a: __m512) -> __m512 {
        // A NaN passes: max and min give their second argument when the first is not comparable.
        let clamped = Self::max(Self::c(-87.336_54), Self::min(Self::c(89.0), a));
        let n = Self::round(Self::mul(clamped, Self::c(std::f64::consts::LOG2_E)));
        let r = Self::fma(n, Self::c(-0.693_359_375), clamped);
        let r = Self::fma(n, Self::c(2.121_944_4e-4), r);
        let p = super::math::exp_polynomial::<Self>(r);
        // SAFETY: see above. Beyond 88.72 the scaled value overflows to infinity by itself.
        unsafe {
            let normal = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(Self::c(-87.336_54), a);
            _mm512_maskz_scalef_ps(normal, p, n)
        }
    }
}
