//! Packing: copies lanes (rows of A, columns of B) into panels, in the order in which the tile reads them.
//!
//! A panel is `width` lanes by some K: for each group of K (one element, or two with [`Word::Pair`]) the words of all its
//! lanes. Lanes and elements beyond the matrix are zero. Transposing, converting and rounding all happen here, so that the
//! innermost loop knows one format.

use super::{Operand, Word};
use crate::{Bf16, Elem, Isa};
use std::ops::Range;

/// Packs `lanes` by `ks` of `operand` into panels of `width` lanes at `panels`, one behind the other.
///
/// # Safety
/// The ranges lie in the matrix, and `panels` has room for whole panels.
pub(super) unsafe fn pack(
    isa: Isa,
    word: Word,
    operand: Operand,
    width: usize,
    (lanes, ks): (Range<usize>, Range<usize>),
    panels: *mut u32,
) {
    // SAFETY: promised by the caller; an `Isa` is only made for a machine that has it.
    unsafe {
        match (isa, operand.bf16) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512 | Isa::Avx512Bf16, _) => {
                super::pack_avx512::pack(word, operand, width, (lanes, ks), panels);
            }
            (_, true) => plain::<Bf16>(word, operand, width, (lanes, ks), panels),
            (_, false) => plain::<f32>(word, operand, width, (lanes, ks), panels),
        }
    }
}

/// The definition, used where there are no faster vector loads; pairs are packed by AVX-512 only.
///
/// # Safety
/// As [`pack`].
unsafe fn plain<T: Elem<Acc = f32>>(
    word: Word,
    operand: Operand,
    width: usize,
    (lanes, ks): (Range<usize>, Range<usize>),
    panels: *mut u32,
) {
    // A bf16 source is exact in either word.
    if word == Word::Rounded && T::DTYPE != crate::Dtype::Bf16 {
        // SAFETY: promised by the caller.
        unsafe {
            copy::<T>(operand, width, (lanes, ks), panels, |x| {
                Bf16::put(x).get().to_bits()
            });
        }
    } else {
        // SAFETY: promised by the caller.
        unsafe { copy::<T>(operand, width, (lanes, ks), panels, f32::to_bits) };
    }
}

/// # Safety
/// As [`pack`].
#[inline(always)]
unsafe fn copy<T: Elem<Acc = f32>>(
    operand: Operand,
    width: usize,
    (lanes, ks): (Range<usize>, Range<usize>),
    panels: *mut u32,
    word: impl Fn(f32) -> u32,
) {
    for (panel, lane0) in lanes.clone().step_by(width).enumerate() {
        let valid = width.min(lanes.end - lane0);
        let panel = panels.wrapping_add(panel * width * ks.len());
        // SAFETY: promised by the caller: `valid` lanes exist, the panel has `width` words for each k.
        unsafe {
            if operand.k_contiguous {
                for lane in 0..valid {
                    let line = operand.at::<T>(lane0 + lane, ks.start);
                    for k in 0..ks.len() {
                        *panel.add(k * width + lane) = word((*line.add(k)).get());
                    }
                }
            } else {
                for k in 0..ks.len() {
                    let line = operand.at::<T>(lane0, ks.start + k);
                    for lane in 0..valid {
                        *panel.add(k * width + lane) = word((*line.add(lane)).get());
                    }
                }
            }
            for k in 0..ks.len() {
                for lane in valid..width {
                    *panel.add(k * width + lane) = 0;
                }
            }
        }
    }
}
