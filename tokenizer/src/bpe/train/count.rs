//! Pieces of the text and how often each occurs.

use std::hash::Hasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHasher;

use super::TrainProgress;
use crate::error::TokenizerError;
use crate::split::{self, Split};

/// Text that is held before it is counted, in bytes.
const BATCH_BYTES: usize = 32 << 20;
/// Text that a thread counts in one go, in bytes.
const PART_BYTES: usize = 256 << 10;

/// A multiset of byte strings: the strings lie end to end, a table of open addressing finds them.
#[derive(Default)]
pub(super) struct PieceCounts {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// High half of the hash, and the piece's index plus one; 0 is empty. At most half full.
    table: Vec<u64>,
}

struct Piece {
    hash: u64,
    start: usize,
    len: usize,
    count: u64,
}

impl PieceCounts {
    /// Adds `count` occurrences of `piece`.
    #[inline]
    fn add(&mut self, piece: &[u8], count: u64) {
        let mut hasher = FxHasher::default();
        hasher.write(piece);
        self.add_hashed(hasher.finish(), piece, count);
    }

    fn add_hashed(&mut self, hash: u64, piece: &[u8], count: u64) {
        if self.pieces.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let tag = hash & !0xFFFF_FFFF;
        let mut at = hash as usize & mask;
        while self.table[at] != 0 {
            if self.table[at] & !0xFFFF_FFFF == tag {
                let known = &mut self.pieces[(self.table[at] as u32 - 1) as usize];
                if &self.bytes[known.start..known.start + known.len] == piece {
                    known.count += count;
                    return;
                }
            }
            at = (at + 1) & mask;
        }
        self.pieces.push(Piece {
            hash,
            start: self.bytes.len(),
            len: piece.len(),
            count,
        });
        self.bytes.extend_from_slice(piece);
        self.table[at] = tag | self.pieces.len() as u64;
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(1 << 12);
        self.table.clear();
        self.table.resize(size, 0);
        for (piece, number) in self.pieces.iter().zip(1_u64..) {
            let mut at = piece.hash as usize & (size - 1);
            while self.table[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.table[at] = piece.hash & !0xFFFF_FFFF | number;
        }
    }

    fn absorb(&mut self, other: &Self) {
        for piece in &other.pieces {
            self.add_hashed(
                piece.hash,
                &other.bytes[piece.start..piece.start + piece.len],
                piece.count,
            );
        }
    }

    /// Every piece with its count, the most frequent first.
    pub(super) fn by_count(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut order: Vec<&Piece> = self.pieces.iter().collect();
        order.sort_unstable_by_key(|piece| std::cmp::Reverse((piece.count, piece.start)));
        order.into_iter().map(|piece| {
            (
                &self.bytes[piece.start..piece.start + piece.len],
                piece.count,
            )
        })
    }

    /// Bytes of all distinct pieces.
    pub(super) fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Distinct pieces.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }
}

/// Cuts every input and counts the pieces, on `threads` threads.
pub(super) fn count_pieces<I>(
    inputs: I,
    split: &'static dyn Split,
    threads: usize,
    report: &mut dyn FnMut(TrainProgress),
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<PieceCounts, TokenizerError>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| TokenizerError::Threads {
            threads,
            reason: error.to_string(),
        })?;
    let mut counts: Vec<PieceCounts> = (0..threads.max(1))
        .map(|_| PieceCounts::default())
        .collect();
    let mut inputs = inputs.into_iter();
    let mut bytes = 0;
    loop {
        let mut batch = Vec::new();
        let mut held = 0;
        while held < BATCH_BYTES
            && let Some(input) = inputs.next()
        {
            held += input.as_ref().len();
            batch.push(input);
        }
        if batch.is_empty() {
            break;
        }
        let parts: Vec<&str> = batch
            .iter()
            .flat_map(|text| split::independent_parts(split, text.as_ref(), PART_BYTES))
            .collect();
        let next = AtomicUsize::new(0);
        pool.scope(|scope| {
            for counts in &mut counts {
                let (next, parts) = (&next, &parts);
                scope.spawn(move |_| {
                    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if stop() {
                            break;
                        }
                        split::for_each_piece(&[split], part, &mut |piece| counts.add(piece, 1));
                    }
                });
            }
        });
        if stop() {
            return Err(TokenizerError::Interrupted);
        }
        bytes += held as u64;
        report(TrainProgress::Counting { bytes });
    }
    let mut all = counts.swap_remove(0);
    for counts in &counts {
        all.absorb(counts);
    }
    // Positions in the learner are u32: every piece and one separator behind each.
    if all.num_bytes() + all.len() >= u32::MAX as usize - 1 {
        return Err(TokenizerError::TooLarge {
            what: "the text's distinct pieces",
            detail: "over 4 GiB; train on a sample of the text".to_owned(),
        });
    }
    Ok(all)
}
