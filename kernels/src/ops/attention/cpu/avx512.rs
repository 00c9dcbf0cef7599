//! The tiles of AVX-512: `f32` factors, and pairs of bf16 factors multiplied by `vdpbf16ps` with `f32` sums.

use super::tile::{Tile, TileKernel};
use crate::cpu::simd::{Avx512, Simd as _};
use crate::{Bf16, Dtype, Elem};
use std::arch::x86_64::*;
use std::mem::transmute;

/// Sixteen `f32` factors.
#[derive(Clone, Copy)]
struct F32x16;

/// Sixteen pairs of bf16 factors. Heads must be a multiple of 32 wide.
#[derive(Clone, Copy)]
struct Bf16x32;

/// Runs `kernel` on `f32` factors.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_f32<K: TileKernel<f32>>(kernel: K) -> K::Out {
    kernel.run::<F32x16>()
}

/// Runs `kernel` on bf16 factors.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_bf16<K: TileKernel<f32>>(kernel: K) -> K::Out {
    kernel.run::<Bf16x32>()
}

/// `2^x` by a polynomial (coefficients from x^0 on) of `x - floor(x)`: one instruction takes the fraction, one scales by
/// the floor, and both are right for -inf.
#[inline(always)]
fn exp2<const N: usize>(coefficients: [f32; N], x: __m512) -> __m512 {
    // SAFETY: inlined into code that runs where AVX-512 exists.
    unsafe {
        let fraction = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF }>(x);
        let mut p = _mm512_set1_ps(coefficients[N - 1]);
        for c in coefficients[..N - 1].iter().rev() {
            p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(*c));
        }
        _mm512_scalef_ps(p, x)
    }
}

/// Relative error below 1.5e-7 (minimax on [0, 1) by the Remez algorithm).
const EXP2_F32: [f32; 6] = [
    0.999_999_94,
    0.693_153_1,
    0.240_153_62,
    0.055_826_318,
    0.008_989_34,
    0.001_877_576_7,
];

/// Relative error below 3e-6, a thousandth of a bf16 rounding.
const EXP2_BF16: [f32; 5] = [
    1.000_002_6,
    0.693_003_8,
    0.241_442_76,
    0.052_011_46,
    0.013_534_168,
];

/// With `m` in [1, 2) the significand: `log2 m = 1/2 + 2/ln 2 (t + t^3/3 + t^5/5 + ...)`, `t = (m - sqrt 2)/(m + sqrt 2)`.
#[inline(always)]
fn log2(x: __m512) -> __m512 {
    // SAFETY: inlined into code that runs where AVX-512 exists.
    unsafe {
        let (e, m) = (_mm512_getexp_ps(x), _mm512_getmant_ps::<0, 0>(x));
        let r = _mm512_set1_ps(std::f32::consts::SQRT_2);
        let t = _mm512_div_ps(_mm512_sub_ps(m, r), _mm512_add_ps(m, r));
        let u = _mm512_mul_ps(t, t);
        let k = 2.0 * std::f32::consts::LOG2_E;
        let mut p = _mm512_set1_ps(k / 9.0);
        for c in [k / 7.0, k / 5.0, k / 3.0, k] {
            p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(c));
        }
        _mm512_add_ps(e, _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.5)))
    }
}

/// Transposes sixteen rows of sixteen words in registers.
#[inline(always)]
fn transpose16(r: &mut [__m512i; 16]) {
    // SAFETY: inlined into code that runs where AVX-512 exists.
    unsafe {
        let mut t = *r;
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            for j in 0..2 {
                r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
                r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            }
        }
        // r[4 i + c] holds, in its 128-bit lane l, column 4 l + c of rows 4 i to 4 i + 3.
        for c in 0..4 {
            let a = _mm512_shuffle_i32x4::<0x88>(r[c], r[4 + c]);
            let b = _mm512_shuffle_i32x4::<0xdd>(r[c], r[4 + c]);
            let d = _mm512_shuffle_i32x4::<0x88>(r[8 + c], r[12 + c]);
            let e = _mm512_shuffle_i32x4::<0xdd>(r[8 + c], r[12 + c]);
            t[c] = _mm512_shuffle_i32x4::<0x88>(a, d);
            t[8 + c] = _mm512_shuffle_i32x4::<0xdd>(a, d);
            t[4 + c] = _mm512_shuffle_i32x4::<0x88>(b, e);
            t[12 + c] = _mm512_shuffle_i32x4::<0xdd>(b, e);
        }
        *r = t;
    }
}

