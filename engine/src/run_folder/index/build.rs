//! From lines to segments.

use super::bucket::Averages;
use super::layout::{Head, Parts, Rows, STEP_FIGURES, STRIDE, Table, hash};
use super::line::{Line, LineKind};
use std::io;

/// Rows of steps in a full segment.
pub(super) const ROWS: usize = 4096;
/// A segment ends here too, so that what a reader has to read from events.jsonl itself stays short.
const MOST_BYTES: u64 = 8 << 20;

/// What carries over from row to row of steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Carry {
    /// Step of the last row.
    pub(super) last_step: Option<u64>,
    /// Seconds of training up to it.
    pub(super) seconds: f64,
    /// Moving averages after it, one a figure.
    pub(super) averages: [Averages; STEP_FIGURES],
    /// Greatest step that any line in force tells of.
    pub(super) max_step: u64,
}

impl Carry {
    pub(super) const START: Self = Self {
        last_step: None,
        seconds: 0.0,
        averages: [Averages::NEW; STEP_FIGURES],
        max_step: 0,
    };
}

/// Where segments go.
pub(super) trait Sink {
    /// Takes a segment.
    fn put(&mut self, segment: Vec<u8>) -> io::Result<()>;
    /// What carries over from the rows of all segments up to a step.
    fn carry_at(&mut self, step: u64) -> io::Result<Carry>;
}

/// The rows behind the last segment.
#[derive(Debug)]
pub(super) struct Builder {
    rows: usize,
    from: u64,
    to: u64,
    first_hash: u64,
    last_line: u64,
    last: Vec<u8>,
    cut: u64,
    max_step: u64,
    steps: Rows,
    evals: Rows,
    lines: Vec<[u64; 2]>,
    carry: Carry,
}

impl Builder {
    /// A builder that goes on at byte `from` of events.jsonl. `rows` is the size of its segments.
    pub(super) fn new(from: u64, carry: Carry, rows: usize) -> Self {
        Self {
            rows,
            from,
            to: from,
            first_hash: 0,
            last_line: from,
            last: Vec::new(),
            cut: u64::MAX,
            max_step: 0,
            steps: Rows::new(Table::Steps),
            evals: Rows::new(Table::Evals),
            lines: Vec::new(),
            carry,
        }
    }

    /// The byte of events.jsonl up to which lines were taken.
    pub(super) fn to(&self) -> u64 {
        self.to
    }

    /// Takes the line (without its line feed) that begins at byte `start`.
    pub(super) fn take(
        &mut self,
        sink: &mut impl Sink,
        start: u64,
        text: &[u8],
        line: &Line,
    ) -> io::Result<()> {
        match line {
            Line::Takeover(step) => self.cut(sink, *step)?,
            // Trained again without a word in between: a line was lost.
            Line::Step { step, .. } if self.carry.last_step.is_some_and(|last| *step <= last) => {
                self.cut(sink, step.saturating_sub(1))?;
            }
            _ => {}
        }
        if self.to == self.from {
            self.first_hash = hash(text);
        }
        self.last_line = start;
        self.last.clear();
        self.last.extend_from_slice(text);
        self.to = start + text.len() as u64 + 1;
        match line {
            Line::Step {
                step,
                tokens,
                attempt,
                time,
                metrics,
            } => {
                let seconds = f64::from_bits(metrics[5]);
                self.carry.seconds += if seconds.is_finite() {
                    seconds.max(0.0)
                } else {
                    0.0
                };
                let counts = [
                    *step,
                    *attempt,
                    *time,
                    *tokens,
                    self.carry.seconds.to_bits(),
                ];
                let on_stride = self.steps.len().is_multiple_of(STRIDE);
                for (i, bits) in metrics.iter().enumerate() {
                    let averages = &mut self.carry.averages[i];
                    if on_stride {
                        self.steps.states[i].push(*averages);
                    }
                    averages.take(f64::from_bits(*bits));
                }
                let row: Vec<u64> = counts.iter().chain(metrics).copied().collect();
                self.steps.push(&row);
                self.carry.last_step = Some(*step);
                self.reach(*step);
            }
            Line::Eval {
                step,
                time,
                tokens,
                best,
                metrics,
            } => {
                let counts = [*step, *time, *tokens, *best];
                let row: Vec<u64> = counts.iter().chain(metrics).copied().collect();
                self.evals.push(&row);
                self.list(LineKind::Eval, start, *step);
            }
            Line::Takeover(_) => self.list(LineKind::Other, start, 0),
            Line::Listed(kind, step) => self.list(*kind, start, *step),
            Line::Nothing => {}
        }
        if self.steps.len() >= self.rows
            || self.evals.len() >= self.rows
            || self.to - self.from >= MOST_BYTES
        {
            self.seal(sink)?;
        }
        Ok(())
    }

    fn list(&mut self, kind: LineKind, start: u64, step: u64) {
        self.lines.push([start | (kind as u64) << 56, step]);
        if kind.is_superseded() {
            self.reach(step);
        }
    }

    fn reach(&mut self, step: u64) {
        self.max_step = self.max_step.max(step);
        self.carry.max_step = self.carry.max_step.max(step);
    }

    /// From the next line on, what was said of later steps than `step` no longer counts.
    fn cut(&mut self, sink: &mut impl Sink, step: u64) -> io::Result<()> {
        if step >= self.carry.max_step {
            return Ok(());
        }
        self.seal(sink)?;
        self.cut = step;
        if self.carry.last_step.is_some_and(|last| last > step) {
            self.carry = sink.carry_at(step)?;
        }
        self.carry.max_step = step;
        Ok(())
    }

    /// Ends the segment, if there is anything in it.
    pub(super) fn seal(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        if self.to == self.from {
            return Ok(());
        }
        let first = |column: usize| self.steps.columns[column].first().copied().unwrap_or(0);
        let head = Head {
            length: 0,
            from: self.from,
            to: self.to,
            last_line: self.last_line,
            first_hash: self.first_hash,
            last_hash: hash(&self.last),
            cut: self.cut,
            max_step: self.max_step,
            steps: self.steps.len() as u64,
            evals: self.evals.len() as u64,
            lines: self.lines.len() as u64,
            first: [first(0), first(3), first(4)],
            checksum: 0,
            totals: Vec::new(),
            own: 0,
        };
        let segment = Parts {
            head,
            steps: &self.steps,
            evals: &self.evals,
            lines: &self.lines,
        };
        sink.put(segment.encode())?;
        let carry = self.carry.clone();
        *self = Self::new(self.to, carry, self.rows);
        Ok(())
    }
}
