//! The merges, learned incrementally.
//!
//! All distinct pieces lie in one array of symbols, a separator between two. A token occupies as many slots as it has
//! bytes; its first and its last slot hold its id, the slots between are holes. So both neighbours of an occurrence
//! are one load away, in the same cache line, and no links are kept. For every pair the positions where it appeared
//! are listed once, when its second token came to be; a listed position is checked when it is used.
//!
//! Within one merge (a, b) -> c only pairs (x, a), (x, c), (b, y), (c, y) change. Their changes are summed in arrays
//! indexed by x and y, so that the hash table is asked once a neighbour and not once an occurrence.

use rustc_hash::FxHashMap;

use super::count::PieceCounts;
use super::queue::{Entry, Queue};
use super::{InitialTokens, Learned, Ties, TrainProgress};
use crate::error::TokenizerError;

/// Between two pieces.
const SEPARATOR: u32 = u32::MAX;
/// Inside a token.
const HOLE: u32 = u32::MAX - 1;
/// Tokens between two progress reports.
const REPORT_EVERY: usize = 64;

/// What is known of a pair.
#[derive(Default)]
struct PairState {
    /// Occurrences, each times the count of its piece. Under [`Ties::Hf`] the count outlives the pair's own merge, as
    /// it does in the Hugging Face trainer.
    count: i64,
    /// Entries in the queue.
    waiting: u32,
}

/// Occurrences beside the merged pair, grouped by the neighbouring token.
#[derive(Default)]
struct Neighbours {
    /// By token: summed piece counts of this merge.
    weight: Vec<i64>,
    /// By token: occurrences of this merge; becomes the place in the position list.
    slot: Vec<usize>,
    touched: Vec<u32>,
    /// (neighbour, position) in the order met.
    events: Vec<(u32, u32)>,
}

impl Neighbours {
    #[inline]
    fn add(&mut self, token: u32, position: usize, weight: i64) {
        let at = token as usize;
        if self.slot[at] == 0 {
            self.touched.push(token);
        }
        self.slot[at] += 1;
        self.weight[at] += weight;
        self.events.push((token, position as u32));
    }

    /// Appends the positions of each token to `positions` and returns (token, weight, start, length) for each.
    fn take_groups(&mut self, positions: &mut Vec<u32>) -> Vec<(u32, i64, usize, usize)> {
        let mut start = positions.len();
        let mut groups = Vec::with_capacity(self.touched.len());
        for token in self.touched.drain(..) {
            let at = token as usize;
            let len = self.slot[at];
            groups.push((token, self.weight[at], start, len));
            self.slot[at] = start;
            self.weight[at] = 0;
            start += len;
        }
        positions.resize(start, 0);
        for (token, position) in self.events.drain(..) {
            let slot = &mut self.slot[token as usize];
            positions[*slot] = position;
            *slot += 1;
        }
        for group in &groups {
            self.slot[group.0 as usize] = 0;
        }
        groups
    }
}

struct Learner {
    symbols: Vec<u32>,
    /// Positions below `.0` (and not below the group before) are in pieces that occur `.1` times.
    weights: Vec<(usize, i64)>,
    tokens: Vec<Box<[u8]>>,
    pairs: FxHashMap<(u32, u32), PairState>,
    /// Lists of positions, addressed by the queue's entries.
    positions: Vec<u32>,
    left: Neighbours,
    right: Neighbours,
    ties: Ties,
}

