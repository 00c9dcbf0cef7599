//! Metrics row by row, with a pyramid of minima, maxima and sums, so that any zoom draws the true extremes.
//!
//! A [`Track`] holds the horizontal coordinates (step, tokens, seconds) that several [`Series`] share by row number.
//! Level k of a pyramid summarises 4^(k+1) rows a bin; a query merges at most a few bins a level, so a chart of a
//! million rows costs the same as one of a thousand. Smoothed values live in [`super::ema`].
//!
//! Rows that were recorded before the screen opened need not be read: they stay in the run's index ([`super::recorded`]),
//! which has such a pyramid of its own, and the rows of this session follow them.

use engine::run_folder::index::Bucket;
use std::ops::Range;

use super::recorded::{Recorded, Rows};

/// Rows that one bin of a level takes from the level below.
const FAN_OUT: usize = 4;

/// What a range of rows holds: extremes and mean of the finite values, and how many were not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Least finite value, +inf where there is none.
    pub min: f32,
    /// Greatest finite value, -inf where there is none.
    pub max: f32,
    sum: f64,
    /// Number of finite values.
    pub num_finite: u32,
    /// Number of values that are NaN or infinite.
    pub num_nonfinite: u32,
}

impl From<Bucket> for Bin {
    fn from(bucket: Bucket) -> Self {
        Self {
            min: narrow(bucket.min),
            max: narrow(bucket.max),
            sum: bucket.sum(),
            num_finite: bucket.finite,
            num_nonfinite: bucket.nonfinite,
        }
    }
}

impl Bin {
    /// The bin of no rows.
    pub const EMPTY: Self = Self {
        min: f32::INFINITY,
        max: f32::NEG_INFINITY,
        sum: 0.0,
        num_finite: 0,
        num_nonfinite: 0,
    };

    fn of(value: f32) -> Self {
        if value.is_finite() {
            Self {
                min: value,
                max: value,
                sum: f64::from(value),
                num_finite: 1,
                num_nonfinite: 0,
            }
        } else {
            Self {
                num_nonfinite: 1,
                ..Self::EMPTY
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.num_finite += other.num_finite;
        self.num_nonfinite += other.num_nonfinite;
    }

    /// Least and greatest finite value, if there is any.
    pub fn extremes(&self) -> Option<(f32, f32)> {
        (self.num_finite > 0).then_some((self.min, self.max))
    }

    /// Mean of the finite values, if there is any.
    pub fn mean(&self) -> Option<f64> {
        (self.num_finite > 0).then(|| self.sum / f64::from(self.num_finite))
    }
}

/// One metric, one value a row, with its pyramid. Values are kept in f32 (7 digits); a finite value beyond f32's range
/// is kept as f32's greatest, so that only what the run itself called non-finite counts as such.
#[derive(Clone, Debug, Default)]
pub struct Series {
    recorded: Option<Recorded>,
    values: Vec<f32>,
    levels: Vec<Vec<Bin>>,
}

impl Series {
    /// A series that begins with rows of the run's index.
    pub fn behind(recorded: Option<Recorded>) -> Self {
        Self {
            recorded,
            ..Self::default()
        }
    }

    /// The rows that stand in the run's index.
    pub fn recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }

    fn num_recorded(&self) -> usize {
        self.recorded.as_ref().map_or(0, Recorded::len)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.num_recorded() + self.values.len()
    }

    /// The rows behind those of the index, in order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The value of a row, if there is one.
    pub fn at(&self, row: usize) -> Option<f32> {
        match row.checked_sub(self.num_recorded()) {
            Some(row) => self.values.get(row).copied(),
            None => self.recorded.as_ref().map(|recorded| recorded.at(row)),
        }
    }

    /// The last row's value, finite or not.
    pub fn last(&self) -> Option<f32> {
        self.at(self.len().checked_sub(1)?)
    }

    /// Appends one row.
    pub fn push(&mut self, value: f64) {
        let value = narrow(value);
        self.values.push(value);
        let bin = Bin::of(value);
        let mut index = self.values.len() - 1;
        let mut level = 0;
        // A level begins to exist once the level below has filled one of its bins.
        while index >= FAN_OUT - 1 || level < self.levels.len() {
            index /= FAN_OUT;
            if level == self.levels.len() {
                self.levels.push(Vec::new());
                self.rebuild_tail(level);
            } else if index == self.levels[level].len() {
                self.levels[level].push(bin);
            } else {
                self.levels[level][index].merge(&bin);
            }
            level += 1;
        }
    }

    /// Forgets all rows from number `len` on, as when a run is resumed from an earlier step.
    pub fn truncate(&mut self, len: usize) {
        let num_recorded = self.num_recorded();
        if let Some(recorded) = &mut self.recorded {
            recorded.truncate(len);
        }
        self.recorded = self.recorded.take().filter(|_| len > 0);
        let len = len.saturating_sub(num_recorded);
        if len >= self.values.len() {
            return;
        }
        self.values.truncate(len);
        let mut below = len;
        for level in 0..self.levels.len() {
            let num_bins = below.div_ceil(FAN_OUT);
            self.levels[level].truncate(num_bins.saturating_sub(1));
            self.rebuild_tail(level);
            below = num_bins;
        }
    }

    /// Appends to `level` the bins that the level below has and it lacks.
    fn rebuild_tail(&mut self, level: usize) {
        let first = self.levels[level].len();
        let below = if level == 0 {
            self.values.len()
        } else {
            self.levels[level - 1].len()
        };
        for index in first..below.div_ceil(FAN_OUT) {
            let mut bin = Bin::EMPTY;
            for child in index * FAN_OUT..((index + 1) * FAN_OUT).min(below) {
                if level == 0 {
                    bin.merge(&Bin::of(self.values[child]));
                } else {
                    bin.merge(&self.levels[level - 1][child]);
                }
            }
            self.levels[level].push(bin);
        }
    }

    /// The summary of a range of rows; rows beyond the end are left out.
    pub fn query(&self, rows: Range<usize>) -> Bin {
        let num_recorded = self.num_recorded();
        let mut bin = Bin::EMPTY;
        if let Some(recorded) = self.recorded.as_ref().filter(|_| rows.start < num_recorded) {
            bin = recorded.query(rows.clone());
        }
        if rows.end > num_recorded {
            let start = rows.start.saturating_sub(num_recorded);
            bin.merge(&self.query_values(start..rows.end - num_recorded));
        }
        bin
    }

    fn query_values(&self, rows: Range<usize>) -> Bin {
        let end = rows.end.min(self.values.len());
        let mut bin = Bin::EMPTY;
        let mut row = rows.start;
        while row < end {
            // The largest bin that starts here and ends within the range.
            let (mut size, mut level) = (1, None);
            for next in 0..self.levels.len() {
                let wider = size * FAN_OUT;
                if !row.is_multiple_of(wider) || row + wider > end {
                    break;
                }
                (size, level) = (wider, Some(next));
            }
            match level {
                None => bin.merge(&Bin::of(self.values[row])),
                Some(level) => bin.merge(&self.levels[level][row / size]),
            }
            row += size;
        }
        bin
    }
}

/// `values.partition_point(holds)` where the first `known` values are known to hold: looks in strides that double from there
/// on, since the next column's rows begin where the last one's end.
fn partition_behind<T>(values: &[T], known: usize, holds: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut stride) = (known.min(values.len()), 1);
    while let Some(value) = values.get(low + stride - 1) {
        if !holds(value) {
            break;
        }
        low += stride;
        stride *= 2;
    }
    let high = (low + stride - 1).min(values.len());
    low + values[low..high].partition_point(holds)
}

