//! Which pair merges next: a binary heap whose order the tie rule decides.

use std::cmp::Ordering;

use super::Ties;

/// A pair that waits, with the count it had when it was queued and the places it was found at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub count: i64,
    pub pair: (u32, u32),
    /// Start and length of its positions in the learner's list.
    pub start: usize,
    pub len: usize,
}

/// A max-heap of entries.
pub(super) struct Queue {
    heap: Vec<Entry>,
    ties: Ties,
}

impl Queue {
    /// The heap of `entries`.
    pub(super) fn new(entries: Vec<Entry>, ties: Ties, tokens: &[Box<[u8]>]) -> Self {
        let mut queue = Self {
            heap: entries,
            ties,
        };
        for at in (0..queue.heap.len() / 2).rev() {
            queue.sift_down(at, tokens);
        }
        queue
    }

    /// Whether `a` goes before `b`.
    fn before(&self, a: &Entry, b: &Entry, tokens: &[Box<[u8]>]) -> bool {
        let by_tie = || match self.ties {
            Ties::Hf => b.pair.cmp(&a.pair),
            Ties::Greatest => {
                let bytes = |id: u32| &tokens[id as usize];
                (bytes(a.pair.0), bytes(a.pair.1)).cmp(&(bytes(b.pair.0), bytes(b.pair.1)))
            }
        };
        a.count.cmp(&b.count).then_with(by_tie) == Ordering::Greater
    }

    pub(super) fn push(&mut self, entry: Entry, tokens: &[Box<[u8]>]) {
        let mut at = self.heap.len();
        self.heap.push(entry);
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.before(&self.heap[at], &self.heap[parent], tokens) {
                break;
            }
            self.heap.swap(at, parent);
            at = parent;
        }
    }

    pub(super) fn pop(&mut self, tokens: &[Box<[u8]>]) -> Option<Entry> {
        if self.heap.is_empty() {
            return None;
        }
        let top = self.heap.swap_remove(0);
        self.sift_down(0, tokens);
        Some(top)
    }

    fn sift_down(&mut self, mut at: usize, tokens: &[Box<[u8]>]) {
        loop {
            let mut best = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len()
                    && self.before(&self.heap[child], &self.heap[best], tokens)
                {
                    best = child;
                }
            }
            if best == at {
                return;
            }
            self.heap.swap(at, best);
            at = best;
        }
    }
}