/// Learns merges until the vocabulary has `vocab_size` tokens or no pair is left.
pub(super) fn learn(
    pieces: &PieceCounts,
    initial: InitialTokens,
    vocab_size: usize,
    ties: Ties,
    report: &mut dyn FnMut(TrainProgress),
) -> Result<Learned, TokenizerError> {
    let InitialTokens {
        tokens,
        byte_ids,
        mut by_bytes,
    } = initial;
    let (mut learner, entries) = Learner::new(pieces, tokens, &byte_ids, ties);
    let mut queue = Queue::new(entries, ties, &learner.tokens);
    // A pair may merge twice under `Ties::Hf`; the last time counts.
    let mut merges: Vec<Option<(u32, u32, u32)>> = Vec::new();
    let mut merge_of_pair: FxHashMap<(u32, u32), usize> = FxHashMap::default();

    while learner.tokens.len() < vocab_size {
        let Some(mut top) = queue.pop(&learner.tokens) else {
            break;
        };
        let state = learner
            .pairs
            .get_mut(&top.pair)
            .expect("a queued pair is counted");
        if top.count != state.count {
            top.count = state.count;
            queue.push(top, &learner.tokens);
            continue;
        }
        if top.count < 1 {
            break;
        }
        state.waiting -= 1;
        let places = learner.places(&top, &queue);
        let (a, b) = top.pair;
        let bytes: Box<[u8]> = [&*learner.tokens[a as usize], &*learner.tokens[b as usize]]
            .concat()
            .into();
        let merged = *by_bytes.entry(bytes).or_insert_with_key(|bytes| {
            learner.tokens.push(bytes.clone());
            (learner.tokens.len() - 1) as u32
        });
        if let Some(earlier) = merge_of_pair.insert(top.pair, merges.len()) {
            merges[earlier] = None;
        }
        merges.push(Some((a, b, merged)));
        learner.merge(top.pair, merged, &places);
        learner.queue_changes(top.pair, merged, &mut queue);
        if learner.tokens.len() % REPORT_EVERY == 0 {
            report(TrainProgress::Merging {
                tokens: learner.tokens.len(),
                vocab_size,
            });
        }
    }
    report(TrainProgress::Merging {
        tokens: learner.tokens.len(),
        vocab_size,
    });
    Ok(Learned {
        tokens: learner.tokens,
        byte_ids,
        merges: merges.into_iter().flatten().collect(),
    })
}

impl Learner {
    /// Lays out the pieces and counts the pairs of bytes.
    fn new(
        pieces: &PieceCounts,
        tokens: Vec<Box<[u8]>>,
        byte_ids: &[u32; 256],
        ties: Ties,
    ) -> (Self, Vec<Entry>) {
        let mut symbols = Vec::with_capacity(pieces.num_bytes() + pieces.len() + 1);
        let mut weights: Vec<(usize, i64)> = Vec::new();
        // By pair of bytes: summed counts, and occurrences.
        let mut counts = vec![0_i64; 1 << 16];
        let mut slots = vec![0_usize; 1 << 16];
        let index = |pair: &[u8]| usize::from(pair[0]) << 8 | usize::from(pair[1]);
        symbols.push(SEPARATOR);
        for (piece, count) in pieces.by_count() {
            let count = count as i64;
            symbols.extend(piece.iter().map(|&byte| byte_ids[byte as usize]));
            symbols.push(SEPARATOR);
            for pair in piece.windows(2) {
                counts[index(pair)] += count;
                slots[index(pair)] += 1;
            }
            match weights.last_mut() {
                Some((end, last)) if *last == count => *end = symbols.len(),
                _ => weights.push((symbols.len(), count)),
            }
        }

        let mut pairs = FxHashMap::default();
        let mut entries = Vec::new();
        let mut start = 0;
        for (pair, slot) in slots.iter_mut().enumerate() {
            let len = *slot;
            if len > 0 {
                let ids = (byte_ids[pair >> 8], byte_ids[pair & 255]);
                pairs.insert(
                    ids,
                    PairState {
                        count: counts[pair],
                        waiting: 1,
                    },
                );
                entries.push(Entry {
                    count: counts[pair],
                    pair: ids,
                    start,
                    len,
                });
            }
            *slot = start;
            start += len;
        }
        let mut positions = vec![0; start];
        let mut at = 1_u32;
        for (piece, _) in pieces.by_count() {
            for (pair, position) in piece.windows(2).zip(at..) {
                let slot = &mut slots[index(pair)];
                positions[*slot] = position;
                *slot += 1;
            }
            at += piece.len() as u32 + 1;
        }
        let learner = Self {
            symbols,
            weights,
            tokens,
            pairs,
            positions,
            left: Neighbours::default(),
            right: Neighbours::default(),
            ties,
        };
        (learner, entries)
    }

    /// Where to look for the pair of `top`, in increasing order.
    ///
    /// A pair waits more than once only if its second token came to be more than once, by different pairs of equal
    /// text. [`Ties::Greatest`] then takes all places at once; the Hugging Face trainer goes piece by piece, and takes
    /// whatever stands in the pieces of this entry.
    fn places(&self, top: &Entry, queue: &Queue) -> Vec<u32> {
        let mut places = self.positions[top.start..top.start + top.len].to_vec();
        if self.pairs[&top.pair].waiting > 0 {
            let mut others: Vec<u32> = queue
                .of_pair(top.pair)
                .flat_map(|entry| &self.positions[entry.start..entry.start + entry.len])
                .copied()
                .collect();
            if self.ties == Ties::Hf {
                let mut pieces: Vec<usize> =
                    places.iter().map(|&at| self.piece_start(at)).collect();
                pieces.sort_unstable();
                others.retain(|&at| pieces.binary_search(&self.piece_start(at)).is_ok());
            }
            places.extend(others);
            places.sort_unstable();
        }
        places
    }

