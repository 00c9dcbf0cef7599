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
    /// Width of a row: two values (cosine and sine) for each of `dims / 2` frequencies.
    pub dims: usize,
    /// Where they stand in a row.
    pub order: Order,
}

/// Where cosines and sines stand in a row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All cosines, then all sines.
    CosThenSin,
    /// `sin, cos, sin, cos, ...`
    SinCosPairs,
}

/// Finds the row of a token.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a, A> {
    values: &'a [A],
    dims: usize,
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
        &self.values[index * self.dims..(index + 1) * self.dims]
    }
}

impl Angles {
    /// Bytes of scratch that [`Angles::each`] needs for rows of `seq` tokens and values of `size` bytes.
    pub fn scratch(&self, seq: usize, size: usize) -> usize {
        self.fine_bytes() + seq * self.dims * size
    }

    fn fine_bytes(&self) -> usize {
        ((self.dims / 2 + FINE * self.dims) * size_of::<f64>()).next_multiple_of(ALIGN)
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
        let (low, span) = (low as usize, (high - low) as usize + 1);
        let (fine, values) = scratch.split_at_mut(self.fine_bytes());
        let (frequencies, fine) = scratch_of::<f64>(fine).split_at_mut(self.dims / 2);
        for (i, f) in frequencies.iter_mut().enumerate() {
            *f = self.theta.powf(-2.0 * i as f64 / self.dims as f64);
        }
        let values = &mut scratch_of::<A>(values)[..seq * self.dims];
        if span <= seq {
            self.fill_positions(
                pool,
                frequencies,
                fine,
                low,
                &mut values[..span * self.dims],
            );
            let table = Table {
                values,
                dims: self.dims,
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
                dims: self.dims,
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
        fine: &mut [f64],
        low: usize,
        values: &mut [A],
    ) {
        let rows = values.len() / self.dims;
        let shared = Shared::new(fine);
        parallel(pool, FINE.min(low + rows), self.dims * 8, |start, end| {
            for j in start..end {
                // SAFETY: each task has rows of its own.
                let row = unsafe { shared.slice(j * self.dims, self.dims) };
                for (pair, f) in row.chunks_exact_mut(2).zip(frequencies) {
                    let (sin, cos) = (j as f64 * f).sin_cos();
                    pair.copy_from_slice(&[cos, sin]);
                }
            }
        });
        let (fine, shared) = (&*fine, Shared::new(values));
        let (first, last) = (low / FINE, (low + rows).div_ceil(FINE));
        pool.run(last - first, |block| {
            let base = (first + block) * FINE;
            let (start, end) = (base.max(low), (base + FINE).min(low + rows));
            // SAFETY: each task has rows of its own.
            let out = unsafe { shared.slice((start - low) * self.dims, (end - start) * self.dims) };
            for (i, f) in frequencies.iter().enumerate() {
                let (sin, cos) = (base as f64 * f).sin_cos();
                for (row, p) in out.chunks_exact_mut(self.dims).zip(start..end) {
                    let at = (p - base) * self.dims + 2 * i;
                    self.put(row, i, sum([cos, sin], [fine[at], fine[at + 1]]));
                }
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
        let shared = Shared::new(values);
        parallel(pool, positions.len(), self.dims * 8, |start, end| {
            for t in start..end {
                let j = positions[t] as usize % FINE;
                let base = positions[t] as usize - j;
                // SAFETY: each task has rows of its own.
                let row = unsafe { shared.slice(t * self.dims, self.dims) };
                for (i, f) in frequencies.iter().enumerate() {
                    let (sin, cos) = (base as f64 * f).sin_cos();
                    let (fine_sin, fine_cos) = (j as f64 * f).sin_cos();
                    self.put(row, i, sum([cos, sin], [fine_cos, fine_sin]));
                }
            }
        });
    }

    #[inline(always)]
    fn put<A: Float>(&self, row: &mut [A], i: usize, [cos, sin]: [f64; 2]) {
        let (c, s) = match self.order {
            Order::CosThenSin => (i, self.dims / 2 + i),
            Order::SinCosPairs => (2 * i + 1, 2 * i),
        };
        row[c] = A::from_f64(cos);
        row[s] = A::from_f64(sin);
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
    fn a_row_depends_on_its_position_alone() {
        let near = rows(&[70, 71, 72, 73], 4, Order::SinCosPairs);
        let scattered = rows(&[72, 9_000, 70, 5], 2, Order::SinCosPairs);
        assert_eq!(near[2], scattered[0]);
        assert_eq!(near[0], scattered[2]);
    }
}
