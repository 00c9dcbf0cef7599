//! From a piece to its tokens.
//!
//! Short pieces are looked up in a cache of pieces seen before; what is new goes through one of two merge loops with
//! the same result: a scan over a small array for short pieces, a heap over a linked list, O(n log n), for long ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::NO_RANK;
use super::{Bpe, NO_TOKEN};

/// Longest piece, in bytes, that the scan takes.
const SCAN_LIMIT: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 7;
/// Longest piece, in bytes, that the cache holds: a key is 15 bytes and a length.
const KEY_BYTES: usize = 15;
const CACHE_SLOTS: usize = 1 << 15;
/// Tokens that a cache slot holds; longer results lie in `spill`.
const INLINE: usize = 3;
/// Cached longer results; the cache starts anew when they are full.
const SPILL_LIMIT: usize = 1 << 18;

#[derive(Clone, Copy)]
struct CacheSlot {
    /// The piece and, in the top byte, its length; 0 is no piece.
    key: u128,
    len: u32,
    /// The tokens, or first the offset into `spill` if there are more than [`INLINE`].
    ids: [u32; INLINE],
}

const VACANT: CacheSlot = CacheSlot {
    key: 0,
    len: 0,
    ids: [0; INLINE],
};

/// What encoding needs besides the model: the cache and working memory. One a thread, of one model.
pub(crate) struct Scratch {
    slots: Vec<CacheSlot>,
    spill: Vec<u32>,
    scan: Box<ScanPiece>,
    list: LinkedPiece,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![VACANT; CACHE_SLOTS],
            spill: Vec::new(),
            scan: Box::new(ScanPiece {
                ids: [0; SCAN_LIMIT],
                results: [0; SCAN_LIMIT],
                keys: [0; SCAN_LIMIT],
                previous: [0; SCAN_LIMIT],
                next: [0; SCAN_LIMIT],
            }),
            list: LinkedPiece::default(),
        }
    }
}

/// The piece as a number, with its length in the top byte. `0 < piece.len() <= KEY_BYTES`.
#[inline(always)]
fn cache_key(piece: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..piece.len()].copy_from_slice(piece);
    bytes[KEY_BYTES] = piece.len() as u8;
    u128::from_le_bytes(bytes)
}

#[inline(always)]
fn cache_index(key: u128) -> usize {
    let low = key as u64;
    let high = (key >> 64) as u64;
    let mixed = low.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ high.wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(32);
    (mixed.wrapping_mul(0xA076_1D64_78BD_642F) >> 40) as usize % CACHE_SLOTS
}

impl Bpe {
    /// Appends the tokens of `piece` to `out`.
    #[inline]
    pub(crate) fn encode_piece(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        if !self.complete {
            return self.encode_known_bytes(piece, scratch, out);
        }
        if self.merges.is_empty() && self.whole.is_none() {
            out.extend(piece.iter().map(|&byte| self.byte_ids[byte as usize]));
            return;
        }
        if piece.is_empty() || piece.len() > KEY_BYTES {
            return self.encode_uncached(piece, scratch, out);
        }
        let key = cache_key(piece);
        let index = cache_index(key);
        let slot = &scratch.slots[index];
        if slot.key == key {
            let len = slot.len as usize;
            if len == 1 {
                out.push(slot.ids[0]);
            } else if len <= INLINE {
                out.extend_from_slice(&slot.ids[..len]);
            } else {
                let start = slot.ids[0] as usize;
                out.extend_from_slice(&scratch.spill[start..start + len]);
            }
            return;
        }
        self.encode_and_cache(piece, key, index, scratch, out);
    }

    /// For a model that lacks bytes: the piece without them.
    #[inline(never)]
    fn encode_known_bytes(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let known: Vec<u8> = piece
            .iter()
            .copied()
            .filter(|&byte| self.byte_ids[byte as usize] != NO_TOKEN)
            .collect();
        if !known.is_empty() {
            self.encode_uncached(&known, scratch, out);
        }
    }

    #[inline(never)]
    fn encode_and_cache(
        &self,
        piece: &[u8],
        key: u128,
        index: usize,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) {
        let start = out.len();
        self.encode_uncached(piece, scratch, out);
        let tokens = &out[start..];
        let mut ids = [0; INLINE];
        if tokens.len() <= INLINE {
            ids[..tokens.len()].copy_from_slice(tokens);
        } else {
            if scratch.spill.len() + tokens.len() > SPILL_LIMIT {
                scratch.spill.clear();
                scratch.slots.fill(VACANT);
            }
            ids[0] = scratch.spill.len() as u32;
            scratch.spill.extend_from_slice(tokens);
        }
        scratch.slots[index] = CacheSlot {
            key,
            len: tokens.len() as u32,
            ids,
        };
    }

