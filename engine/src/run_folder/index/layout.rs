//! The bytes of metrics.idx.
//!
//! The file is a row of segments, each written by one append and never changed. A segment covers a piece of events.jsonl
//! and holds, little-endian: a head (what it covers, how many rows, a bucket a figure over all of them, a checksum); for
//! steps and for evaluations the columns, 8 bytes a cell, then for each figure the bins of 16, 64, 256... rows and (steps
//! only) the state of the moving averages before every 64th row; the places of all lines that are no step; and at its very
//! end the head's checksum again, so that a segment whose end never reached the disk is known.

use super::bucket::{Averages, BYTES, Bucket, FAN_OUT, FINEST};
use crate::link::Step;

const MAGIC: u64 = u64::from_le_bytes(*b"ZLIX\x01\0\0\0");
/// Decays whose moving averages are kept.
pub const BETAS: [f64; 6] = [0.0, 0.5, 0.9, 0.95, 0.98, 0.99];
/// Rows between two kept states of the moving averages.
pub(super) const STRIDE: usize = 64;
/// Bytes of the averages of one figure at one row.
const STATE: usize = 16 * BETAS.len();

/// Columns of steps that are counts or times, then their figures.
pub(super) const STEP_COUNTS: usize = 5;
pub(super) const STEP_FIGURES: usize = Step::FIGURES.len();
pub(super) const EVAL_COUNTS: usize = 4;
pub(super) const EVAL_FIGURES: usize = 3;
const FIGURES: usize = STEP_FIGURES + EVAL_FIGURES;

/// Numbers in a head before its buckets.
const NUMBERS: usize = 17;
/// Bytes of a head.
pub(super) const HEAD: usize = 8 * NUMBERS + BYTES * FIGURES + 8;

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Optimizer steps.
    Steps,
    /// Evaluations.
    Evals,
}

impl Table {
    pub(super) const fn counts(self) -> usize {
        match self {
            Self::Steps => STEP_COUNTS,
            Self::Evals => EVAL_COUNTS,
        }
    }

    pub(super) const fn figures(self) -> usize {
        match self {
            Self::Steps => STEP_FIGURES,
            Self::Evals => EVAL_FIGURES,
        }
    }

    /// Name of its column of steps.
    pub const fn step(self) -> &'static str {
        self.names()[0]
    }

    /// Names of the columns: counts, then figures.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Steps => &[
                "step",
                "attempt",
                "time",
                "tokens",
                "seconds",
                "loss",
                "lr",
                "grad_norm",
                "clipped",
                "tokens_per_second",
                "step_seconds",
                "data_wait_seconds",
            ],
            Self::Evals => &[
                "validation_step",
                "validation_time",
                "validation_tokens",
                "validation_best",
                "validation_loss",
                "validation_perplexity",
                "validation_bits_per_byte",
            ],
        }
    }
}

/// The eight bytes at `at` as a number.
pub(super) fn get(bytes: &[u8], at: usize) -> u64 {
    let cell: [u8; 8] = bytes[at..at + 8]
        .try_into()
        .expect("a slice of eight bytes");
    u64::from_le_bytes(cell)
}

/// Eight bytes of a hash: enough to tell a line that was changed.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    get(blake3::hash(bytes).as_bytes(), 0)
}

/// Rows of one table before they are written: columns of bits.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) table: Table,
    pub(super) columns: Vec<Vec<u64>>,
    /// States of the moving averages before every [`STRIDE`]th row, a list a figure.
    pub(super) states: Vec<Vec<Averages>>,
}

impl Rows {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            columns: vec![Vec::new(); table.counts() + table.figures()],
            states: match table {
                Table::Steps => vec![Vec::new(); STEP_FIGURES],
                Table::Evals => Vec::new(),
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns[0].len()
    }

    pub(super) fn push(&mut self, row: &[u64]) {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.push(*cell);
        }
    }

    /// Writes columns, bins and states; returns the bucket of each figure.
    fn write(&self, out: &mut Vec<u8>) -> Vec<Bucket> {
        for column in &self.columns {
            out.extend(column.iter().flat_map(|cell| cell.to_le_bytes()));
        }
        let figures = &self.columns[self.table.counts()..];
        let mut totals = Vec::new();
        for figure in figures {
            totals.push(Bucket::of(figure.iter().copied()));
            let rows = figure.chunks_exact(FINEST);
            let mut level: Vec<Bucket> =
                rows.map(|rows| Bucket::of(rows.iter().copied())).collect();
            while !level.is_empty() {
                for bin in &level {
                    bin.write(out);
                }
                level = level.chunks_exact(FAN_OUT).map(Bucket::joined).collect();
            }
        }
        for states in &self.states {
            for state in states.iter().flat_map(|state| state.0).flatten() {
                out.extend(state.to_le_bytes());
            }
        }
        totals
    }
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// Bytes of the segment, head and end included.
    pub(super) length: u64,
    /// The piece of events.jsonl that it covers.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Where the last covered line begins, and hashes of the first and the last.
    pub(super) last_line: u64,
    pub(super) first_hash: u64,
    pub(super) last_hash: u64,
    /// Rows of steps behind this one are superseded from here on; `u64::MAX` where none is.
    pub(super) cut: u64,
    /// Greatest step that it tells of.
    pub(super) max_step: u64,
    /// Rows of steps, rows of evaluations, lines.
    pub(super) steps: u64,
    pub(super) evals: u64,
    pub(super) lines: u64,
    /// Of the first row of steps: step, tokens, seconds (bits).
    pub(super) first: [u64; 3],
    /// Checksum of what follows the head.
    pub(super) checksum: u64,
    /// A bucket a figure.
    pub(super) totals: Vec<Bucket>,
    /// Checksum of the head.
    pub(super) own: u64,
}

