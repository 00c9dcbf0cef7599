//! What a range of rows holds, and smoothing: the two things that are folded over rows.

use super::layout::{BETAS, get};

/// Rows of the finest bin that is stored. Bins of finer ranges are folded from the rows themselves, which costs less than
/// reading them would.
pub(super) const FINEST: usize = 16;
/// Bins that one bin of the next level joins.
pub(super) const FAN_OUT: usize = 4;
/// Bytes of a stored bin.
pub(super) const BYTES: usize = 32;

/// Least, greatest and mean of the finite values of a range of rows, and how many were not finite. Values that are absent
/// (bits per byte of data without text) count as neither.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Least finite value, +inf where there is none.
    pub min: f64,
    /// Greatest finite value, -inf where there is none.
    pub max: f64,
    sum: f64,
    /// Number of finite values.
    pub finite: u32,
    /// Number of values that are NaN or infinite.
    pub nonfinite: u32,
}

/// The bits that stand for a value that is absent: a NaN that no computation makes.
pub(super) const ABSENT: u64 = 0x7ff8_0000_6e6f_6e65;

impl Bucket {
    /// The bucket of no rows.
    pub const EMPTY: Self = Self {
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        finite: 0,
        nonfinite: 0,
    };

    /// The bucket of some rows, given as their bits.
    pub(super) fn of(rows: impl IntoIterator<Item = u64>) -> Self {
        rows.into_iter().fold(Self::EMPTY, |mut bucket, bits| {
            bucket.take(bits);
            bucket
        })
    }

    /// The bucket of all rows of some buckets.
    pub(super) fn joined(parts: &[Self]) -> Self {
        parts.iter().fold(Self::EMPTY, |mut bucket, part| {
            bucket.merge(part);
            bucket
        })
    }

    /// Takes one more row, given as its bits.
    pub(super) fn take(&mut self, bits: u64) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
            self.finite += 1;
        } else if bits != ABSENT {
            self.nonfinite += 1;
        }
    }

    /// Takes the rows of another bucket.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.finite += other.finite;
        self.nonfinite += other.nonfinite;
    }

    /// Mean of the finite values, if there is any.
    pub fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / f64::from(self.finite))
    }

    /// Sum of the finite values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for x in [self.min, self.max, self.sum] {
            out.extend(x.to_le_bytes());
        }
        out.extend(self.finite.to_le_bytes());
        out.extend(self.nonfinite.to_le_bytes());
    }

    /// The bin that stands at `at`.
    pub(super) fn read(bytes: &[u8], at: usize) -> Self {
        let float = |i: usize| f64::from_bits(get(bytes, at + 8 * i));
        let counts = get(bytes, at + 24);
        Self {
            min: float(0),
            max: float(1),
            sum: float(2),
            finite: counts as u32,
            nonfinite: (counts >> 32) as u32,
        }
    }
}

/// The state of a bias-corrected exponential moving average for each decay of [`BETAS`] (Kingma and Ba, 2015, section 3):
/// `m = beta m + (1 - beta) x`, `w = beta w + (1 - beta)`, and the average is `m / w`. Rows that are not finite change
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Averages(pub(super) [[f64; 2]; BETAS.len()]);

impl Averages {
    pub(super) const NEW: Self = Self([[0.0; 2]; BETAS.len()]);

    pub(super) fn take(&mut self, value: f64) {
        if value.is_finite() {
            for (state, beta) in self.0.iter_mut().zip(BETAS) {
                state[0] = beta * state[0] + (1.0 - beta) * value;
                state[1] = beta * state[1] + (1.0 - beta);
            }
        }
    }
}
