//! Rows: any row of the data by its number, and batches of them.

use std::sync::Arc;

use super::bins::{Bins, numbers};
use super::order::permute;
use super::shard::Shard;
use super::story::Stories;

/// Where rows come from.
#[derive(Debug)]
pub(super) enum Rows {
    /// Ids `begin..end` of a shard.
    Shard { shard: Shard, begin: u64, end: u64 },
    /// Ids `begin..end` of .bin files.
    Bins {
        bins: Arc<Bins>,
        begin: u64,
        end: u64,
        /// Id that ends a document, where it is known.
        stop: Option<i32>,
    },
    /// So many rows of stories.
    Stories { stories: Stories, rows: u64 },
}

/// Data cut into rows of `data.sequence_length` ids, with the targets of each. Reached by row number in constant time;
/// shared by threads.
#[derive(Debug)]
pub struct Dataset {
    pub(super) rows: Rows,
    pub(super) length: usize,
    /// The seed of the permutations; None: as the rows stand.
    pub(super) shuffle: Option<u64>,
    pub(super) mask: bool,
    /// Whether the ids behind the last whole row make a row too, its missing targets ignored.
    pub(super) tail: bool,
    /// Bytes of text that each id stands for, special tokens none; None without a tokenizer.
    pub(super) byte_lengths: Option<Arc<[u32]>>,
    pub(super) bytes_per_token: Option<f64>,
    pub(super) floor: Option<f64>,
    pub(super) fingerprint: String,
}

/// Rows for one forward pass: arrays of `height * T` numbers, row after row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows that hold data; those up to `height` are padding without targets.
    pub rows: usize,
    /// Rows in the arrays.
    pub height: usize,
    /// Input ids.
    pub tokens: Vec<i32>,
    /// The id that follows each input; -1 where there is none to learn.
    pub targets: Vec<i32>,
    /// Position in its row at which each input's document begins; 0 throughout without `data.document_mask`.
    pub doc_start: Vec<i32>,
    /// Position of each input in its document; in its row without `data.document_mask`.
    pub positions: Vec<i32>,
    /// Number of the first row, counted over all epochs.
    pub row0: u64,
    /// Targets that are not -1.
    pub valid_targets: u64,
    /// Bytes of text that the valid targets stand for; None without a tokenizer.
    pub target_bytes: Option<u64>,
}

/// The ids of one row and its last target, and where documents begin in it.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) ids: Vec<i32>,
    starts: Vec<usize>,
}

impl Window {
    /// Sets the document starts from the sorted `starts` of the stream in which the window begins at `start`.
    pub(super) fn set_starts(&mut self, starts: &[u64], start: u64) {
        let first = starts.partition_point(|s| *s <= start);
        let end = start + self.ids.len() as u64;
        let inside = starts[first..].iter().take_while(|s| **s < end);
        self.starts.clear();
        self.starts.extend(inside.map(|s| (s - start) as usize));
    }
}

impl Dataset {
    /// Ids of a row, T.
    pub fn sequence_length(&self) -> usize {
        self.length
    }

    /// Rows of an epoch: floor((N - 1) / T) of N ids to train on, rounded up for validation data, whose last row may be a
    /// part. Endless for the storybook's training data.
    pub fn rows(&self) -> u64 {
        let span = match &self.rows {
            Rows::Stories { rows, .. } => return *rows,
            Rows::Shard { begin, end, .. } | Rows::Bins { begin, end, .. } => end - begin,
        };
        let targets = span.saturating_sub(1);
        if self.tail {
            targets.div_ceil(self.length as u64)
        } else {
            targets / self.length as u64
        }
    }

    /// Ids in all; None for the endless storybook.
    pub fn tokens(&self) -> Option<u64> {
        match &self.rows {
            Rows::Stories { rows: u64::MAX, .. } => None,
            Rows::Stories { rows, .. } => Some(rows * self.length as u64 + 1),
            Rows::Shard { begin, end, .. } | Rows::Bins { begin, end, .. } => Some(end - begin),
        }
    }

    /// Mean bytes of text of an id; None without a tokenizer.
    pub fn bytes_per_token(&self) -> Option<f64> {
        self.bytes_per_token
    }

    /// The least bits per byte of text that any model can reach, where it is known (the storybook).
    pub fn floor_bits_per_byte(&self) -> Option<f64> {
        self.floor
    }