    /// Start of the piece around a position.
    fn piece_start(&self, at: u32) -> usize {
        let before = &self.symbols[..at as usize];
        before
            .iter()
            .rposition(|&symbol| symbol == SEPARATOR)
            .expect("the first symbol is a separator")
            + 1
    }

    /// Replaces the pair at those of `places` where it still stands, and notes its neighbours.
    fn merge(&mut self, (a, b): (u32, u32), merged: u32, places: &[u32]) {
        for neighbours in [&mut self.left, &mut self.right] {
            neighbours.slot.resize(self.tokens.len(), 0);
            neighbours.weight.resize(self.tokens.len(), 0);
        }
        let len = |token: u32| self.tokens[token as usize].len();
        let (len_a, len_b) = (len(a), len(b));
        let mut group = 0;
        for &place in places {
            let start = place as usize;
            let middle = start + len_a;
            if self.symbols[start] != a || self.symbols[middle] != b {
                continue;
            }
            let end = middle + len_b;
            if self.weights[group].0 <= start {
                group += self.weights[group..].partition_point(|&(end, _)| end <= start);
            }
            let weight = self.weights[group].1;
            self.symbols[middle - 1] = HOLE;
            self.symbols[middle] = HOLE;
            self.symbols[start] = merged;
            self.symbols[end - 1] = merged;
            let (x, y) = (self.symbols[start - 1], self.symbols[end]);
            if x != SEPARATOR {
                self.left.add(x, start - len(x), weight);
            }
            if y != SEPARATOR {
                self.right.add(y, start, weight);
            }
        }
    }

    /// Applies the noted neighbours to the counts, and queues the pairs that appeared.
    fn queue_changes(&mut self, (a, b): (u32, u32), merged: u32, queue: &mut Queue) {
        if self.ties == Ties::Greatest {
            self.pairs
                .get_mut(&(a, b))
                .expect("the merged pair is counted")
                .count = 0;
        }
        let left = self.left.take_groups(&mut self.positions);
        let right = self.right.take_groups(&mut self.positions);
        let mut appeared: Vec<Entry> = Vec::with_capacity(left.len() + right.len());
        for &(x, weight, start, len) in &left {
            self.pairs.entry((x, merged)).or_default().count += weight;
            appeared.push(Entry {
                count: 0,
                pair: (x, merged),
                start,
                len,
            });
        }
        for &(y, weight, start, len) in &right {
            self.pairs.entry((merged, y)).or_default().count += weight;
            appeared.push(Entry {
                count: 0,
                pair: (merged, y),
                start,
                len,
            });
        }
        for &(x, weight, ..) in &left {
            self.pairs
                .get_mut(&(x, a))
                .expect("pairs that stand are counted")
                .count -= weight;
        }
        for &(y, weight, ..) in &right {
            self.pairs
                .get_mut(&(b, y))
                .expect("pairs that stand are counted")
                .count -= weight;
        }
        self.join_doubles(&mut appeared, merged);
        for mut entry in appeared {
            let state = self.pairs.get_mut(&entry.pair).expect("just counted");
            if state.count > 0 {
                entry.count = state.count;
                state.waiting += 1;
                queue.push(entry, &self.tokens);
            }
        }
    }

    /// (merged, merged) may have appeared on both sides: one entry with all its places.
    fn join_doubles(&mut self, appeared: &mut Vec<Entry>, merged: u32) {
        let doubles: Vec<Entry> = appeared
            .iter()
            .filter(|entry| entry.pair == (merged, merged))
            .copied()
            .collect();
        if let [first, second] = doubles[..] {
            let mut places = self.positions[first.start..first.start + first.len].to_vec();
            places.extend_from_slice(&self.positions[second.start..second.start + second.len]);
            places.sort_unstable();
            appeared.retain(|entry| entry.pair != (merged, merged));
            let start = self.positions.len();
            appeared.push(Entry {
                count: 0,
                pair: (merged, merged),
                start,
                len: places.len(),
            });
            self.positions.extend(places);
        }
    }
}
