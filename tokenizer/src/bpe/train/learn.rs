//! The merges, learned incrementally.
//!
//! All distinct pieces lie in one array of symbols, a separator between two. A token occupies as many slots as it has
//! bytes; its first and its last slot hold its id, the slots between are holes. So both neighbours of an occurrence
//! are one load away, in the same cache line, and no links are kept. For every pair the positions where it appeared
//! are listed once, when its second token came to be; a listed position is checked when it is used.
//!
//! Within one merge (a, b) -> c only pairs (x, a), (x, c), (b, y), (c, y) change. Their changes are summed in arrays
//! indexed by x and y, so that the hash table is asked once a neighbour and not once an occurrence.
//!
//! A text becomes one token by one pair only: a stretch whose ends stay token boundaries is cut by its own content
//! alone, so that equal stretches are equal at every step. Hence a pair's places are all known when its later token
//! is made, and each pair is queued once. Only a special token may have the text of a merge; the merge then takes
//! its id, as in the Hugging Face trainer.

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

    /// Appends the positions of each token to `positions`; one group for each token.
    fn take_groups(&mut self, positions: &mut Vec<u32>) -> Vec<Group> {
        let mut start = positions.len();
        let mut groups = Vec::with_capacity(self.touched.len());
        for token in self.touched.drain(..) {
            let at = token as usize;
            let len = std::mem::replace(&mut self.slot[at], start);
            groups.push(Group {
                token,
                weight: std::mem::take(&mut self.weight[at]),
                start,
                len,
            });
            start += len;
        }
        positions.resize(start, 0);
        for (token, position) in self.events.drain(..) {
            let slot = &mut self.slot[token as usize];
            positions[*slot] = position;
            *slot += 1;
        }
        for group in &groups {
            self.slot[group.token as usize] = 0;
        }
        groups
    }
}

/// One neighbour of a merge.
struct Group {
    token: u32,
    /// Occurrences, each times the count of its piece.
    weight: i64,
    /// Start and length of the occurrences in the list of positions.
    start: usize,
    len: usize,
}

struct Learner {
    symbols: Vec<u32>,
    /// Positions below `.0` (and not below the group before) are in pieces that occur `.1` times.
    weights: Vec<(usize, i64)>,
    tokens: Vec<Box<[u8]>>,
    /// Occurrences of each pair, each times the count of its piece.
    counts: FxHashMap<(u32, u32), i64>,
    /// Lists of positions, addressed by the queue's entries.
    positions: Vec<u32>,
    left: Neighbours,
    right: Neighbours,
}

/// Learns merges until the vocabulary has `vocab_size` tokens or no pair is left.
pub(super) fn learn(
    pieces: &PieceCounts,
    initial: InitialTokens,
    vocab_size: usize,
    ties: Ties,
    report: &mut dyn FnMut(TrainProgress),
    stop: &dyn Fn() -> bool,
) -> Result<Learned, TokenizerError> {
    let InitialTokens {
        tokens,
        byte_ids,
        specials,
    } = initial;
    let (mut learner, entries) = Learner::new(pieces, tokens, &byte_ids);
    let mut queue = Queue::new(entries, ties, &learner.tokens);
    let mut merges = Vec::new();
    while learner.tokens.len() < vocab_size {
        if stop() {
            return Err(TokenizerError::Interrupted);
        }
        let Some(mut top) = queue.pop(&learner.tokens) else {
            break;
        };
        // Counts of queued pairs only fall; an entry learns of it when it comes to the top.
        let count = learner.counts[&top.pair];
        if top.count != count {
            top.count = count;
            queue.push(top, &learner.tokens);
            continue;
        }
        if top.count < 1 {
            break;
        }
        let (a, b) = top.pair;
        let bytes = [&*learner.tokens[a as usize], &*learner.tokens[b as usize]].concat();
        let merged = specials.get(&bytes[..]).copied().unwrap_or_else(|| {
            learner.tokens.push(bytes.into());
            (learner.tokens.len() - 1) as u32
        });
        merges.push((a, b, merged));
        learner.merge(&top, merged);
        learner.queue_changes(top.pair, merged, &mut queue);
        if learner.tokens.len().is_multiple_of(REPORT_EVERY) {
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
        merges,
    })
}

impl Learner {
    /// Lays out the pieces and counts the pairs of bytes.
    fn new(
        pieces: &PieceCounts,
        tokens: Vec<Box<[u8]>>,
        byte_ids: &[u32; 256],
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

        let mut pair_counts = FxHashMap::default();
        let mut entries = Vec::new();
        let mut start = 0;
        for (pair, slot) in slots.iter_mut().enumerate() {
            let len = *slot;
            if len > 0 {
                let ids = (byte_ids[pair >> 8], byte_ids[pair & 255]);
                pair_counts.insert(ids, counts[pair]);
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
            counts: pair_counts,
            positions,
            left: Neighbours::default(),
            right: Neighbours::default(),
        };
        (learner, entries)
    }

    /// Replaces the pair of `top` where it still stands, left to right, and notes its neighbours.
    fn merge(&mut self, top: &Entry, merged: u32) {
        let (a, b) = top.pair;
        for neighbours in [&mut self.left, &mut self.right] {
            neighbours.slot.resize(self.tokens.len(), 0);
            neighbours.weight.resize(self.tokens.len(), 0);
        }
        let len = |token: u32| self.tokens[token as usize].len();
        let (len_a, len_b) = (len(a), len(b));
        let mut group = 0;
        for &place in &self.positions[top.start..top.start + top.len] {
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
        let left = self.left.take_groups(&mut self.positions);
        let right = self.right.take_groups(&mut self.positions);
        let appeared = |group: &Group, pair| Entry {
            count: group.weight,
            pair,
            start: group.start,
            len: group.len,
        };
        let entries: Vec<Entry> = left
            .iter()
            .map(|group| appeared(group, (group.token, merged)))
            .chain(
                right
                    .iter()
                    .map(|group| appeared(group, (merged, group.token))),
            )
            .collect();
        for entry in &entries {
            self.counts.insert(entry.pair, entry.count);
        }
        // After the new pairs are in: where occurrences stand side by side, a new pair is gone again already.
        for (group, pair) in left.iter().map(|group| (group, (group.token, a))) {
            *self
                .counts
                .get_mut(&pair)
                .expect("pairs that stand are counted") -= group.weight;
        }
        for (group, pair) in right.iter().map(|group| (group, (b, group.token))) {
            *self
                .counts
                .get_mut(&pair)
                .expect("pairs that stand are counted") -= group.weight;
        }
        for entry in entries {
            if self.counts[&entry.pair] > 0 {
                queue.push(entry, &self.tokens);
            }
        }
    }
}
