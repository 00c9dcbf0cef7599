//! Columns: cells, buckets and smoothed values by row.

use super::bucket::{Averages, Bucket, FAN_OUT, FINEST};
use super::layout::{BETAS, STRIDE, Table, bins, get};
use super::{Index, Live};
use std::ops::Range;

/// One column of an [`Index`], its rows numbered from 0.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    index: &'a Index,
    table: Table,
    number: usize,
}

impl<'a> Column<'a> {
    pub(super) fn new(index: &'a Index, table: Table, number: usize) -> Self {
        Self {
            index,
            table,
            number,
        }
    }

    /// What its rows are of.
    pub fn table(self) -> Table {
        self.table
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.table.names()[self.number]
    }

    /// Number of rows.
    pub fn len(self) -> usize {
        self.index.len(self.table)
    }

    /// Whether there is no row.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether its cells are whole numbers ([`Self::count`]), not figures ([`Self::get`]).
    pub fn is_count(self) -> bool {
        self.number < self.table.counts() && !(self.table == Table::Steps && self.number == 4)
    }

    /// A cell's bits.
    ///
    /// # Panics
    /// If there is no such row.
    pub(super) fn bits(self, row: usize) -> u64 {
        let (live, inner) = self.index.place(self.table, row).expect("a row");
        self.index.cell(self.table, live, self.number, inner)
    }

    /// A cell of a column of counts.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn count(self, row: usize) -> u64 {
        self.bits(row)
    }

    /// A cell of a column of figures; NaN where the figure is absent.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(self, row: usize) -> f64 {
        f64::from_bits(self.bits(row))
    }

    /// Whether a cell holds a figure at all.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn is_present(self, row: usize) -> bool {
        self.bits(row) != super::ABSENT
    }

    /// Cells in order, segment by segment.
    fn cells(self, rows: Range<usize>) -> impl Iterator<Item = u64> + 'a {
        let all = &self.index.live[self.table as usize];
        let first = all.partition_point(|live| live.first + live.rows <= rows.start);
        all[first..]
            .iter()
            .take_while({
                let end = rows.end;
                move |live| live.first < end
            })
            .flat_map(move |live| {
                let inner = rows.start.saturating_sub(live.first)
                    ..(rows.end.saturating_sub(live.first)).min(live.rows);
                let head = &self.index.segments[live.segment].head;
                let at = head.cell(self.table, self.number, inner.start);
                let bytes = &self.index.bytes(live.segment)[at..at + 8 * inner.len()];
                (0..inner.len()).map(move |i| get(bytes, 8 * i))
            })
    }

    /// Some rows of a column of counts.
    pub fn counts(self, rows: Range<usize>) -> impl Iterator<Item = u64> + 'a {
        self.cells(rows)
    }

    /// Some rows of a column of figures.
    pub fn values(self, rows: Range<usize>) -> impl Iterator<Item = f64> + 'a {
        self.cells(rows).map(f64::from_bits)
    }

    /// Number of rows whose cell meets a condition; where one does not, none behind it may. For `step`, `tokens`, `seconds`.
    pub fn partition(self, meets: impl Fn(u64) -> bool) -> usize {
        self.index.rows_where(self.table, self.number, meets)
    }

    /// The figure that it is, if it is one.
    fn figure(self) -> Option<usize> {
        self.number.checked_sub(self.table.counts())
    }

    /// What a range of rows holds; rows beyond the end are left out. Empty for a column of counts.
    pub fn query(self, rows: Range<usize>) -> Bucket {
        let mut bucket = Bucket::EMPTY;
        let Some(figure) = self.figure() else {
            return bucket;
        };
        let all = &self.index.live[self.table as usize];
        let end = rows.end.min(self.len());
        let mut row = rows.start;
        let mut at = all.partition_point(|live| live.first + live.rows <= row);
        while row < end {
            let live = all[at];
            if row == live.first && live.first + live.rows <= end {
                // Whole segments, as many at once as the pile has a bucket for.
                let (whole, count) = self.index.pile(self.table, figure, at, end);
                bucket.merge(&whole);
                at += count;
                row = all.get(at).map_or(end, |next| next.first);
                continue;
            }
            let inner = row - live.first..end.min(live.first + live.rows) - live.first;
            bucket.merge(&self.within(live, figure, inner));
            row = live.first + live.rows;
            at += 1;
        }
        bucket
    }

    /// A range of one segment's rows.
    fn within(self, live: Live, figure: usize, rows: Range<usize>) -> Bucket {
        let bytes = self.index.bytes(live.segment);
        let head = &self.index.segments[live.segment].head;
        let num_rows = head.rows(self.table);
        let mut bucket = Bucket::EMPTY;
        let mut row = rows.start;
        while row < rows.end {
            let mut widest = None;
            let mut size = FINEST;
            for level in 0.. {
                let fits = row.is_multiple_of(size) && row + size <= rows.end;
                if !fits || row / size >= bins(num_rows, level) {
                    break;
                }
                widest = Some((level, size));
                size *= FAN_OUT;
            }
            if let Some((level, size)) = widest {
                let at = head.bin(self.table, figure, level, row / size);
                bucket.merge(&Bucket::read(bytes, at));
                row += size;
            } else {
                bucket.take(get(bytes, head.cell(self.table, self.number, row)));
                row += 1;
            }
        }
        bucket
    }

    /// The state of the bias-corrected moving average of a figure of steps after a row: average and weight, to be divided
    /// (see [`Self::smoothed`]) or to be gone on with. None for decays that are not in [`BETAS`] and for other columns.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn average(self, beta: f64, row: usize) -> Option<[f64; 2]> {
        let which = BETAS.iter().position(|known| *known == beta)?;
        let figure = self.figure().filter(|_| self.table == Table::Steps)?;
        let (live, inner) = self.index.place(self.table, row).expect("a row");
        Some(self.index.average(live, figure, which, inner))
    }

    /// The bias-corrected moving average of a figure of steps after a row; none as for [`Self::average`], and as long as
    /// no row was finite.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn smoothed(self, beta: f64, row: usize) -> Option<f64> {
        let [average, weight] = self.average(beta, row)?;
        (weight > 0.0).then(|| average / weight)
    }
}

