//! Weights that are packed once and multiplied several times.
//!
//! An operation that works in chunks of rows packs its weights before the first of them ([`Mat::packed`], in scratch of its
//! own). Where a step has several small micro-batches, [`Packs`] keeps the packed weights from one to the next: packing
//! costs about as much as 50 rows of the product, a tenth of a micro-batch of 512 tokens and a hundredth of one of 4096.

use super::{Mat, Operand, Word, blocks};
use crate::arena::{ALIGN, Arena, scratch_of};
use crate::{Cpu, Precision};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// B of a product, all of it, packed.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    /// As the tiles read them: for each block of K all panels.
    pub(super) words: &'a [f32],
    pub(super) word: Word,
}

/// Bytes of a packed (K, N) matrix, the right factor of products.
pub fn packed_bytes(cpu: &Cpu, precision: Precision, n: usize, k: usize) -> usize {
    if precision == Precision::F64 {
        return 0;
    }
    let words = blocks::packed_words(cpu.isa, Word::of(cpu, precision), n, k);
    (words * size_of::<f32>()).next_multiple_of(ALIGN)
}

/// Bytes of scratch for the packed weights of an operation that goes over `rows` rows in chunks of `chunk`: those of
/// [`packed_bytes`], or none where there is one chunk, whose product packs for itself.
pub fn panel_bytes(
    cpu: &Cpu,
    precision: Precision,
    (rows, chunk): (usize, usize),
    (n, k): (usize, usize),
) -> usize {
    if rows > chunk {
        packed_bytes(cpu, precision, n, k)
    } else {
        0
    }
}

/// Bytes of scratch for a tensor of one chunk, so that what follows is aligned.
pub fn chunk_bytes(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

impl<'a> Mat<'a> {
    /// The same matrix with its panels, as the right factor of several products in `precision`. `scratch` holds
    /// [`packed_bytes`] bytes, aligned to [`ALIGN`], or nothing: then nothing is packed beforehand, nor in `F64`. Weights that
    /// are kept are packed already.
    #[must_use]
    pub fn packed(self, cpu: &Cpu, precision: Precision, scratch: &'a mut [u8]) -> Self {
        if precision == Precision::F64 || scratch.is_empty() || self.rows * self.cols == 0 {
            return self;
        }
        let word = Word::of(cpu, precision);
        let words = if let Some(words) = cpu.packs.find(cpu, word, self) {
            let len = blocks::packed_words(cpu.isa, word, self.cols, self.rows);
            // SAFETY: `find` gives that many words, which stay as they are while these weights are kept; they are kept for a
            // whole replay, and an operation is a part of one.
            unsafe { std::slice::from_raw_parts(words, len) }
        } else {
            let bytes = packed_bytes(cpu, precision, self.cols, self.rows);
            let words = scratch_of::<f32>(&mut scratch[..bytes]);
            pack(cpu, word, self, words);
            words
        };
        Self {
            panels: Some(Panels { words, word }),
            ..self
        }
    }
}

fn pack(cpu: &Cpu, word: Word, mat: Mat<'_>, words: &mut [f32]) {
    let operand = Operand::new(mat, mat.transposed);
    blocks::pack_all(cpu, word, operand, (mat.cols, mat.rows), words);
}

/// Where a matrix lies, and how it is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: usize,
    rows: usize,
    cols: usize,
    transposed: bool,
    word: Word,
}

/// Packed weights, kept from one replay to the next while the weights are the same.
#[derive(Debug, Default)]
pub struct Packs {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Addresses of the weights and the version of their values; `None`: nothing is kept.
    weights: Option<(Range<usize>, u64)>,
    kept: HashMap<Key, (u64, Arena)>,
}

impl Packs {
    /// From now on right factors that lie at these addresses are packed once for each `version` of their values, a number
    /// that no other values have had. `None` keeps nothing and gives the memory back.
    pub fn keep(&self, weights: Option<(Range<usize>, u64)>) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if weights.is_none() {
            shelf.kept.clear();
        }
        shelf.weights = weights;
    }

    /// The panels of `mat`, packed now if they are not there, where it is one of the weights. They stay while the same
    /// version of the weights is kept.
    pub(super) fn find(&self, cpu: &Cpu, word: Word, mat: Mat<'_>) -> Option<*const f32> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key {
            address: mat.data.address(),
            rows: mat.rows,
            cols: mat.cols,
            transposed: mat.transposed,
            word,
        };
        let (weights, version) = shelf.weights.clone()?;
        if !weights.contains(&key.address) {
            return None;
        }
        let (made, arena) = shelf.kept.entry(key).or_insert_with(|| {
            let words = blocks::packed_words(cpu.isa, word, mat.cols, mat.rows);
            (0, Arena::new(words * size_of::<f32>()))
        });
        if *made != version {
            *made = version;
            pack(cpu, word, mat, arena.as_f32_mut());
        }
        Some(arena.as_f32().as_ptr())
    }
}
