//! metrics.idx: the figures of a run as columns, so that a run of millions of steps opens at once.
//!
//! Everything in it follows from events.jsonl, which stays the record. The engine appends a segment every few thousand
//! steps ([`IndexWriter`]); what lies behind the last segment, and what is missing, torn or of another record, readers take
//! from events.jsonl themselves and keep in memory ([`Index::open`] writes nothing). Rows that a later attempt trained
//! again are left out, as [`super::EventReader`] leaves them out.
//!
//! Each figure has a pyramid of buckets (16, 64, 256... rows; a spike of one step is in every one above it) and the states of
//! its bias-corrected moving averages at every 64th row, from which the smoothed value of any row follows exactly: neither
//! depends on what a zoom shows. The bytes are described in `layout.rs`.

mod bucket;
mod build;
mod layout;
mod line;
mod read;
mod superseded;
#[cfg(test)]
mod tests;
mod write;

pub use bucket::Bucket;
pub use layout::{BETAS, Table};
pub use line::LineKind;
pub use read::Column;
pub use superseded::{Superseded, SupersededRow};
pub use write::IndexWriter;

use super::{EVENTS, EventTail, RunError};
use crate::link::{Body, Eval, Event, Step};
use bucket::ABSENT;
use build::{Builder, Carry, ROWS, Sink};
use kernels::file_map::FileMap;
use layout::{Head, get, hash};
use line::Line;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Name of the file.
const INDEX: &str = "metrics.idx";
/// Segments from the end whose every byte is checked when the file is opened: those that a power cut may have left half on
/// the disk. Of all others the head and the end are.
const CHECKED: usize = 8;

/// A segment and where its bytes are.
#[derive(Debug)]
struct Segment {
    head: Head,
    /// Beginning in the file, or which of the built ones it is.
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Stored(usize),
    Built(usize),
}

/// The rows of a segment that count.
#[derive(Clone, Copy, Debug)]
struct Live {
    segment: usize,
    rows: usize,
    /// Number of its first row among all that count.
    first: usize,
}

/// A line of events.jsonl that is no step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// Where it begins.
    pub start: u64,
    /// What it holds.
    pub kind: LineKind,
    /// The step that it is about, where a later attempt can supersede it; else 0.
    pub step: u64,
}

/// The figures of a run; see the module's page.
#[derive(Debug)]
pub struct Index {
    record: PathBuf,
    stored: Option<FileMap>,
    built: Vec<Vec<u8>>,
    segments: Vec<Segment>,
    /// Of steps and of evaluations.
    live: [Vec<Live>; 2],
    max_step: u64,
    /// Buckets of 1, 4, 16... live segments, for each figure of [`Table::Steps`], then of [`Table::Evals`].
    upper: Vec<Vec<Vec<Bucket>>>,
}

