//! Stochastic rounding to `bf16`: up or down at random, so that the mean of many roundings is the number itself.
//!
//! A `bf16` has eight significant bits: an update below 2^-9 of its weight is lost when it is rounded to the nearest, every
//! time; rounded at random it moves the weight by its size in the mean. The random bits are a function of a seed, a step and
//! the number of the element, so that they repeat on every device, at any number of threads, stopped and resumed or not.
//!
//! Source: Zamirai et al., "Revisiting BFloat16 training", arXiv:2010.06192.

use crate::philox::philox;

/// What sets these random numbers apart from those of operations, which count from 0.
const DRAWER: [u32; 2] = [0, u32::MAX];

/// Rounds elements of a flat buffer at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Of the random numbers of this step.
    pub key: [u32; 2],
    /// Number of the buffer's first element among all; a multiple of 4.
    pub first: u64,
}

impl Rounding {
    /// For the elements from `first` on, at a step of a seed.
    pub fn new(seed: u64, step: u64, first: usize) -> Self {
        assert!(first.is_multiple_of(4), "element {first}");
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let [low, high] = halves(step);
        let words = philox(halves(seed), [low, high, DRAWER[0], DRAWER[1]]);
        Self {
            key: [words[0], words[1]],
            first: first as u64,
        }
    }

    /// The sixteen random bits of element `at`: the upper half of word `at % 4` of counter `at / 4`.
    pub fn bits(&self, at: usize) -> u32 {
        let number = self.first + at as u64;
        let block = number / 4;
        let counter = [block as u32, (block >> 32) as u32, 0, 0];
        philox(self.key, counter)[(number % 4) as usize] >> 16
    }

    /// Rounds `w`, whose first element is number `start` of the buffer; a multiple of 4.
    #[inline(always)]
    pub(crate) fn round(&self, start: usize, w: &mut [f32]) {
        let mut block = (self.first + start as u64) / 4;
        for lanes in w.chunks_mut(4 * LANES) {
            let words = philox_lanes(self.key, block);
            for (i, x) in lanes.iter_mut().enumerate() {
                *x = stochastic(*x, words[i % 4][i / 4] >> 16);
            }
            block += LANES as u64;
        }
    }
}

/// `x` rounded to a `bf16`, up where the lower half of its bits and `bits` (16) carry over. What is not finite stays.
#[inline(always)]
pub fn stochastic(x: f32, bits: u32) -> f32 {
    if x.is_finite() {
        f32::from_bits((x.to_bits() + bits) & 0xffff_0000)
    } else {
        x
    }
}

/// Counters at once: as many as a vector has lanes.
const LANES: usize = 16;

/// [`philox`] of the counters from `block` on; word by word, so that compilers make vectors of them.
#[inline(always)]
fn philox_lanes(key: [u32; 2], block: u64) -> [[u32; LANES]; 4] {
    const M: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const W: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let (mut k, mut c) = (key, [[0; LANES]; 4]);
    for lane in 0..LANES {
        let counter = block + lane as u64;
        c[0][lane] = counter as u32;
        c[1][lane] = (counter >> 32) as u32;
    }
    for _ in 0..10 {
        for lane in 0..LANES {
            let a = u64::from(M[0]) * u64::from(c[0][lane]);
            let b = u64::from(M[1]) * u64::from(c[2][lane]);
            c[0][lane] = (b >> 32) as u32 ^ c[1][lane] ^ k[0];
            c[2][lane] = (a >> 32) as u32 ^ c[3][lane] ^ k[1];
            (c[1][lane], c[3][lane]) = (b as u32, a as u32);
        }
        k = [k[0].wrapping_add(W[0]), k[1].wrapping_add(W[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_elements_at_once_are_those_one_by_one() {
        for first in [0, 4, 1 << 33] {
            let rounding = Rounding::new(7, 3, first);
            for (start, n) in [(0, 203), (64, 64), (12, 1)] {
                let values: Vec<f32> = (0..n).map(|i| 1.0 + 1e-4 * i as f32).collect();
                let mut rounded = values.clone();
                rounding.round(start, &mut rounded);
                for (i, (x, r)) in values.iter().zip(rounded).enumerate() {
                    assert_eq!(r, stochastic(*x, rounding.bits(start + i)), "{first} {i}");
                }
            }
        }
    }

    #[test]
    fn the_mean_of_many_roundings_is_the_number() {
        let n = 1_000_000;
        let rounding = Rounding::new(1, 1, 0);
        for x in [1.001f32, -0.3, 3.17e-5, 255.999] {
            let mut all = vec![x; n];
            rounding.round(0, &mut all);
            let low = f32::from_bits(x.to_bits() & 0xffff_0000);
            let high = f32::from_bits((x.to_bits() & 0xffff_0000) + 0x1_0000);
            assert!(all.iter().all(|r| *r == low || *r == high), "{x}");
            let mean = all.iter().map(|r| f64::from(*r)).sum::<f64>() / n as f64;
            let step = f64::from((high - low).abs());
            let up = (f64::from(x) - f64::from(low)).abs() / step;
            let deviation = step * (up * (1.0 - up) / n as f64).sqrt();
            assert!(
                (mean - f64::from(x)).abs() < 3.0 * deviation,
                "{x}: {mean}, {deviation:e}"
            );
        }
    }

    #[test]
    fn what_a_bf16_holds_and_what_is_not_finite_stay() {
        for x in [
            0.0,
            -0.0,
            1.0,
            -2.5,
            1.0078125,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ] {
            for bits in [0, 1, 0xffff] {
                assert_eq!(stochastic(x, bits).to_bits(), x.to_bits());
            }
        }
        assert!(stochastic(f32::NAN, 0xffff).is_nan());
        assert_eq!(stochastic(f32::MAX, 0xffff), f32::INFINITY);
    }

    #[test]
    fn every_step_and_seed_has_bits_of_its_own() {
        let bits = |seed, step| {
            let rounding = Rounding::new(seed, step, 0);
            (0..64).map(|at| rounding.bits(at)).collect::<Vec<_>>()
        };
        assert_eq!(bits(1, 1), bits(1, 1));
        assert_ne!(bits(1, 1), bits(1, 2));
        assert_ne!(bits(1, 1), bits(2, 1));
    }
}
