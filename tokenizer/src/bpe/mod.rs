//! Byte-pair encoding: the merge table and the encoder of one piece.
//!
//! A piece starts as its bytes. The adjacent pair of lowest rank is merged, the leftmost first among equals, until no
//! pair has a rank. `encode` holds the two merge loops and the cache of pieces, `pairs` the table from pair to merge,
//! `train` learns the merges. Next: `encode`.

mod encode;
mod pairs;
mod train;

use rustc_hash::FxHashMap;

pub(crate) use encode::Scratch;
use pairs::PairTable;
pub use train::{Ties, TrainOptions, TrainProgress, train};

/// One merge: `left` and `right`, adjacent, become `result`; the lowest rank goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    pub left: u32,
    pub right: u32,
    pub rank: u32,
    pub result: u32,
}

/// In place of the token of a byte that has none: encoding leaves the byte out, as the Hugging Face library does.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// A byte-level BPE model.
#[derive(Clone)]
pub(crate) struct Bpe {
    /// Token of each byte, or [`NO_TOKEN`].
    byte_ids: [u32; 256],
    /// Whether every byte has a token.
    complete: bool,
    /// By rank.
    merges: Vec<Merge>,
    pairs: PairTable,
    /// With `ignore_merges`: tokens by their bytes, taken whole before any merging.
    whole: Option<FxHashMap<Box<[u8]>, u32>>,
}

impl Bpe {
    /// `merges` in the order of their ranks; a pair that occurs twice counts by its last rank, as Hugging Face reads it.
    pub(crate) fn new(
        byte_ids: &[u32; 256],
        merges: Vec<Merge>,
        whole: Option<FxHashMap<Box<[u8]>, u32>>,
    ) -> Self {
        let pairs = PairTable::new(&merges);
        let complete = !byte_ids.contains(&NO_TOKEN);
        Self {
            byte_ids: *byte_ids,
            complete,
            merges,
            pairs,
            whole,
        }
    }

    /// The merges by rank.
    pub(crate) fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// Whether pieces that are tokens are taken whole.
    pub(crate) fn ignores_merges(&self) -> bool {
        self.whole.is_some()
    }
}