impl Index {
    /// Opens the index of a run's folder and takes what it lacks from events.jsonl. Writes nothing.
    ///
    /// # Errors
    /// If events.jsonl cannot be opened. A bad index is none.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        Self::open_with(run, ROWS)
    }

    fn open_with(run: &Path, rows: usize) -> Result<Self, RunError> {
        let mut index = Self::stored(run);
        let carry = index.carry_at(u64::MAX);
        let mut builder = Builder::new(index.to(), carry, rows);
        read_on(run, &mut builder, &mut index)?;
        let sealed = builder.seal(&mut index);
        sealed.map_err(|error| RunError::disk(&run.join(INDEX), "read", error))?;
        index.pile_up();
        Ok(index)
    }

    /// What is on the disk and fits the record.
    fn stored(run: &Path) -> Self {
        let mut index = Self {
            record: run.join(EVENTS),
            stored: FileMap::open(run.join(INDEX)).ok(),
            built: Vec::new(),
            segments: Vec::new(),
            live: [Vec::new(), Vec::new()],
            max_step: 0,
            upper: Vec::new(),
        };
        let file = index.file();
        let mut heads: Vec<(usize, Head)> = Vec::new();
        let (mut at, mut from) = (0, 0);
        while let Some(head) = Head::decode(file, at).filter(|head| head.from == from) {
            let next = at + head.length as usize;
            from = head.to;
            heads.push((at, head));
            at = next;
        }
        let unchecked = heads.len().saturating_sub(CHECKED);
        let whole = heads[unchecked..]
            .iter()
            .take_while(|(at, head)| head.agrees(file, *at))
            .count();
        heads.truncate(unchecked + whole);
        if !heads.is_empty()
            && fits(&index.record, &heads[0].1, &heads[heads.len() - 1].1).is_none()
        {
            heads.clear();
        }
        for (at, head) in heads {
            index.push(head, Place::Stored(at));
        }
        index
    }

    fn file(&self) -> &[u8] {
        self.stored.as_deref().unwrap_or_default()
    }

    /// Byte of events.jsonl up to which it tells.
    pub fn to(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.head.to)
    }

    /// Bytes of the file that are whole segments of this record.
    fn stored_bytes(&self) -> u64 {
        let lengths = self.segments.iter().map(|segment| match segment.place {
            Place::Stored(_) => segment.head.length,
            Place::Built(_) => 0,
        });
        lengths.sum()
    }

    fn push(&mut self, head: Head, place: Place) {
        let (cut, max_step) = (head.cut, head.max_step);
        let rows = [Table::Steps, Table::Evals].map(|table| head.rows(table));
        self.segments.push(Segment { head, place });
        for (table, rows) in [Table::Steps, Table::Evals].into_iter().zip(rows) {
            if cut != u64::MAX {
                self.truncate(table, cut);
            }
            let first = self.len(table);
            if rows > 0 {
                let segment = self.segments.len() - 1;
                self.live[table as usize].push(Live {
                    segment,
                    rows,
                    first,
                });
            }
        }
        self.max_step = self.max_step.min(cut).max(max_step);
    }

    /// Leaves out the rows of steps behind `step`.
    fn truncate(&mut self, table: Table, step: u64) {
        let mut live = std::mem::take(&mut self.live[table as usize]);
        self.cut_off(table, &mut live, step);
        self.live[table as usize] = live;
    }

    fn bytes(&self, segment: usize) -> &[u8] {
        match self.segments[segment].place {
            Place::Stored(at) => &self.file()[at..],
            Place::Built(at) => &self.built[at],
        }
    }

    fn cell(&self, table: Table, live: Live, column: usize, row: usize) -> u64 {
        let at = self.segments[live.segment].head.cell(table, column, row);
        get(self.bytes(live.segment), at)
    }

    /// Number of a segment's rows whose cell meets a condition that all before them meet too.
    fn search(
        &self,
        table: Table,
        live: Live,
        column: usize,
        meets: impl Fn(u64) -> bool,
    ) -> usize {
        let (mut lo, mut hi) = (0, live.rows);
        while lo < hi {
            let mid = usize::midpoint(lo, hi);
            if meets(self.cell(table, live, column, mid)) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        lo
    }

    /// What carries over from the last row up to a step.
    fn carry_at(&self, step: u64) -> Carry {
        let rows = self.rows_before(Table::Steps, |found| found <= step);
        let max_step = self.max_step.min(step);
        let Some((live, row)) = rows
            .checked_sub(1)
            .and_then(|row| self.place(Table::Steps, row))
        else {
            return Carry {
                max_step,
                ..Carry::START
            };
        };
        Carry {
            last_step: Some(self.cell(Table::Steps, live, 0, row)),
            seconds: f64::from_bits(self.cell(Table::Steps, live, 4, row)),
            averages: std::array::from_fn(|figure| self.averages(live, figure, row)),
            max_step,
        }
    }

    /// Number of rows that count.
    pub fn len(&self, table: Table) -> usize {
        let last = self.live[table as usize].last();
        last.map_or(0, |live| live.first + live.rows)
    }

    /// Number of rows whose step meets a condition that all before them meet too.
    fn rows_before(&self, table: Table, meets: impl Fn(u64) -> bool) -> usize {
        self.rows_where(table, 0, meets)
    }

    fn rows_where(&self, table: Table, column: usize, meets: impl Fn(u64) -> bool) -> usize {
        let all = &self.live[table as usize];
        let next = all.partition_point(|live| {
            let first = self.segments[live.segment].head.first;
            // What the head says costs no page of the file.
            meets(match (table, column) {
                (Table::Steps, 0) => first[0],
                (Table::Steps, 3) => first[1],
                (Table::Steps, 4) => first[2],
                _ => self.cell(table, *live, column, 0),
            })
        });
        let Some(&live) = next.checked_sub(1).and_then(|at| all.get(at)) else {
            return 0;
        };
        live.first + self.search(table, live, column, meets)
    }

    /// The rows of steps `from` to `to`, both included.
    pub fn rows_of_steps(&self, table: Table, from: u64, to: u64) -> Range<usize> {
        let start = self.rows_before(table, |step| step < from);
        start..self.rows_before(table, |step| step <= to).max(start)
    }

    /// A column by its name: `loss`, `lr`, ..., `validation_loss`, ...; and `step`, `attempt`, `time` (milliseconds since
    /// 1970), `tokens`, `seconds` (of training so far), `validation_step`, ...
    pub fn column(&self, name: &str) -> Option<Column<'_>> {
        [Table::Steps, Table::Evals].into_iter().find_map(|table| {
            let column = table.names().iter().position(|known| *known == name)?;
            Some(Column::new(self, table, column))
        })
    }

    /// A figure over the steps `from` to `to` (both included) in `columns` equal parts: every row is in exactly one of them.
    /// None if there is no such figure.
    pub fn buckets(&self, name: &str, from: u64, to: u64, columns: usize) -> Option<Vec<Bucket>> {
        let figure = self.column(name)?;
        let table = figure.table();
        let span = u128::from(to.saturating_sub(from)) + 1;
        let edge = |i: usize| {
            let offset = span * i as u128 / columns.max(1) as u128;
            let step = u128::from(from) + offset;
            self.rows_before(table, |found| u128::from(found) < step)
        };
        let mut start = edge(0);
        let parts = (1..=columns).map(|i| {
            let end = edge(i);
            let rows = start..end;
            start = end;
            figure.query(rows)
        });
        Some(parts.collect())
    }

    /// The lines of events.jsonl that are no steps and count, in their order.
    pub fn lines(&self) -> Vec<LinePlace> {
        let mut least = u64::MAX;
        let mut parts: Vec<Vec<LinePlace>> = Vec::new();
        for (number, segment) in self.segments.iter().enumerate().rev() {
            let bytes = self.bytes(number);
            let all = (0..segment.head.lines as usize).map(|i| {
                let [place, step] = segment.head.line(i).map(|at| get(bytes, at));
                LinePlace {
                    start: place & (u64::MAX >> 8),
                    kind: LineKind::from_code(place >> 56),
                    step,
                }
            });
            let counts = |line: &LinePlace| !line.kind.is_superseded() || line.step <= least;
            parts.push(all.filter(counts).collect());
            least = least.min(segment.head.cut);
        }
        parts.reverse();
        parts.concat()
    }

    /// The events at some lines, in their order. What is no event is left out.
    ///
    /// # Errors
    /// If events.jsonl cannot be read.
    pub fn events(&self, lines: &[LinePlace]) -> Result<Vec<Event>, RunError> {
        let fault = |error| RunError::disk(&self.record, "read", error);
        let mut reader =
            BufReader::with_capacity(1 << 14, File::open(&self.record).map_err(fault)?);
        let (mut at, mut text) = (0_u64, Vec::new());
        let mut found = Vec::new();
        for line in lines {
            let distance = line.start.cast_signed() - at.cast_signed();
            reader.seek_relative(distance).map_err(fault)?;
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(fault)?;
            at = line.start + read as u64;
            found.extend(serde_json::from_slice::<Event>(&text));
        }
        Ok(found)
    }

    /// Number of the last step that counts.
    pub fn last_step(&self) -> Option<u64> {
        let row = self.len(Table::Steps).checked_sub(1)?;
        Some(Column::new(self, Table::Steps, 0).bits(row))
    }

    /// The last step that counts, as an event.
    pub fn last_step_event(&self) -> Option<Event> {
        let row = self.len(Table::Steps).checked_sub(1)?;
        let cell = |column: usize| Column::new(self, Table::Steps, column).bits(row);
        let figure = |column: usize| f64::from_bits(cell(column));
        let body = Body::Step(Step {
            step: cell(0),
            attempt: cell(1) as u32,
            loss: figure(5),
            lr: figure(6),
            grad_norm: figure(7),
            clipped: figure(8) != 0.0,
            tokens: cell(3),
            tokens_per_second: figure(9),
            step_seconds: figure(10),
            data_wait_seconds: figure(11),
        });
        let time = clock(cell(2));
        Some(Event { body, time })
    }

    /// All evaluations that count, as events: for as many of them as there are [`LineKind::Eval`] lines, and in their order.
    pub fn eval_events(&self) -> impl Iterator<Item = Event> {
        self.evals().enumerate().map(|(row, eval)| {
            let milliseconds = Column::new(self, Table::Evals, 1).count(row);
            Event {
                body: Body::Eval(eval),
                time: clock(milliseconds),
            }
        })
    }

    /// All evaluations that count.
    pub fn evals(&self) -> impl Iterator<Item = Eval> {
        let cell = |row: usize, column: usize| Column::new(self, Table::Evals, column).bits(row);
        (0..self.len(Table::Evals)).map(move |row| {
            let bits = cell(row, 6);
            Eval {
                step: cell(row, 0),
                split: "validation".to_owned(),
                loss: f64::from_bits(cell(row, 4)),
                perplexity: f64::from_bits(cell(row, 5)),
                bits_per_byte: (bits != ABSENT).then(|| f64::from_bits(bits)),
                tokens: cell(row, 2),
                best: cell(row, 3) != 0,
            }
        })
    }
}

