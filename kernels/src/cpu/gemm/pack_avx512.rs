//! Packing with AVX-512: sixteen words at a time.
//!
//! Where K is contiguous in memory, sixteen words of sixteen lanes are read and transposed in registers; where lanes are,
//! they are read in the order in which they are written. Inside the matrix loads are full: masked loads of `bf16` cost 8 %
//! of a product with K = 512.

use super::{Operand, Word, prefetch};
use crate::cpu::simd::{Avx512, Simd as _};
use crate::{Bf16, Dtype, Elem};
use std::arch::x86_64::*;
use std::ops::Range;

/// As [`super::pack::pack`], into panels of 12 or 32 lanes.
///
/// # Safety
/// As there, on a machine with AVX-512 F, BW, DQ and VL, and BF16 for [`Word::Pair`].
pub(super) unsafe fn pack(
    word: Word,
    operand: Operand,
    width: usize,
    (lanes, ks): (Range<usize>, Range<usize>),
    panels: *mut u32,
) {
    let area = Area {
        operand,
        lanes,
        ks,
        panels,
    };
    // SAFETY: promised by the caller.
    unsafe {
        if word == Word::Pair {
            pairs(&area, width);
        } else {
            singles(&area, width, word == Word::Rounded);
        }
    }
}

/// What to pack, and where to.
struct Area {
    operand: Operand,
    lanes: Range<usize>,
    ks: Range<usize>,
    panels: *mut u32,
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn singles(area: &Area, width: usize, rounded: bool) {
    // SAFETY: promised by the caller.
    unsafe {
        match (rounded, area.operand.bf16, width) {
            (_, true, 12) => area.pack::<Single<false>, Bf16, 12>(),
            (_, true, _) => area.pack::<Single<false>, Bf16, 32>(),
            (false, false, 12) => area.pack::<Single<false>, f32, 12>(),
            (false, false, _) => area.pack::<Single<false>, f32, 32>(),
            (true, false, 12) => area.pack::<Single<true>, f32, 12>(),
            (true, false, _) => area.pack::<Single<true>, f32, 32>(),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn pairs(area: &Area, width: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        match (area.operand.bf16, width) {
            (true, 12) => area.pack::<Pair, Bf16, 12>(),
            (true, _) => area.pack::<Pair, Bf16, 32>(),
            (false, 12) => area.pack::<Pair, f32, 12>(),
            (false, _) => area.pack::<Pair, f32, 32>(),
        }
    }
}

/// How elements become words. All functions are inlined into [`singles`] or [`pairs`].
trait Words {
    /// Elements along K in a word.
    const GROUP: usize;
    /// Sixteen words of one lane, K contiguous: `n` elements exist at `p`, the rest counts as zero.
    unsafe fn along_k<T: Elem>(p: *const T, n: usize) -> __m512i;
    /// One word of sixteen lanes, lanes contiguous: those of `mask` exist. `second`: the second line, if K has it.
    unsafe fn along_lanes<T: Elem>(first: *const T, second: Option<*const T>, mask: u16)
    -> __m512i;
}

/// One `f32`, rounded to `bf16` if `ROUND`.
struct Single<const ROUND: bool>;

impl<const ROUND: bool> Words for Single<ROUND> {
    const GROUP: usize = 1;
    #[inline(always)]
    unsafe fn along_k<T: Elem>(p: *const T, n: usize) -> __m512i {
        // SAFETY: promised by the caller.
        unsafe { Self::along_lanes(p, None, low_bits(n) as u16) }
    }
    #[inline(always)]
    unsafe fn along_lanes<T: Elem>(p: *const T, _: Option<*const T>, mask: u16) -> __m512i {
        // SAFETY: promised by the caller; lanes outside the mask are not read.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                return _mm512_slli_epi32::<16>(widened(p.cast(), mask));
            }
            let bits = if mask == !0 {
                _mm512_loadu_epi32(p.cast())
            } else {
                _mm512_maskz_loadu_epi32(mask, p.cast())
            };
            if ROUND {
                _mm512_castps_si512(Avx512::round_bf16(_mm512_castsi512_ps(bits)))
            } else {
                bits
            }
        }
    }
}

/// Two `bf16`, neighbours along K; the first in the lower half.
struct Pair;

impl Words for Pair {
    const GROUP: usize = 2;
    #[inline(always)]
    unsafe fn along_k<T: Elem>(p: *const T, n: usize) -> __m512i {
        let mask = low_bits(n);
        // SAFETY: promised by the caller; elements outside the mask are not read.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                return if mask == !0 {
                    _mm512_loadu_epi16(p.cast())
                } else {
                    _mm512_maskz_loadu_epi16(mask, p.cast())
                };
            }
            let p: *const f32 = p.cast();
            let (low, high) = if mask == !0 {
                (_mm512_loadu_ps(p), _mm512_loadu_ps(p.add(16)))
            } else {
                (
                    _mm512_maskz_loadu_ps(mask as u16, p),
                    _mm512_maskz_loadu_ps((mask >> 16) as u16, p.wrapping_add(16)),
                )
            };
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
    #[inline(always)]
    unsafe fn along_lanes<T: Elem>(
        first: *const T,
        second: Option<*const T>,
        mask: u16,
    ) -> __m512i {
        let second_mask = if second.is_some() { mask } else { 0 };
        let second = second.unwrap_or(first);
        // SAFETY: promised by the caller; lanes outside the masks are not read.
        unsafe {
            if T::DTYPE == Dtype::Bf16 {
                let low = widened(first.cast(), mask);
                let high = widened(second.cast(), second_mask);
                return _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            }
            let (low, high) = if second_mask == !0 {
                (
                    _mm512_loadu_ps(first.cast()),
                    _mm512_loadu_ps(second.cast()),
                )
            } else {
                (
                    _mm512_maskz_loadu_ps(mask, first.cast()),
                    _mm512_maskz_loadu_ps(second_mask, second.cast()),
                )
            };
            // The conversion puts all of `low` before all of `high`: interleave them.
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            let order: [u16; 32] = const {
                let mut order = [0; 32];
                let mut i = 0;
                while i < 32 {
                    order[i] = (i / 2 + 16 * (i % 2)) as u16;
                    i += 1;
                }
                order
            };
            _mm512_permutexvar_epi16(_mm512_loadu_epi16(order.as_ptr().cast()), halves)
        }
    }
}