/// As [`Tile::transpose`], for words of 32 bits; `rows` and `cols` are multiples of 16.
#[inline(always)]
unsafe fn transpose(
    src: *const i32,
    ld_src: usize,
    rows: usize,
    cols: usize,
    dst: *mut i32,
    ld_dst: usize,
) {
    // SAFETY: the caller vouches for both matrices.
    unsafe {
        for r0 in (0..rows).step_by(16) {
            for c0 in (0..cols).step_by(16) {
                let mut block = [_mm512_setzero_si512(); 16];
                for (i, row) in block.iter_mut().enumerate() {
                    *row = _mm512_loadu_epi32(src.add((r0 + i) * ld_src + c0));
                }
                transpose16(&mut block);
                for (i, row) in block.iter().enumerate() {
                    _mm512_storeu_epi32(dst.add((c0 + i) * ld_dst + r0), *row);
                }
            }
        }
    }
}

/// Sixteen pairs `(a[i], b[i])`, rounded to bf16.
#[inline(always)]
fn pairs(a: __m512, b: __m512) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + 16 * (i & 1)) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: inlined into code that runs where AVX-512 exists; vectors of the same size.
    unsafe { _mm512_permutexvar_epi16(transmute::<[u16; 32], __m512i>(ORDER), neighbours(a, b)) }
}

