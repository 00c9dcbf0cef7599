//! The table from a pair of tokens to its merge: open addressing, at most half full, so that the common question about
//! a pair that never merges ends at the first empty slot.

use super::Merge;

/// Rank of a pair that does not merge.
pub(super) const NO_RANK: i32 = i32::MAX;

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    rank: i32,
    result: u32,
}

/// No pair has this key: ids stay below `u32::MAX`.
const EMPTY: Slot = Slot {
    key: u64::MAX,
    rank: NO_RANK,
    result: 0,
};

/// Pair -> (rank, result).
#[derive(Clone)]
pub(super) struct PairTable {
    slots: Vec<Slot>,
    shift: u32,
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl PairTable {
    pub(super) fn new(merges: &[Merge]) -> Self {
        let size = (merges.len() * 2).next_power_of_two().max(16);
        let mut table = Self {
            slots: vec![EMPTY; size],
            shift: 64 - size.trailing_zeros(),
        };
        for merge in merges {
            let slot = table.find(merge.left, merge.right);
            table.slots[slot] = Slot {
                key: key(merge.left, merge.right),
                rank: merge.rank as i32,
                result: merge.result,
            };
        }
        table
    }

    /// The slot of a pair, or the empty one where it would go.
    #[inline(always)]
    fn find(&self, left: u32, right: u32) -> usize {
        let key = key(left, right);
        let mask = self.slots.len() - 1;
        // Multiplicative hashing: the high bits of the product depend on all bits of the key.
        let mut at = ((key ^ key >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        while self.slots[at & mask].key != key && self.slots[at & mask].key != u64::MAX {
            at += 1;
        }
        at & mask
    }

    /// Rank of the pair ([`NO_RANK`] if it does not merge) and the token it becomes.
    #[inline(always)]
    pub(super) fn get(&self, left: u32, right: u32) -> (i32, u32) {
        let slot = &self.slots[self.find(left, right)];
        (slot.rank, slot.result)
    }
}
