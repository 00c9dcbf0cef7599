//! AArch64 NEON: four `f32` lanes. Written after the AVX2 file and tested by the same tests on such a machine; its speed has
//! never been measured.

use super::{Elem, Kernel, Simd};
use crate::Dtype;
use std::arch::aarch64::*;

/// Four `f32` in a 128-bit register.
#[derive(Clone, Copy, Debug)]
pub struct Neon;

/// Compiles `kernel` with NEON and runs it.
///
/// # Safety
/// The machine has NEON (every AArch64 machine has).
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel<f32>>(kernel: K) -> K::Out {
    kernel.run::<Neon>()
}

// SAFETY of the blocks below: NEON is part of AArch64.
impl Simd for Neon {
    type A = f32;
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load<T: Elem<Acc = f32>>(p: *const T) -> float32x4_t {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p.cast())))
            } else {
                vld1q_f32(p.cast())
            }
        }
    }
    #[inline(always)]
    unsafe fn store<T: Elem<Acc = f32>>(p: *mut T, v: float32x4_t) {
        // SAFETY: see above; the caller vouches for `p`.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let bits = vreinterpretq_u32_f32(v);
                let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
                let rounded =
                    vshrq_n_u32::<16>(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))));
                let quiet = vorrq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(0x40));
                let ordered = vceqq_f32(v, v);
                vst1_u16(p.cast(), vmovn_u32(vbslq_u32(ordered, rounded, quiet)));
            } else {
                vst1q_f32(p.cast(), v);
            }
        }
    }
    #[inline(always)]
    fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn sqrt(a: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    fn round(a: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    fn pow2(n: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(
                vcvtnq_s32_f32(n),
                vdupq_n_s32(127),
            )))
        }
    }
    #[inline(always)]
    fn select_gt(a: float32x4_t, b: float32x4_t, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vbslq_f32(vcgtq_f32(a, b), x, y) }
    }
    #[inline(always)]
    fn sum(a: float32x4_t) -> f32 {
        // SAFETY: see above.
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    fn max_lane(a: float32x4_t) -> f32 {
        // SAFETY: see above.
        unsafe { vmaxvq_f32(a) }
    }
}