pub(super) fn narrow(value: f64) -> f32 {
    if value.is_finite() {
        value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    } else {
        value as f32
    }
}

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XUnit {
    /// Optimizer steps.
    #[default]
    Step,
    /// Training tokens seen so far.
    Tokens,
    /// Seconds spent training, pauses left out.
    Time,
}

impl XUnit {
    /// The next unit, in the order in which the key walks through them.
    pub fn next(self) -> Self {
        match self {
            Self::Step => Self::Tokens,
            Self::Tokens => Self::Time,
            Self::Time => Self::Step,
        }
    }
}

/// The horizontal coordinates of each row. All three never decrease from row to row.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// The rows before those below.
    recorded: Rows,
    /// What stands for a token of those rows, where it is not the token itself.
    per_token: Option<f64>,
    steps: Vec<u64>,
    tokens: Vec<u64>,
    seconds: Vec<f64>,
}

impl Track {
    /// A track that begins with rows of indexes.
    pub fn behind(recorded: Rows) -> Self {
        Self {
            recorded,
            ..Self::default()
        }
    }

    /// The same with so much of something else, such as arithmetic, where each of its recorded tokens would be.
    #[must_use]
    pub fn with_tokens_as(mut self, per_token: f64) -> Self {
        self.per_token = Some(per_token);
        self
    }

    fn num_recorded(&self) -> usize {
        self.recorded.len()
    }

