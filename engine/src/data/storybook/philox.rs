//! The random numbers of a story: a stream of [`kernels::philox`] for each.
//!
//! Nothing is carried from one story to the next, so story `i` can be written without the stories before it.

use kernels::philox::philox;

/// The stream of random words of one story: the key is the seed, the counter is (story, block).
#[derive(Debug)]
pub(super) struct Random {
    key: [u32; 2],
    story: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Random {
    /// The stream of story `story` under `seed`.
    pub(super) fn new(seed: u64, story: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            story,
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }

    fn word(&mut self) -> u32 {
        if self.used == self.words.len() {
            let counter = [
                self.story as u32,
                (self.story >> 32) as u32,
                self.block as u32,
                (self.block >> 32) as u32,
            ];
            self.words = philox(self.key, counter);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number in `0..bound` (`bound` > 0), without bias: Lemire, "Fast Random Integer Generation in an Interval"
    /// (2019). The entropy floor is exact only if the weights are met exactly.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            let low = product as u32;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_meets_its_bound_evenly() {
        let mut random = Random::new(7, 7);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        // Standard deviation of a count: sqrt(60000 * 1/6 * 5/6) = 91.
        assert!(
            counts.iter().all(|&n| n.abs_diff(10_000) < 400),
            "{counts:?}"
        );
    }
}