    #[inline(never)]
    fn encode_uncached(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        if let Some(whole) = &self.whole
            && let Some(&id) = whole.get(piece)
        {
            out.push(id);
        } else if piece.len() <= SCAN_LIMIT {
            self.merge_by_scan(piece, scratch, out);
        } else {
            self.merge_by_heap(piece, scratch, out);
        }
    }

    /// Merges by scanning the ranks of all pairs for the lowest: O(n^2), and fastest while they fit a few registers.
    ///
    /// A pair's rank and place are one number, so that the least number is the lowest rank, leftmost first.
    pub(super) fn merge_by_scan(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let ScanPiece {
            ids,
            results,
            keys,
            previous,
            next,
        } = &mut *scratch.scan;
        let len = piece.len();
        let key = |rank: i32, at: usize| {
            if rank == NO_RANK {
                NO_RANK
            } else {
                rank << PLACE_BITS | at as i32
            }
        };
        for (at, &byte) in piece.iter().enumerate() {
            ids[at] = self.byte_ids[byte as usize];
            next[at] = at as u8 + 1;
            previous[at] = (at as u8).wrapping_sub(1);
        }
        for at in 1..len {
            let (rank, result) = self.pairs.get(ids[at - 1], ids[at]);
            results[at - 1] = result;
            keys[at - 1] = key(rank, at - 1);
        }
        // Up to a whole number of vector registers, so that the search has no tail.
        let padded = len.next_multiple_of(8);
        keys[len - 1..padded].fill(NO_RANK);
        loop {
            let best = keys[..padded].iter().copied().fold(NO_RANK, i32::min);
            if best == NO_RANK {
                break;
            }
            let at = best as usize % SCAN_LIMIT;
            let merged = results[at];
            let right = usize::from(next[at]) % SCAN_LIMIT;
            let after = usize::from(next[right]);
            ids[at] = merged;
            next[at] = after as u8;
            keys[right] = NO_RANK;
            keys[at] = NO_RANK;
            if after < len {
                previous[after] = at as u8;
                let (rank, result) = self.pairs.get(merged, ids[after]);
                results[at] = result;
                keys[at] = key(rank, at);
            }
            if at > 0 {
                let before = usize::from(previous[at]) % SCAN_LIMIT;
                let (rank, result) = self.pairs.get(ids[before], merged);
                results[before] = result;
                keys[before] = key(rank, before);
            }
        }
        let mut at = 0;
        while at < len {
            out.push(ids[at]);
            at = usize::from(next[at]);
        }
    }

    /// Merges by a heap of (rank, position) over a doubly linked list. Entries whose pair has changed are skipped.
    pub(super) fn merge_by_heap(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let list = &mut scratch.list;
        list.fill(piece.iter().map(|&byte| self.byte_ids[byte as usize]));
        for at in 0..list.nodes.len() - 1 {
            list.push(self, at);
        }
        while let Some(Reverse((rank, at))) = list.heap.pop() {
            let node = &list.nodes[at];
            // A node that was merged away, or has another right neighbour by now, has another rank.
            if node.rank != rank {
                continue;
            }
            let merged = node.result;
            let right = node.next;
            let after = list.nodes[right].next;
            list.nodes[at].id = merged;
            list.nodes[at].next = after;
            list.nodes[right].rank = NO_RANK;
            list.nodes[at].rank = NO_RANK;
            if after != END {
                list.nodes[after].previous = at;
                list.push(self, at);
            }
            let before = list.nodes[at].previous;
            if before != END {
                list.push(self, before);
            }
        }
        let mut at = 0;
        while at != END {
            out.push(list.nodes[at].id);
            at = list.nodes[at].next;
        }
    }
}

/// A short piece during its merges: a doubly linked list in arrays, its end at the piece's length.
struct ScanPiece {
    ids: [u32; SCAN_LIMIT],
    /// Of the token here and the next: what they become, and rank and place.
    results: [u32; SCAN_LIMIT],
    keys: [i32; SCAN_LIMIT],
    previous: [u8; SCAN_LIMIT],
    next: [u8; SCAN_LIMIT],
}

/// No node.
const END: usize = usize::MAX;

