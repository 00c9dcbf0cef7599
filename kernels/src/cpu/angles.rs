//! Tables of `cos(p f_i)` and `sin(p f_i)` for positions p and the frequencies `f_i = theta^(-2i / dims)`, which rotary and
//! sinusoidal positions share.
//!
//! Angles are formed and reduced in `f64`. A value is made of two, `p = 64 k + j` with `j < 64`, by the addition theorem, so
//! that a table of T positions costs `64 + T / 64` sines a frequency rather than T, and its values depend on the position
//! alone. May touch only the scratch it is given; [`crate::ops::rope`] and [`crate::ops::sinusoid`] read the tables.

#![expect(unsafe_code, reason = "rows of one table written by different threads")]

use super::Pool;
use super::rows::parallel;
use crate::Float;
use crate::arena::{ALIGN, Shared, scratch_of};

const FINE: usize = 64;

/// Which table.
#[derive(Clone, Copy, Debug)]
pub struct Angles {
    /// Base of the frequencies.
    pub theta: f64,
    /// Twice the number of frequencies.
    pub dims: usize,
    /// Where they stand in a row.
    pub order: Order,
}

/// Where cosines and sines stand in a row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All cosines, then all sines: `dims` values.
    CosThenSin,
    /// `sin, cos, sin, cos, ...`: `dims` values.
    SinCosPairs,
    /// `cos, cos, cos, cos, ...`, then `-sin, sin, -sin, sin, ...`: twice `dims` values.
    Doubled,
}

/// Finds the row of a token.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a, A> {
    values: &'a [A],
    width: usize,
    /// Position (or, where the table was made for tokens, index of the token) of the first row.
    first: usize,
    by_position: bool,
}

impl<'a, A> Table<'a, A> {
    /// Cosines and sines for token number `token` (in the batch), which has position `position`.
    #[inline(always)]
    pub fn row(&self, token: usize, position: i32) -> &'a [A] {
        let index = if self.by_position {
            position as usize
        } else {
            token
        } - self.first;
        &self.values[index * self.width..(index + 1) * self.width]
    }
}

impl Angles {
    /// Bytes of scratch that [`Angles::each`] needs for rows of `seq` tokens and values of `size` bytes.
    pub fn scratch(&self, seq: usize, size: usize) -> usize {
        self.sines_bytes(seq) + seq * self.width() * size
    }

    /// Values in a row of the table.
    fn width(&self) -> usize {
        match self.order {
            Order::CosThenSin | Order::SinCosPairs => self.dims,
            Order::Doubled => 2 * self.dims,
        }
    }

    /// Bytes for the frequencies and for the sines of the coarse and the fine positions.
    fn sines_bytes(&self, seq: usize) -> usize {
        let rows = FINE + seq / FINE + 2;
        ((self.dims / 2 + rows * self.dims) * size_of::<f64>()).next_multiple_of(ALIGN)
    }