impl Index {
    /// The segment that holds a row, and its number there.
    pub(super) fn place(&self, table: Table, row: usize) -> Option<(Live, usize)> {
        let all = &self.live[table as usize];
        let at = all.partition_point(|live| live.first + live.rows <= row);
        let live = *all.get(at)?;
        Some((live, row - live.first))
    }

    /// Average and weight of one of the moving averages of a figure of steps after a row of a segment: what a chart asks for
    /// column by column.
    fn average(&self, live: Live, figure: usize, which: usize, row: usize) -> [f64; 2] {
        let bytes = self.bytes(live.segment);
        let head = &self.segments[live.segment].head;
        let beta = BETAS[which];
        let at = head.state(figure, row / STRIDE) + 16 * which;
        let [mut average, mut weight] = [at, at + 8].map(|at| f64::from_bits(get(bytes, at)));
        let first = row / STRIDE * STRIDE;
        let column = Table::Steps.counts() + figure;
        let cells = head.cell(Table::Steps, column, first);
        for number in 0..=row - first {
            let value = f64::from_bits(get(bytes, cells + 8 * number));
            if value.is_finite() {
                average = beta * average + (1.0 - beta) * value;
                weight = beta * weight + (1.0 - beta);
            }
        }
        [average, weight]
    }

    /// All moving averages of a figure of steps after a row of a segment.
    pub(super) fn averages(&self, live: Live, figure: usize, row: usize) -> Averages {
        let bytes = self.bytes(live.segment);
        let head = &self.segments[live.segment].head;
        let mut at = head.state(figure, row / STRIDE);
        let mut averages = Averages::NEW;
        for x in averages.0.iter_mut().flatten() {
            *x = f64::from_bits(get(bytes, at));
            at += 8;
        }
        let column = Table::Steps.counts() + figure;
        for before in row / STRIDE * STRIDE..=row {
            averages.take(f64::from_bits(self.cell(
                Table::Steps,
                live,
                column,
                before,
            )));
        }
        averages
    }

    /// Joins the segments' buckets into buckets of 4, 16... segments.
    pub(super) fn pile_up(&mut self) {
        let mut upper = Vec::new();
        for table in [Table::Steps, Table::Evals] {
            for figure in 0..table.figures() {
                let column = Column::new(self, table, table.counts() + figure);
                let bucket = |live: &Live| {
                    let head = &self.segments[live.segment].head;
                    if live.rows == head.rows(table) {
                        let before = match table {
                            Table::Steps => 0,
                            Table::Evals => Table::Steps.figures(),
                        };
                        head.totals[before + figure]
                    } else {
                        column.within(*live, figure, 0..live.rows)
                    }
                };
                let mut levels: Vec<Vec<Bucket>> =
                    vec![self.live[table as usize].iter().map(bucket).collect()];
                while levels[levels.len() - 1].len() >= FAN_OUT {
                    let below = &levels[levels.len() - 1];
                    let wider = below.chunks_exact(FAN_OUT).map(Bucket::joined);
                    levels.push(wider.collect());
                }
                upper.push(levels);
            }
        }
        self.upper = upper;
    }

    /// The widest bucket of whole segments from number `at` on that ends at row `end` or before, and how many they are.
    fn pile(&self, table: Table, figure: usize, at: usize, end: usize) -> (Bucket, usize) {
        let before = match table {
            Table::Steps => 0,
            Table::Evals => Table::Steps.figures(),
        };
        let levels = &self.upper[before + figure];
        let all = &self.live[table as usize];
        let (mut found, mut size) = ((levels[0][at], 1), FAN_OUT);
        for level in &levels[1..] {
            let fits = at.is_multiple_of(size)
                && at / size < level.len()
                && all[at + size - 1].first + all[at + size - 1].rows <= end;
            if !fits {
                break;
            }
            found = (level[at / size], size);
            size *= FAN_OUT;
        }
        found
    }
}