impl Sink for Index {
    fn put(&mut self, segment: Vec<u8>) -> io::Result<()> {
        let head = Head::decode(&segment, 0).ok_or(io::ErrorKind::InvalidData)?;
        self.built.push(segment);
        self.push(head, Place::Built(self.built.len() - 1));
        Ok(())
    }

    fn carry_at(&mut self, step: u64) -> io::Result<Carry> {
        Ok(Self::carry_at(self, step))
    }
}

/// Takes what stands behind the builder's last line in events.jsonl.
fn read_on(run: &Path, builder: &mut Builder, sink: &mut impl Sink) -> Result<(), RunError> {
    let mut tail = EventTail::open_at(&run.join(EVENTS), builder.to())?;
    loop {
        let Some(text) = tail.poll_line() else {
            return Ok(());
        };
        let text = text.strip_suffix(b"\n").unwrap_or(text).to_vec();
        let line = Line::of_bytes(&text);
        let taken = builder.take(sink, tail.start(), &text, &line);
        taken.map_err(|error| RunError::disk(&run.join(INDEX), "write", error))?;
    }
}

/// A time of the index as events have it.
pub(crate) fn clock(milliseconds: u64) -> String {
    let time = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Whether segments from `first` to `last` are of this record: its first line and the last one that they cover are those
/// that they know.
fn fits(record: &Path, first: &Head, last: &Head) -> Option<()> {
    let mut file = File::open(record).ok()?;
    let length = file.metadata().ok()?.len();
    if last.to > length || last.last_line >= last.to {
        return None;
    }
    file.seek(SeekFrom::Start(last.last_line)).ok()?;
    let mut text = vec![0; (last.to - last.last_line) as usize];
    file.read_exact(&mut text).ok()?;
    let same = text.pop() == Some(b'\n') && hash(&text) == last.last_hash;
    file.seek(SeekFrom::Start(0)).ok()?;
    text.clear();
    BufReader::new(file).read_until(b'\n', &mut text).ok()?;
    (same && text.pop() == Some(b'\n') && hash(&text) == first.first_hash).then_some(())
}