/// Ones in the lowest `n` bits (all 32 from 32 on).
#[inline(always)]
fn low_bits(n: usize) -> u32 {
    if n >= 32 { !0 } else { (1 << n) - 1 }
}

/// Sixteen 16-bit values as 32-bit ones.
#[inline(always)]
unsafe fn widened(p: *const i16, mask: u16) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe {
        _mm512_cvtepu16_epi32(if mask == !0 {
            _mm256_loadu_epi16(p)
        } else {
            _mm256_maskz_loadu_epi16(mask, p)
        })
    }
}

impl Area {
    #[inline(always)]
    unsafe fn pack<W: Words, T: Elem, const WIDTH: usize>(&self) {
        // SAFETY: promised by the caller.
        unsafe {
            if self.operand.k_contiguous {
                self.transpose::<W, T, WIDTH>();
            } else {
                self.copy::<W, T, WIDTH>();
            }
        }
    }

    fn groups<W: Words>(&self) -> usize {
        self.ks.len().div_ceil(W::GROUP)
    }

    /// K contiguous: squares of sixteen lanes by sixteen words.
    #[inline(always)]
    unsafe fn transpose<W: Words, T: Elem, const WIDTH: usize>(&self) {
        let groups = self.groups::<W>();
        for (panel, lane0) in self.lanes.clone().step_by(WIDTH).enumerate() {
            let panel = self.panels.wrapping_add(panel * WIDTH * groups);
            for part in (0..WIDTH).step_by(16) {
                let width = (WIDTH - part).min(16);
                let valid = (self.lanes.end - lane0).saturating_sub(part).min(width);
                for group in (0..groups).step_by(16) {
                    let k = group * W::GROUP;
                    // SAFETY: `valid` lanes exist and are read up to the end of K; the panel has its words.
                    unsafe {
                        let mut square = [_mm512_setzero_si512(); 16];
                        for i in 0..16 {
                            if i < valid {
                                let lane = lane0 + part + i;
                                let next = self.operand.at::<T>(lane + WIDTH, self.ks.start + k);
                                prefetch::near(next);
                                prefetch::near(next.cast::<i8>().wrapping_add(64));
                                let p = self.operand.at::<T>(lane, self.ks.start + k);
                                square[i] = W::along_k(p, self.ks.len() - k);
                            }
                        }
                        transpose16(&mut square);
                        let to = panel.add(group * WIDTH + part);
                        if groups - group >= 16 {
                            for i in 0..16 {
                                put(square[i], to.add(i * WIDTH), width);
                            }
                        } else {
                            for i in 0..groups - group {
                                put(square[i], to.add(i * WIDTH), width);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Lanes contiguous: lines of sixteen lanes, sixteen words deep in one panel before the next, so that the lines stay in
    /// the first-level cache.
    #[inline(always)]
    unsafe fn copy<W: Words, T: Elem, const WIDTH: usize>(&self) {
        let groups = self.groups::<W>();
        for group0 in (0..groups).step_by(16) {
            for (panel, lane0) in self.lanes.clone().step_by(WIDTH).enumerate() {
                let panel = self.panels.wrapping_add(panel * WIDTH * groups);
                for group in group0..groups.min(group0 + 16) {
                    let k = self.ks.start + group * W::GROUP;
                    let two = W::GROUP == 2 && k + 1 < self.ks.end;
                    for part in (0..WIDTH).step_by(16) {
                        // Full loads wherever sixteen lanes exist, even if `put` drops some.
                        let valid = (self.lanes.end - lane0).saturating_sub(part).min(16);
                        let lane = lane0 + part;
                        let ahead = k + 16 * W::GROUP;
                        prefetch::near(self.operand.at::<T>(lane, ahead));
                        prefetch::near(self.operand.at::<T>(lane, ahead + W::GROUP - 1));
                        let first = self.operand.at::<T>(lane, k);
                        let second = two.then(|| self.operand.at::<T>(lane, k + 1));
                        // SAFETY: `valid` lanes exist; the panel has its words.
                        unsafe {
                            let words = W::along_lanes(first, second, low_bits(valid) as u16);
                            let to = panel.add(group * WIDTH + part);
                            put(words, to, (WIDTH - part).min(16));
                        }
                    }
                }
            }
        }
    }
}

/// Writes 16 or 12 words.
#[inline(always)]
unsafe fn put(words: __m512i, to: *mut u32, width: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        if width == 16 {
            _mm512_storeu_epi32(to.cast(), words);
        } else {
            _mm256_storeu_epi32(to.cast(), _mm512_castsi512_si256(words));
            _mm_storeu_epi32(to.add(8).cast(), _mm512_extracti32x4_epi32::<2>(words));
        }
    }
}

/// Transposes sixteen lines of sixteen words.
#[inline(always)]
unsafe fn transpose16(r: &mut [__m512i; 16]) {
    // SAFETY: inlined into functions with AVX-512.
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
        // r[4i + c] now holds, in its 128-bit quarter q, column 4q + c of lines 4i to 4i + 3.
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
