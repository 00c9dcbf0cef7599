//! Rows that stay on the disk: the columns of run indexes, memory-mapped, as the first rows of a chart.
//!
//! A run's own index is usually all of them. A fork's rows are those of its forebears, each up to where it was left, and
//! then its own: several indexes one behind the other, read as one. Nothing is copied, so a run of ten million steps costs
//! what one of ten does. The rows of this session follow in [`super::series`].

use engine::run_folder::Index;
use engine::run_folder::index::{Bucket, Column, Table};
use std::ops::Range;
use std::sync::Arc;

use super::series::{Bin, narrow};

/// Below this weight what was averaged before no longer shows in a moving average kept in f64.
const FORGOTTEN: f64 = 1e-18;

/// The first rows of one index.
#[derive(Clone, Debug)]
struct Part {
    index: Arc<Index>,
    /// Number of its first row among all.
    first: usize,
    len: usize,
    /// Seconds of training before its first row.
    seconds: f64,
}

impl Part {
    fn column(&self, name: &str) -> Column<'_> {
        self.index.column(name).expect("a column of steps")
    }

    fn seconds_at(&self, row: usize) -> f64 {
        self.seconds + f64::from_bits(self.column("seconds").count(row))
    }
}

/// Rows of one or more indexes; see the module's page.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    parts: Vec<Part>,
    /// Seconds of training before the first row.
    seconds: f64,
}

impl Rows {
    /// No rows yet, `seconds` of training before them.
    pub fn after(seconds: f64) -> Self {
        Self {
            parts: Vec::new(),
            seconds,
        }
    }

    /// The same rows, and behind them those of an index up to step `last`.
    #[must_use]
    pub fn then(mut self, index: &Arc<Index>, last: u64) -> Self {
        let len = index.rows_of_steps(Table::Steps, 0, last).len();
        if len > 0 {
            self.parts.push(Part {
                index: Arc::clone(index),
                first: self.len(),
                len,
                seconds: self.elapsed(),
            });
        }
        self
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.first + part.len)
    }

    /// Seconds of training up to the last row.
    pub fn elapsed(&self) -> f64 {
        let last = self.parts.last();
        last.map_or(self.seconds, |part| part.seconds_at(part.len - 1))
    }

    /// Forgets all rows from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.parts.retain(|part| part.first < len);
        if let Some(last) = self.parts.last_mut() {
            last.len = last.len.min(len - last.first);
        }
    }

    /// Where a row stands, if it is one of these.
    fn place(&self, row: usize) -> Option<(usize, usize)> {
        let at = self.parts.iter().rposition(|part| part.first <= row)?;
        let inner = row - self.parts[at].first;
        (inner < self.parts[at].len).then_some((at, inner))
    }

    /// A cell of a column of counts, if the row is one of these.
    pub fn count(&self, name: &str, row: usize) -> Option<u64> {
        let (at, inner) = self.place(row)?;
        Some(self.parts[at].column(name).count(inner))
    }

    /// Seconds of training up to a row, if it is one of these.
    pub fn seconds(&self, row: usize) -> Option<f64> {
        let (at, inner) = self.place(row)?;
        Some(self.parts[at].seconds_at(inner))
    }

    /// Number of rows whose cell meets a condition that none meets behind one that does not.
    pub fn rows_where(&self, name: &str, meets: impl Fn(u64) -> bool) -> usize {
        self.partition(name, |_, cell| meets(cell))
    }

    /// Number of rows before `seconds` of training.
    pub fn rows_within(&self, seconds: f64) -> usize {
        let before = |part: &Part, cell| part.seconds + f64::from_bits(cell) < seconds;
        self.partition("seconds", before)
    }

    fn partition(&self, name: &str, meets: impl Fn(&Part, u64) -> bool) -> usize {
        for part in &self.parts {
            let rows = part.column(name).partition(|cell| meets(part, cell));
            if rows < part.len {
                return part.first + rows;
            }
        }
        self.len()
    }
}

/// A metric of such rows.
#[derive(Clone, Debug)]
pub struct Recorded {
    rows: Rows,
    name: &'static str,
}

impl Recorded {
    /// A column of steps. None if there is no row.
    pub fn new(rows: &Rows, name: &'static str) -> Option<Self> {
        let rows = rows.clone();
        (rows.len() > 0).then_some(Self { rows, name })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets all rows from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.rows.truncate(len);
    }

    /// The value of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn at(&self, row: usize) -> f32 {
        let (at, inner) = self.rows.place(row).expect("a row");
        narrow(self.rows.parts[at].column(self.name).get(inner))
    }

    /// The summary of a range of rows; rows beyond the end are left out.
    pub fn query(&self, rows: Range<usize>) -> Bin {
        let mut bucket = Bucket::EMPTY;
        for part in &self.rows.parts {
            let end = rows.end.min(part.first + part.len);
            let start = rows.start.max(part.first);
            if start < end {
                let inner = start - part.first..end - part.first;
                bucket.merge(&part.column(self.name).query(inner));
            }
        }
        Bin::from(bucket)
    }

    /// The moving average after a row; NaN as long as no row was finite.
    pub fn smoothed(&self, beta: f64, row: usize) -> f32 {
        match self.state(beta, row) {
            Some([average, weight]) if weight > 0.0 => narrow(average / weight),
            _ => f32::NAN,
        }
    }

    /// Average and weight of the moving average after the last row, to go on with.
    pub fn average(&self, beta: f64) -> [f64; 2] {
        let last = self.len().checked_sub(1);
        last.and_then(|row| self.state(beta, row))
            .unwrap_or_default()
    }

    /// Average and weight after a row. An average is linear in what it begins with: behind n finite rows of its own index
    /// it is theirs and `beta^n` times that of the rows before.
    fn state(&self, beta: f64, row: usize) -> Option<[f64; 2]> {
        let (at, inner) = self.rows.place(row)?;
        let (mut sum, mut decay) = ([0.0; 2], 1.0);
        for (number, part) in self.rows.parts[..=at].iter().enumerate().rev() {
            let last = if number == at { inner } else { part.len - 1 };
            let column = part.column(self.name);
            let own = column.average(beta, last)?;
            sum = [0, 1].map(|i| sum[i] + decay * own[i]);
            if number > 0 {
                decay *= beta.powf(f64::from(column.query(0..last + 1).finite));
                if decay < FORGOTTEN {
                    break;
                }
            }
        }
        Some(sum)
    }
}
