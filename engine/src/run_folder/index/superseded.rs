//! Rows that a later attempt trained again: left out of the columns, and still in the segments.

use super::layout::{STEP_FIGURES, Table};
use super::{Index, Live};
use std::ops::Range;

/// The rows that one attempt left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Superseded {
    /// The last step that still counts.
    pub after: u64,
    /// Means over neighbouring rows, in order.
    pub rows: Vec<SupersededRow>,
}

/// Some neighbouring rows: where the last of them stood, and their mean figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SupersededRow {
    /// The step.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Means of the finite values, in the order of [`crate::link::Step::FIGURES`]; NaN where none is finite.
    pub figures: [f64; STEP_FIGURES],
}

impl Index {
    /// What attempts left behind that went on from an earlier step, the earliest first: of each the rows behind that step,
    /// as at most `most` means.
    pub fn superseded(&self, most: usize) -> Vec<Superseded> {
        let mut live: Vec<Live> = Vec::new();
        let mut found = Vec::new();
        for (number, segment) in self.segments.iter().enumerate() {
            let cut = segment.head.cut;
            if cut != u64::MAX {
                let parts = self.cut_off(Table::Steps, &mut live, cut);
                if !parts.is_empty() {
                    let rows = self.thinned(&parts, most);
                    found.push(Superseded { after: cut, rows });
                }
            }
            let rows = segment.head.rows(Table::Steps);
            if rows > 0 {
                live.push(Live {
                    segment: number,
                    rows,
                    first: 0,
                });
            }
        }
        found
    }

    /// Takes the rows behind `step` away. Returns the segments and rows, in order.
    pub(super) fn cut_off(
        &self,
        table: Table,
        live: &mut Vec<Live>,
        step: u64,
    ) -> Vec<(Live, Range<usize>)> {
        let mut parts = Vec::new();
        while let Some(last) = live.last_mut() {
            let rows = self.search(table, *last, 0, |found| found <= step);
            if rows == last.rows {
                break;
            }
            parts.push((*last, rows..last.rows));
            if rows > 0 {
                last.rows = rows;
                break;
            }
            live.pop();
        }
        parts.reverse();
        parts
    }

    /// Means over equally many neighbouring rows, at most `most` of them.
    fn thinned(&self, parts: &[(Live, Range<usize>)], most: usize) -> Vec<SupersededRow> {
        let len: usize = parts.iter().map(|(_, rows)| rows.len()).sum();
        let stride = len.div_ceil(most.max(1));
        let mut found = Vec::new();
        let column = |name| {
            let names = Table::Steps.names().iter();
            names.take_while(|have| **have != name).count()
        };
        let (step, tokens, seconds) = (column("step"), column("tokens"), column("seconds"));
        let (mut sums, mut nums) = ([0.0; STEP_FIGURES], [0.0; STEP_FIGURES]);
        let all = parts
            .iter()
            .flat_map(|(live, rows)| rows.clone().map(move |row| (*live, row)));
        for (number, (live, row)) in (1..).zip(all) {
            let cell = |column| self.cell(Table::Steps, live, column, row);
            for (figure, (sum, num)) in sums.iter_mut().zip(&mut nums).enumerate() {
                let value = f64::from_bits(cell(Table::Steps.counts() + figure));
                if value.is_finite() {
                    *sum += value;
                    *num += 1.0;
                }
            }
            if number % stride == 0 || number == len {
                found.push(SupersededRow {
                    step: cell(step),
                    tokens: cell(tokens),
                    seconds: f64::from_bits(cell(seconds)),
                    // Nothing finite: 0 / 0 is NaN.
                    figures: std::array::from_fn(|figure| sums[figure] / nums[figure]),
                });
                (sums, nums) = ([0.0; STEP_FIGURES], [0.0; STEP_FIGURES]);
            }
        }
        found
    }
}