/// Thirty-two numbers rounded to bf16, `low` first.
#[inline(always)]
fn neighbours(low: __m512, high: __m512) -> __m512i {
    // SAFETY: only `run_bf16` inlines this; vectors of the same size.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

impl Tile for F32x16 {
    type S = Avx512;
    type W = f32;
    type F = __m512;
    const PAIR: usize = 1;

    #[inline(always)]
    unsafe fn splat(p: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the word.
        Avx512::splat(unsafe { *p })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the words.
        unsafe { Avx512::load(p) }
    }
    #[inline(always)]
    fn multiply_add(a: __m512, b: __m512, sum: __m512) -> __m512 {
        Avx512::fma(a, b, sum)
    }
    #[inline(always)]
    fn exp2(x: __m512) -> __m512 {
        exp2(EXP2_F32, x)
    }
    #[inline(always)]
    fn log2(x: __m512) -> __m512 {
        log2(x)
    }
    #[inline(always)]
    unsafe fn row<T: Elem<Acc = f32>>(src: *const T, d: usize, dp: usize, dst: *mut f32) {
        let whole = d - d % 16;
        // SAFETY: `d` numbers are read; `dp`, a multiple of 32 and at least `d`, are written.
        unsafe {
            for i in (0..whole).step_by(16) {
                Avx512::store(dst.add(i), Avx512::load(src.add(i)));
            }
            for i in (whole..dp).step_by(16) {
                let rest = if i == whole { d - whole } else { 0 };
                Avx512::store(dst.add(i), Avx512::load_part(src.wrapping_add(i), rest));
            }
        }
    }
    #[inline(always)]
    unsafe fn interleave<T: Elem<Acc = f32>>(
        src: *const T,
        _: usize,
        have: usize,
        d: usize,
        dp: usize,
        dst: *mut f32,
    ) {
        // SAFETY: as for `row`; nothing is read of a row that does not exist.
        unsafe { Self::row(src, if have == 0 { 0 } else { d }, dp, dst) }
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const f32,
        ld_src: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
        ld_dst: usize,
    ) {
        // SAFETY: passed on.
        unsafe { transpose(src.cast(), ld_src, rows, cols, dst.cast(), ld_dst) }
    }
    #[inline(always)]
    unsafe fn put_rows(first: __m512, second: __m512, dst: *mut f32, ld: usize) {
        // SAFETY: the caller vouches for two rows.
        unsafe {
            Avx512::store(dst, first);
            Avx512::store(dst.add(ld), second);
        }
    }
    #[inline(always)]
    unsafe fn put_cols(low: __m512, high: __m512, dst: *mut f32) {
        // SAFETY: the caller vouches for 32 words.
        unsafe {
            Avx512::store(dst, low);
            Avx512::store(dst.add(16), high);
        }
    }
}

impl Tile for Bf16x32 {
    type S = Avx512;
    type W = u32;
    type F = __m512bh;
    const PAIR: usize = 2;

    #[inline(always)]
    unsafe fn splat(p: *const u32) -> __m512bh {
        // SAFETY: the caller vouches for the word; vectors of the same size.
        unsafe { transmute::<__m512, __m512bh>(_mm512_set1_ps(*p.cast())) }
    }
    #[inline(always)]
    unsafe fn load(p: *const u32) -> __m512bh {
        // SAFETY: the caller vouches for the words; vectors of the same size.
        unsafe { transmute::<__m512, __m512bh>(_mm512_loadu_ps(p.cast())) }
    }
    #[inline(always)]
    fn multiply_add(a: __m512bh, b: __m512bh, sum: __m512) -> __m512 {
        // SAFETY: inlined into code that runs where AVX-512 BF16 exists.
        unsafe { _mm512_dpbf16_ps(sum, a, b) }
    }
    #[inline(always)]
    fn exp2(x: __m512) -> __m512 {
        exp2(EXP2_BF16, x)
    }
    #[inline(always)]
    fn log2(x: __m512) -> __m512 {
        log2(x)
    }
    #[inline(always)]
    unsafe fn store<T: Elem<Acc = f32>>(p: *mut T, v: __m512) {
        // SAFETY: the caller vouches for sixteen numbers; vectors of the same size.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let half = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
                _mm256_storeu_si256(p.cast(), half);
            } else {
                Avx512::store(p, v);
            }
        }
    }
    #[inline(always)]
    unsafe fn row<T: Elem<Acc = f32>>(src: *const T, d: usize, dp: usize, dst: *mut u32) {
        // SAFETY: `d` numbers are read and `dp` written, both multiples of 32.
        unsafe {
            for i in (0..dp).step_by(32) {
                let words = if i >= d {
                    _mm512_setzero_si512()
                } else if T::DTYPE == Dtype::Bf16 {
                    _mm512_loadu_epi32(src.add(i).cast())
                } else {
                    neighbours(Avx512::load(src.add(i)), Avx512::load(src.add(i + 16)))
                };
                _mm512_storeu_epi32(dst.add(i / 2).cast(), words);
            }
        }
    }
    #[inline(always)]
    unsafe fn interleave<T: Elem<Acc = f32>>(
        src: *const T,
        ld: usize,
        have: usize,
        d: usize,
        _: usize,
        dst: *mut u32,
    ) {
        // SAFETY: two rows of `d` numbers are read as far as they exist, `d` words are written.
        unsafe {
            for i in (0..d).step_by(16) {
                let words = if T::DTYPE == Dtype::Bf16 {
                    let half = |row: usize| {
                        if row < have {
                            let p: *const Bf16 = src.add(row * ld + i).cast();
                            _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))
                        } else {
                            _mm512_setzero_si512()
                        }
                    };
                    _mm512_or_si512(half(0), _mm512_slli_epi32::<16>(half(1)))
                } else {
                    let row = |row: usize| {
                        if row < have {
                            Avx512::load(src.add(row * ld + i))
                        } else {
                            Avx512::zero()
                        }
                    };
                    pairs(row(0), row(1))
                };
                _mm512_storeu_epi32(dst.add(i).cast(), words);
            }
        }
    }
    #[inline(always)]
    unsafe fn transpose(
        src: *const u32,
        ld_src: usize,
        rows: usize,
        cols: usize,
        dst: *mut u32,
        ld_dst: usize,
    ) {
        // SAFETY: passed on.
        unsafe { transpose(src.cast(), ld_src, rows, cols, dst.cast(), ld_dst) }
    }
    #[inline(always)]
    unsafe fn put_rows(first: __m512, second: __m512, dst: *mut u32, _: usize) {
        // SAFETY: the caller vouches for sixteen words.
        unsafe { _mm512_storeu_epi32(dst.cast(), pairs(first, second)) }
    }
    #[inline(always)]
    unsafe fn put_cols(low: __m512, high: __m512, dst: *mut u32) {
        // SAFETY: the caller vouches for sixteen words.
        unsafe { _mm512_storeu_epi32(dst.cast(), neighbours(low, high)) }
    }
}