struct Node {
    id: u32,
    /// Of the pair of this node and the next.
    rank: i32,
    result: u32,
    previous: usize,
    next: usize,
}

#[derive(Default)]
struct LinkedPiece {
    nodes: Vec<Node>,
    heap: BinaryHeap<Reverse<(i32, usize)>>,
}

impl LinkedPiece {
    fn fill(&mut self, ids: impl ExactSizeIterator<Item = u32>) {
        self.heap.clear();
        self.nodes.clear();
        let last = ids.len() - 1;
        self.nodes.extend(ids.enumerate().map(|(at, id)| Node {
            id,
            rank: NO_RANK,
            result: 0,
            previous: at.checked_sub(1).unwrap_or(END),
            next: if at == last { END } else { at + 1 },
        }));
    }

    /// Looks up the pair at `at` anew and queues it if it merges.
    fn push(&mut self, bpe: &Bpe, at: usize) {
        let next = self.nodes[at].next;
        let (rank, result) = bpe.pairs.get(self.nodes[at].id, self.nodes[next].id);
        self.nodes[at].rank = rank;
        self.nodes[at].result = result;
        if rank != NO_RANK {
            self.heap.push(Reverse((rank, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bpe::Merge;

    /// The definition: merge the pair of lowest rank, leftmost first, until none is left.
    fn naive(bpe: &Bpe, piece: &[u8]) -> Vec<u32> {
        let mut ids: Vec<u32> = piece
            .iter()
            .map(|&byte| bpe.byte_ids[byte as usize])
            .collect();
        loop {
            let candidates = ids.windows(2).enumerate().filter_map(|(at, pair)| {
                let merge = bpe
                    .merges
                    .iter()
                    .find(|m| m.left == pair[0] && m.right == pair[1])?;
                Some((merge.rank, at, merge.result))
            });
            let Some((_, at, result)) = candidates.min() else {
                return ids;
            };
            ids.splice(at..at + 2, [result]);
        }
    }

    /// Random merges over a few letters, among them several with one rank.
    fn random_merges() -> impl Strategy<Value = Vec<Merge>> {
        proptest::collection::vec((0_u32..30, 0_u32..30, 0_u32..20), 1..40).prop_map(|pairs| {
            let mut merges: Vec<Merge> = Vec::new();
            for (left, right, rank) in pairs {
                if !merges.iter().any(|m| m.left == left && m.right == right) {
                    // Equal ranks make equal tokens, as in a .tiktoken file.
                    merges.push(Merge {
                        left,
                        right,
                        rank,
                        result: 4 + rank,
                    });
                }
            }
            merges.sort_by_key(|merge| merge.rank);
            merges
        })
    }

    proptest! {
        #[test]
        fn both_loops_and_the_cache_equal_the_definition(merges in random_merges(), pieces in proptest::collection::vec(proptest::collection::vec(0_u8..4, 1..40), 1..20)) {
            let bpe = Bpe::new(&std::array::from_fn(|byte| byte as u32 % 4), merges, None);
            let mut scratch = Scratch::new();
            for piece in pieces.iter().chain(&pieces) {
                let expected = naive(&bpe, piece);
                let mut ids = Vec::new();
                bpe.merge_by_scan(piece, &mut scratch, &mut ids);
                prop_assert_eq!(&ids, &expected);
                ids.clear();
                bpe.merge_by_heap(piece, &mut scratch, &mut ids);
                prop_assert_eq!(&ids, &expected);
                ids.clear();
                bpe.encode_piece(piece, &mut scratch, &mut ids);
                prop_assert_eq!(&ids, &expected);
            }
        }
    }

    #[test]
    fn long_results_survive_the_cache_being_emptied() {
        let bpe = Bpe::new(
            &std::array::from_fn(|byte| byte as u32),
            vec![Merge {
                left: 0,
                right: 1,
                rank: 0,
                result: 256,
            }],
            None,
        );
        let mut scratch = Scratch::new();
        let mut out = Vec::new();
        for number in 0..40_000_u64 {
            let piece: Vec<u8> = number.to_le_bytes().iter().map(|byte| byte | 2).collect();
            for _ in 0..2 {
                out.clear();
                bpe.encode_piece(&piece, &mut scratch, &mut out);
                assert!(
                    out.iter().map(|&id| id as u8).eq(piece.iter().copied()),
                    "piece {number}"
                );
            }
        }
        assert!(scratch.spill.len() <= SPILL_LIMIT);
    }
}
