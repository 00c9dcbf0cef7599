//! Histogram sketches: how many values lie in each octave of magnitude, on either side of zero.
//!
//! A sketch has [`OCTAVES`] buckets a side below the greatest magnitude that was met, so it suits activations near one and
//! gradients near 1e-8 alike, and needs no pass over the values beforehand: a float's exponent names its bucket. Of many
//! values evenly spaced ones are counted. Made in `tape/observe.rs` and `train/stats.rs`, recorded in `layers` events.

use serde::{Deserialize, Serialize};

/// Buckets on either side of zero; each is half as wide as the one before it.
pub const OCTAVES: usize = 16;

/// Values that are counted, at most.
const SAMPLE: usize = 1 << 16;

/// Exponents of an `f32`; the last is that of what is not finite, the first that of zero and of what is below 2^-126.
const EXPONENTS: usize = 256;

/// How values are spread. Bucket `i` of a side counts magnitudes from `2^(top-1-i)` up to but not including `2^(top-i)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// Every finite magnitude that was met is below `2^top`.
    pub top: i32,
    /// Values that are zero, or of a magnitude below `2^(top-16)`.
    pub zero: u32,
    /// Counts below zero, from the greatest magnitude down; empty buckets at the end are left out.
    pub negative: Vec<u32>,
    /// Counts above zero, likewise.
    pub positive: Vec<u32>,
    /// Values that are not finite.
    #[serde(default, skip_serializing_if = "is_none")]
    pub nonfinite: u32,
    /// One value of this many was counted.
    #[serde(default = "every", skip_serializing_if = "is_every")]
    pub stride: u32,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            top: 0,
            zero: 0,
            negative: Vec::new(),
            positive: Vec::new(),
            nonfinite: 0,
            stride: every(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

fn every() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_every(stride: &u32) -> bool {
    *stride == 1
}

impl Sketch {
    /// Finite values that were counted.
    pub fn count(&self) -> u64 {
        let sides = self.negative.iter().chain(&self.positive);
        u64::from(self.zero) + sides.map(|n| u64::from(*n)).sum::<u64>()
    }

    /// All `2 * OCTAVES + 1` buckets in the order of their values, as they would stand had magnitudes up to `2^top` been met:
    /// what is then too small is counted with zero. `top` is at least the sketch's own.
    pub fn buckets(&self, top: i32) -> [u64; 2 * OCTAVES + 1] {
        let mut buckets = [0; 2 * OCTAVES + 1];
        buckets[OCTAVES] = u64::from(self.zero);
        let shift = usize::try_from(top.saturating_sub(self.top)).unwrap_or(0);
        for (side, counts) in [(-1, &self.negative), (1, &self.positive)] {
            for (i, count) in counts.iter().enumerate() {
                let away = OCTAVES.saturating_sub(i + shift) as isize;
                let at = OCTAVES.saturating_add_signed(side * away);
                buckets[at.min(2 * OCTAVES)] += u64::from(*count);
            }
        }
        buckets
    }

    /// The upper bounds of [`Sketch::buckets`]; each bucket's lower bound is the upper one of that before it, the first's
    /// `-2^top`.
    pub fn bounds(top: i32) -> [f64; 2 * OCTAVES + 1] {
        let power = |octave: usize| f64::exp2(f64::from(top) - octave as f64);
        std::array::from_fn(|at| {
            if at < OCTAVES {
                -power(at + 1)
            } else {
                power(2 * OCTAVES - at)
            }
        })
    }
}

/// Counts values for a sketch.
#[derive(Debug)]
pub struct Counter {
    /// By sign and exponent.
    counts: [[u32; EXPONENTS]; 2],
    stride: usize,
}

impl Counter {
    /// A counter for `total` values in tensors whose last dimensions are `widths`. The stride has no factor in common with
    /// a width, so that the sample walks through all channels.
    pub fn new(total: usize, widths: &[usize]) -> Self {
        let mut stride = total.div_ceil(SAMPLE).max(1);
        while !widths.iter().all(|width| coprime(stride, *width)) {
            stride += 1;
        }
        Self {
            counts: [[0; EXPONENTS]; 2],
            stride,
        }
    }

    /// Counts of a tensor's `len` values those that the stride meets.
    pub fn add(&mut self, len: usize, value: impl Fn(usize) -> f32) {
        for at in (0..len).step_by(self.stride) {
            let bits = value(at).to_bits();
            let exponent = bits >> 23 & 0xff;
            self.counts[(bits >> 31) as usize][exponent as usize] += 1;
        }
    }

    /// The sketch of what was counted.
    pub fn sketch(&self) -> Sketch {
        let [positive, negative] = &self.counts;
        let both = |e: usize| positive[e] + negative[e];
        let last = EXPONENTS - 1;
        let greatest = (1..last).rev().find(|e| both(*e) > 0);
        let least = greatest
            .map_or(0, |e| (e + 1).saturating_sub(OCTAVES))
            .max(1);
        let side = |counts: &[u32; EXPONENTS]| {
            let mut found: Vec<u32> = match greatest {
                Some(greatest) => (least..=greatest).rev().map(|e| counts[e]).collect(),
                None => Vec::new(),
            };
            let used = found.iter().rposition(|n| *n > 0).map_or(0, |at| at + 1);
            found.truncate(used);
            found
        };
        Sketch {
            // A float of exponent e is from 2^(e-127) up to 2^(e-126).
            top: greatest.map_or(0, |e| e as i32 - 126),
            zero: (0..least).map(both).sum(),
            negative: side(negative),
            positive: side(positive),
            nonfinite: both(last),
            stride: self.stride as u32,
        }
    }
}

fn coprime(a: usize, b: usize) -> bool {
    let (mut a, mut b) = (a, b.max(1));
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Sketch {
        let mut counter = Counter::new(values.len(), &[1]);
        counter.add(values.len(), |at| values[at]);
        counter.sketch()
    }

    #[test]
    fn every_value_lies_in_the_octave_of_its_magnitude() {
        let sketch = of(&[
            0.0,
            -0.0,
            1.0,
            1.5,
            2.0,
            3.99,
            -1.0,
            -0.26,
            f32::NAN,
            f32::NEG_INFINITY,
            1e-30,
            f32::from_bits(1),
        ]);
        assert_eq!(
            sketch,
            Sketch {
                top: 2,
                zero: 4,
                negative: vec![0, 1, 0, 1],
                positive: vec![2, 2],
                nonfinite: 2,
                stride: 1,
            }
        );
        assert_eq!(sketch.count(), 10);
        let buckets = sketch.buckets(2);
        let bounds = Sketch::bounds(2);
        assert!(bounds.is_sorted(), "{bounds:?}");
        assert_eq!((bounds[0], bounds[15]), (-2.0, -1.0 / 16384.0));
        assert_eq!((bounds[16], bounds[32]), (1.0 / 16384.0, 4.0));
        for (at, count) in [(1, 1), (3, 1), (16, 4), (31, 2), (32, 2)] {
            assert_eq!(buckets[at], count, "{at}: {buckets:?}");
        }
        assert_eq!(buckets.iter().sum::<u64>(), 10);
        // On another's scale: two octaves further in, and what is too small with zero.
        let wider = sketch.buckets(4);
        assert_eq!((wider[30], wider[29], wider[3]), (2, 2, 1));
        let far = sketch.buckets(100);
        assert_eq!(far[OCTAVES], 10, "{far:?}");
    }

    #[test]
    fn a_sketch_of_nothing_or_of_zeros_has_no_octaves() {
        assert_eq!(of(&[]), Sketch::default());
        let zeros = of(&[0.0; 3]);
        assert_eq!((zeros.zero, zeros.count(), zeros.top), (3, 3, 0));
        assert!(zeros.negative.is_empty() && zeros.positive.is_empty());
        assert_eq!(of(&[f32::MAX]).top, 128);
        assert_eq!(of(&[f32::MIN_POSITIVE]).positive, [1]);
    }

    #[test]
    fn a_sample_walks_through_all_channels_and_says_its_stride() {
        let (tokens, width) = (4096, 768);
        let mut counter = Counter::new(tokens * width, &[width, 3]);
        // Channel c has a magnitude of 2^(c % 16); every octave has the same number of values.
        counter.add(tokens * width, |at| f32::exp2((at % width % 16) as f32));
        let sketch = counter.sketch();
        assert_eq!(sketch.stride, 49);
        assert!(sketch.count() <= SAMPLE as u64 && sketch.count() > SAMPLE as u64 * 9 / 10);
        let (least, most) = (sketch.positive.iter().min(), sketch.positive.iter().max());
        assert_eq!(sketch.positive.len(), OCTAVES);
        assert!(most.unwrap() - least.unwrap() <= 1, "{sketch:?}");
    }

    #[test]
    fn a_record_leaves_out_what_is_as_usual() {
        let sketch = of(&[1.0, -2.0]);
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(
            text,
            r#"{"top":2,"zero":0,"negative":[1],"positive":[0,1]}"#
        );
        assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
        let broken = Sketch {
            nonfinite: 1,
            stride: 7,
            ..sketch
        };
        let text = serde_json::to_string(&broken).unwrap();
        assert!(text.ends_with(r#""nonfinite":1,"stride":7}"#), "{text}");
        assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), broken);
    }
}