    /// Recorded tokens in the unit of the track.
    fn converted(&self, tokens: u64) -> u64 {
        match self.per_token {
            Some(per_token) => (tokens as f64 * per_token) as u64,
            None => tokens,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.num_recorded() + self.steps.len()
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The step of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn step(&self, row: usize) -> u64 {
        let recorded = self.recorded.count("step", row);
        recorded.unwrap_or_else(|| self.steps[row - self.num_recorded()])
    }

    /// The tokens seen up to a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn tokens(&self, row: usize) -> u64 {
        let recorded = self.recorded.count("tokens", row);
        let recorded = recorded.map(|tokens| self.converted(tokens));
        recorded.unwrap_or_else(|| self.tokens[row - self.num_recorded()])
    }

    /// The last row, if there is one.
    pub fn last_row(&self) -> Option<usize> {
        self.len().checked_sub(1)
    }

    /// The step of the last row.
    pub fn last_step(&self) -> Option<u64> {
        self.last_row().map(|row| self.step(row))
    }

    /// Appends one row: its step, the tokens seen so far and the training seconds so far.
    pub fn push(&mut self, step: u64, tokens: u64, seconds: f64) {
        self.steps.push(step);
        self.tokens.push(tokens);
        self.seconds.push(seconds);
    }

    /// Number of rows whose step is less than `step`.
    pub fn rows_before_step(&self, step: u64) -> usize {
        let recorded = self.recorded.rows_where("step", |found| found < step);
        self.with_those_behind(recorded, || self.steps.partition_point(|&s| s < step))
    }

    /// The recorded rows that meet a condition, and where all do, those behind them that do.
    fn with_those_behind(&self, recorded: usize, behind: impl FnOnce() -> usize) -> usize {
        if recorded < self.num_recorded() {
            recorded
        } else {
            recorded + behind()
        }
    }

    /// Forgets all rows from number `len` on.
    pub fn truncate(&mut self, len: usize) {
        let behind = len.saturating_sub(self.num_recorded());
        self.recorded.truncate(len);
        self.steps.truncate(behind);
        self.tokens.truncate(behind);
        self.seconds.truncate(behind);
    }

    /// The horizontal coordinate of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn x(&self, row: usize, unit: XUnit) -> f64 {
        match unit {
            XUnit::Step => self.step(row) as f64,
            XUnit::Tokens => self.tokens(row) as f64,
            XUnit::Time => {
                let recorded = self.recorded.seconds(row);
                recorded.unwrap_or_else(|| self.seconds[row - self.num_recorded()])
            }
        }
    }

    /// Number of rows left of `x`.
    pub fn rows_before(&self, x: f64, unit: XUnit) -> usize {
        self.rows_before_from(x, unit, 0)
    }

    /// The same where the first `known` rows are known to be left of `x`, and the answer is not far behind them.
    fn rows_before_from(&self, x: f64, unit: XUnit, known: usize) -> usize {
        let num_recorded = self.num_recorded();
        let recorded = match unit {
            _ if known >= num_recorded => num_recorded,
            XUnit::Step => self.recorded.rows_where("step", |v| (v as f64) < x),
            XUnit::Tokens => self
                .recorded
                .rows_where("tokens", |v| (self.converted(v) as f64) < x),
            XUnit::Time => self.recorded.rows_within(x),
        };
        let known = known.saturating_sub(num_recorded);
        self.with_those_behind(recorded, || match unit {
            XUnit::Step => partition_behind(&self.steps, known, |&v| (v as f64) < x),
            XUnit::Tokens => partition_behind(&self.tokens, known, |&v| (v as f64) < x),
            XUnit::Time => partition_behind(&self.seconds, known, |&v| v < x),
        })
    }

    /// Number of rows that are not right of `x`.
    pub fn rows_up_to(&self, x: f64, unit: XUnit) -> usize {
        let before = self.rows_before(x, unit);
        let there = (before..self.len()).take_while(|&row| self.x(row, unit) <= x);
        before + there.count()
    }

    /// The horizontal coordinate of a step: its row's, or the next row's where that step has none.
    pub fn x_of_step(&self, step: u64, unit: XUnit) -> f64 {
        if unit == XUnit::Step {
            return step as f64;
        }
        match self.len() {
            0 => 0.0,
            len => self.x(self.rows_before_step(step).min(len - 1), unit),
        }
    }

    /// First and last horizontal coordinate, if there is any row.
    pub fn extent(&self, unit: XUnit) -> Option<(f64, f64)> {
        let last = self.len().checked_sub(1)?;
        Some((self.x(0, unit), self.x(last, unit)))
    }

    /// The rows that fall into each of `num_columns` equal columns of `[lo, hi]`. Every row of the window belongs to
    /// exactly one column.
    pub fn columns(
        &self,
        unit: XUnit,
        (lo, hi): (f64, f64),
        num_columns: usize,
    ) -> Vec<Range<usize>> {
        self.columns_from(unit, (lo, hi), num_columns, (0, None))
            .collect()
    }

    /// The same from column number `first` on, whose rows begin with row `start` where that is known.
    pub fn columns_from(
        &self,
        unit: XUnit,
        (lo, hi): (f64, f64),
        num_columns: usize,
        (first, start): (usize, Option<usize>),
    ) -> impl Iterator<Item = Range<usize>> {
        let width = (hi - lo) / num_columns.max(1) as f64;
        let mut start = start.unwrap_or_else(|| self.rows_before(lo, unit));
        (first..num_columns).map(move |column| {
            let end = if column + 1 == num_columns {
                // The right edge belongs to the last column.
                self.rows_up_to(hi, unit)
            } else {
                self.rows_before_from(lo + width * (column + 1) as f64, unit, start)
            };
            let rows = start..end.max(start);
            start = rows.end;
            rows
        })
    }
}