    /// Makes tables in `scratch` and calls `body(table, start, end)` for ranges of tokens that cover `positions`, one after
    /// the other: once where the positions span no more than a row of the batch (`seq` tokens), else once a row. Negative
    /// positions are a bug and panic.
    pub fn each<A: Float>(
        &self,
        pool: &Pool,
        positions: &[i32],
        seq: usize,
        scratch: &mut [u8],
        body: impl Fn(Table<'_, A>, usize, usize),
    ) {
        let (Some(&low), Some(&high)) = (positions.iter().min(), positions.iter().max()) else {
            return;
        };
        assert!(low >= 0, "position {low} is negative");
        let (low, span, width) = (low as usize, (high - low) as usize + 1, self.width());
        let (sines, values) = scratch.split_at_mut(self.sines_bytes(seq));
        let (frequencies, sines) = scratch_of::<f64>(sines).split_at_mut(self.dims / 2);
        for (i, f) in frequencies.iter_mut().enumerate() {
            *f = self.theta.powf(-2.0 * i as f64 / self.dims as f64);
        }
        let values = &mut scratch_of::<A>(values)[..seq * width];
        if span <= seq {
            let rows = &mut values[..span * width];
            self.fill_positions(pool, frequencies, sines, low, rows);
            let table = Table {
                values,
                width,
                first: low,
                by_position: true,
            };
            return body(table, 0, positions.len());
        }
        for start in (0..positions.len()).step_by(seq) {
            let tokens = &positions[start..start + seq];
            self.fill_tokens(pool, frequencies, tokens, values);
            let table = Table {
                values,
                width,
                first: start,
                by_position: false,
            };
            body(table, start, start + seq);
        }
    }

    /// Rows for positions `low..`.
    fn fill_positions<A: Float>(
        &self,
        pool: &Pool,
        frequencies: &[f64],
        sines: &mut [f64],
        low: usize,
        values: &mut [A],
    ) {
        let (width, half) = (self.width(), self.dims / 2);
        let high = low + values.len() / width;
        let (first, last) = (low / FINE, high.div_ceil(FINE));
        let sines = &mut sines[..(FINE + last - first) * self.dims];
        let shared = Shared::new(sines);
        parallel(pool, FINE + last - first, self.dims * 8, |start, end| {
            for row in start..end {
                let position = if row < FINE {
                    row
                } else {
                    (first + row - FINE) * FINE
                };
                // SAFETY: each task has rows of its own.
                let row = unsafe { shared.slice(row * self.dims, self.dims) };
                let (cos, sin) = row.split_at_mut(half);
                for ((cos, sin), f) in cos.iter_mut().zip(sin).zip(frequencies) {
                    (*sin, *cos) = (position as f64 * f).sin_cos();
                }
            }
        });
        let sines = &*sines;
        let sines = |row: usize| sines[row * self.dims..(row + 1) * self.dims].split_at(half);
        let shared = Shared::new(values);
        parallel(pool, high - low, 2 * width, |start, end| {
            for row in start..end {
                let position = low + row;
                let (cos_a, sin_a) = sines(FINE + position / FINE - first);
                let (cos_b, sin_b) = sines(position % FINE);
                // SAFETY: each task has rows of its own.
                let row = unsafe { shared.slice(row * width, width) };
                self.put(row, |i| sum([cos_a[i], sin_a[i]], [cos_b[i], sin_b[i]]));
            }
        });
    }

    /// Rows for these tokens, whatever their positions.
    fn fill_tokens<A: Float>(
        &self,
        pool: &Pool,
        frequencies: &[f64],
        positions: &[i32],
        values: &mut [A],
    ) {
        let (width, shared) = (self.width(), Shared::new(values));
        parallel(pool, positions.len(), self.dims * 8, |start, end| {
            for t in start..end {
                let fine = positions[t] as usize % FINE;
                let coarse = positions[t] as usize - fine;
                // SAFETY: each task has rows of its own.
                let row = unsafe { shared.slice(t * width, width) };
                self.put(row, |i| {
                    let [(sin_a, cos_a), (sin_b, cos_b)] =
                        [coarse, fine].map(|p| (p as f64 * frequencies[i]).sin_cos());
                    sum([cos_a, sin_a], [cos_b, sin_b])
                });
            }
        });
    }

    /// Writes a row whose cosine and sine number i are `angle(i)`.
    #[inline(always)]
    fn put<A: Float>(&self, row: &mut [A], angle: impl Fn(usize) -> [f64; 2]) {
        match self.order {
            Order::CosThenSin => {
                let (cosines, sines) = row.split_at_mut(self.dims / 2);
                for (i, (c, s)) in cosines.iter_mut().zip(sines).enumerate() {
                    [*c, *s] = angle(i).map(A::from_f64);
                }
            }
            Order::SinCosPairs => {
                for (i, pair) in row.chunks_exact_mut(2).enumerate() {
                    let [cos, sin] = angle(i).map(A::from_f64);
                    pair.copy_from_slice(&[sin, cos]);
                }
            }
            Order::Doubled => {
                let (cosines, sines) = row.split_at_mut(self.dims);
                let pairs = cosines.chunks_exact_mut(2).zip(sines.chunks_exact_mut(2));
                for (i, (c, s)) in pairs.enumerate() {
                    let [cos, sin] = angle(i).map(A::from_f64);
                    c.copy_from_slice(&[cos, cos]);
                    s.copy_from_slice(&[-sin, sin]);
                }
            }
        }
    }
}

/// Cosine and sine of the sum of two angles given by theirs.
#[inline(always)]
fn sum([ca, sa]: [f64; 2], [cb, sb]: [f64; 2]) -> [f64; 2] {
    [ca * cb - sa * sb, sa * cb + ca * sb]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn rows(positions: &[i32], seq: usize, order: Order) -> Vec<Vec<f64>> {
        let angles = Angles {
            theta: 10_000.0,
            dims: 6,
            order,
        };
        let mut words = vec![u64::MAX; angles.scratch(seq, 8) / 8 + 8];
        let skip = words.as_ptr().align_offset(ALIGN);
        let rows = RefCell::new(Vec::new());
        angles.each::<f64>(
            &Pool::new(2),
            positions,
            seq,
            crate::arena::bytes_of(&mut words[skip..]),
            |table, start, end| {
                rows.borrow_mut()
                    .extend((start..end).map(|t| table.row(t, positions[t]).to_vec()));
            },
        );
        rows.into_inner()
    }

    #[test]
    fn both_ways_give_the_cosines_and_sines() {
        let close: Vec<i32> = (0..300).map(|t| 130 + t % 150).collect();
        let far = [5, 100_000, 17, 63, 64, 1_000_000];
        for (positions, seq) in [(&close[..], 150), (&far[..], 2)] {
            for (row, p) in rows(positions, seq, Order::CosThenSin)
                .iter()
                .zip(positions)
            {
                for i in 0..3 {
                    let angle = f64::from(*p) * 10_000f64.powf(-2.0 * i as f64 / 6.0);
                    assert!((row[i] - angle.cos()).abs() < 1e-9, "position {p}");
                    assert!((row[3 + i] - angle.sin()).abs() < 1e-9, "position {p}");
                }
            }
        }
    }

    #[test]
    fn orders_hold_the_same_values() {
        let positions = [3, 4, 5, 70];
        let split = rows(&positions, 100, Order::CosThenSin);
        let pairs = rows(&positions, 100, Order::SinCosPairs);
        let doubled = rows(&positions, 100, Order::Doubled);
        for ((split, pairs), doubled) in split.iter().zip(&pairs).zip(&doubled) {
            for i in 0..3 {
                let (cos, sin) = (split[i], split[3 + i]);
                assert_eq!(pairs[2 * i..2 * i + 2], [sin, cos]);
                assert_eq!(doubled[2 * i..2 * i + 2], [cos, cos]);
                assert_eq!(doubled[6 + 2 * i..8 + 2 * i], [-sin, sin]);
            }
        }
    }

    #[test]
    fn a_row_depends_on_its_position_alone() {
        let near = rows(&[70, 71, 72, 73], 4, Order::SinCosPairs);
        let scattered = rows(&[72, 9_000, 70, 5], 2, Order::SinCosPairs);
        assert_eq!(near[2], scattered[0]);
        assert_eq!(near[0], scattered[2]);
    }
}