    /// Changes with the data, the tokenizer and the options that make the ids: a run goes on only with the same.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The rows `row0..row0 + rows`, counted over all epochs (row `rows()` is the second epoch's first), padded to
    /// `height` rows.
    pub fn batch(&self, row0: u64, rows: usize, height: usize) -> Batch {
        let height = height.max(rows);
        let size = height * self.length;
        let mut batch = Batch {
            rows,
            height,
            tokens: vec![0; size],
            targets: vec![-1; size],
            doc_start: vec![0; size],
            positions: (0..size).map(|i| (i % self.length) as i32).collect(),
            row0,
            valid_targets: 0,
            target_bytes: self.byte_lengths.as_ref().map(|_| 0),
        };
        let mut window = Window::default();
        for row in 0..rows {
            self.window(self.place(row0 + row as u64), &mut window);
            self.fill(&window, row * self.length, &mut batch);
        }
        batch
    }

    /// All rows in order, `height` at a time: an evaluation.
    pub fn batches(&self, height: usize) -> impl Iterator<Item = Batch> {
        let rows = self.rows();
        let starts = (0..rows).step_by(height.max(1));
        starts.map(move |row| self.batch(row, height.min((rows - row) as usize), height))
    }

    /// Which row of the data is row `row` of the training.
    pub(crate) fn place(&self, row: u64) -> u64 {
        let rows = self.rows().max(1);
        match self.shuffle {
            Some(seed) => permute(row % rows, rows, seed, row / rows),
            None => row % rows,
        }
    }

    fn window(&self, place: u64, window: &mut Window) {
        let offset = place.wrapping_mul(self.length as u64);
        let (begin, end) = match &self.rows {
            Rows::Stories { stories, .. } => return stories.window(place, window),
            Rows::Shard { begin, end, .. } | Rows::Bins { begin, end, .. } => (*begin, *end),
        };
        let start = begin + offset;
        let count = (end - start).min(self.length as u64 + 1) as usize;
        window.ids.clear();
        window.starts.clear();
        match &self.rows {
            Rows::Shard { shard, .. } => {
                let (bytes, width) = shard.ids(start, count);
                window.ids.extend(numbers(bytes, width).map(|id| id as i32));
                if self.mask {
                    let first = shard.document_from(start + 1);
                    let starts = (first..shard.documents()).map(|index| shard.start(index));
                    let inside = starts.take_while(|s| *s < start + count as u64);
                    window.starts.extend(inside.map(|s| (s - start) as usize));
                }
            }
            Rows::Bins { bins, stop, .. } => {
                bins.read(start, count, &mut window.ids);
                if self.mask {
                    let ends = window
                        .ids
                        .iter()
                        .zip(1..)
                        .filter(|(id, _)| Some(**id) == *stop);
                    let starts = ends.map(|(_, next)| next).filter(|next| *next < count);
                    window.starts.extend(starts);
                }
            }
            Rows::Stories { .. } => {}
        }
    }

    /// Writes the row of `window` at `at` of the batch.
    fn fill(&self, window: &Window, at: usize, batch: &mut Batch) {
        let count = window.ids.len().saturating_sub(1);
        batch.tokens[at..at + count].copy_from_slice(&window.ids[..count]);
        batch.targets[at..at + count].copy_from_slice(&window.ids[1..=count]);
        if self.mask {
            for (index, start) in window.starts.iter().enumerate() {
                // The next document's first id is no target of this one.
                batch.targets[at + start - 1] = -1;
                let end = window
                    .starts
                    .get(index + 1)
                    .map_or(self.length, |next| *next);
                for position in *start..end.min(self.length) {
                    batch.doc_start[at + position] = *start as i32;
                    batch.positions[at + position] = (position - start) as i32;
                }
            }
        }
        let targets = batch.targets[at..at + count].iter();
        let valid = targets.filter(|id| **id >= 0);
        batch.valid_targets += valid.clone().count() as u64;
        if let (Some(bytes), Some(lengths)) = (&mut batch.target_bytes, &self.byte_lengths) {
            let length = |id: &i32| lengths.get(*id as usize).copied().unwrap_or(0) as u64;
            *bytes += valid.map(length).sum::<u64>();
        }
    }
}