/// Everything of a segment but its head's sums.
pub(super) struct Parts<'a> {
    pub(super) head: Head,
    pub(super) steps: &'a Rows,
    pub(super) evals: &'a Rows,
    /// Place (and in the top byte the kind) and step of each line that is no step.
    pub(super) lines: &'a [[u64; 2]],
}

impl Parts<'_> {
    /// The segment's bytes.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        let mut head = self.head;
        head.totals = self.steps.write(&mut out);
        head.totals.extend(self.evals.write(&mut out));
        for i in 0..2 {
            out.extend(self.lines.iter().flat_map(|line| line[i].to_le_bytes()));
        }
        head.checksum = hash(&out[HEAD..]);
        head.length = out.len() as u64 + 8;
        let text = head.encode();
        out[..HEAD].copy_from_slice(&text);
        out.extend_from_slice(&text[HEAD - 8..]);
        out
    }
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let numbers = [
            MAGIC,
            self.length,
            self.from,
            self.to,
            self.last_line,
            self.first_hash,
            self.last_hash,
            self.cut,
            self.max_step,
            self.steps,
            self.evals,
            self.lines,
            self.first[0],
            self.first[1],
            self.first[2],
            self.checksum,
            FIGURES as u64,
        ];
        let mut out = Vec::with_capacity(HEAD);
        out.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        for total in &self.totals {
            total.write(&mut out);
        }
        let own = hash(&out);
        out.extend(own.to_le_bytes());
        out
    }

    /// The head of the segment at `at`, if a whole segment is there.
    pub(super) fn decode(bytes: &[u8], at: usize) -> Option<Self> {
        let text = bytes.get(at..at.checked_add(HEAD)?)?;
        let x = |i: usize| get(text, 8 * i);
        let own = x(HEAD / 8 - 1);
        if x(0) != MAGIC || x(NUMBERS - 1) != FIGURES as u64 || hash(&text[..HEAD - 8]) != own {
            return None;
        }
        let head = Self {
            length: x(1),
            from: x(2),
            to: x(3),
            last_line: x(4),
            first_hash: x(5),
            last_hash: x(6),
            cut: x(7),
            max_step: x(8),
            steps: x(9),
            evals: x(10),
            lines: x(11),
            first: [x(12), x(13), x(14)],
            checksum: x(15),
            totals: (0..FIGURES)
                .map(|i| Bucket::read(text, 8 * NUMBERS + BYTES * i))
                .collect(),
            own,
        };
        let end = at.checked_add(usize::try_from(head.length).ok()?)?;
        let whole = bytes.get(at..end)?;
        (get(whole, whole.len() - 8) == own).then_some(head)
    }

    /// Whether the rows are those that were written.
    pub(super) fn agrees(&self, bytes: &[u8], at: usize) -> bool {
        let end = at + self.length as usize - 8;
        hash(&bytes[at + HEAD..end]) == self.checksum
    }

    pub(super) fn rows(&self, table: Table) -> usize {
        match table {
            Table::Steps => self.steps as usize,
            Table::Evals => self.evals as usize,
        }
    }

    /// Where a table begins, from the segment's own beginning.
    fn table(&self, table: Table) -> usize {
        match table {
            Table::Steps => HEAD,
            Table::Evals => HEAD + size(Table::Steps, self.steps as usize),
        }
    }

    /// Where the cell of a column and a row stands.
    pub(super) fn cell(&self, table: Table, column: usize, row: usize) -> usize {
        self.table(table) + 8 * (column * self.rows(table) + row)
    }

    /// Where the bin of a figure stands: bin number `bin` of level `level`.
    pub(super) fn bin(&self, table: Table, figure: usize, level: usize, bin: usize) -> usize {
        let rows = self.rows(table);
        let columns = table.counts() + table.figures();
        let before: usize = (0..level).map(|below| bins(rows, below)).sum();
        self.table(table) + 8 * columns * rows + BYTES * (figure * all_bins(rows) + before + bin)
    }

    /// Where the states of a step figure's moving averages before row `STRIDE * index` stand.
    pub(super) fn state(&self, figure: usize, index: usize) -> usize {
        let rows = self.steps as usize;
        let of_bins = BYTES * STEP_FIGURES * all_bins(rows);
        let columns = STEP_COUNTS + STEP_FIGURES;
        HEAD + 8 * columns * rows + of_bins + STATE * (figure * rows.div_ceil(STRIDE) + index)
    }

    /// Where the places and the steps of the lines stand.
    pub(super) fn line(&self, index: usize) -> [usize; 2] {
        let start = HEAD
            + size(Table::Steps, self.steps as usize)
            + size(Table::Evals, self.evals as usize);
        [start + 8 * index, start + 8 * (self.lines as usize + index)]
    }
}

/// Whole bins of a level: 16 rows each at level 0, then four times as many.
pub(super) fn bins(rows: usize, level: usize) -> usize {
    rows / (FINEST * FAN_OUT.pow(level as u32))
}

fn all_bins(rows: usize) -> usize {
    (0..usize::BITS as usize)
        .map(|level| bins(rows, level))
        .take_while(|n| *n > 0)
        .sum()
}

/// Bytes of a table.
fn size(table: Table, rows: usize) -> usize {
    let columns = table.counts() + table.figures();
    let states = match table {
        Table::Steps => STATE * STEP_FIGURES * rows.div_ceil(STRIDE),
        Table::Evals => 0,
    };
    8 * columns * rows + BYTES * table.figures() * all_bins(rows) + states
}
