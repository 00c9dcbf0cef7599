//! A run's record in the forms that other programs read: TensorBoard event files, CSV, Prometheus text, one HTML page.
//!
//! A form is one file and one line in [`FORMATS`]; it reads a [`Source`] and writes bytes. [`live`] writes two of them while
//! the run goes on, from the record, so that the engine never waits for them.

mod csv;
mod html;
mod layers_csv;
pub mod live;
mod prometheus;
mod tensorboard;
#[cfg(test)]
mod tests;

pub use html::{ENGLISH, Words};

use crate::link::{Body, Event, Layers, Step};
use crate::run_folder::index::{LineKind, Table};
use crate::run_folder::{Index, RunError, RunRecord};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Every form.
pub static FORMATS: &[&Format] = &[
    &tensorboard::FORMAT,
    &csv::FORMAT,
    &layers_csv::FORMAT,
    &prometheus::FORMAT,
    &html::FORMAT,
];

/// A form of a run's record.
#[derive(Debug)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in a line.
    pub doc: &'static str,
    /// Where it goes unless the person says otherwise.
    pub place: Place,
    /// Writes it.
    pub write: fn(&Source, &mut dyn Write) -> Result<(), ExportError>,
}

/// Where a form is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the standard output.
    Output,
    /// To a file with this ending.
    File(&'static str),
    /// To a file of its own in a folder with this ending.
    Folder(&'static str),
}

/// Why a record cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What is exported cannot be written.
    #[error("{0}")]
    Write(#[from] io::Error),
}

/// A run that is exported.
#[derive(Debug)]
pub struct Source {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// run.json, where it is whole.
    pub record: RunRecord,
    /// Its figures.
    pub index: Index,
    /// Words for the people who read it.
    pub words: Words,
}

impl Source {
    /// Opens a run's folder.
    ///
    /// # Errors
    /// If its events cannot be read.
    pub fn open(folder: &Path, words: &Words) -> Result<Self, RunError> {
        Ok(Self {
            folder: folder.to_owned(),
            name: crate::run_folder::name_of(folder),
            record: RunRecord::read(folder).unwrap_or_default(),
            index: Index::open(folder)?,
            words: *words,
        })
    }

    /// Name of its event file for TensorBoard: by when the run began, so that an export replaces the one before.
    pub fn event_file(&self) -> String {
        tensorboard::file_name(seconds(&self.record.created) as u64, 0)
    }

    /// The events of some kinds, in their order.
    fn events(&self, wanted: impl Fn(LineKind) -> bool) -> Result<Vec<Event>, RunError> {
        let mut lines = self.index.lines();
        lines.retain(|line| wanted(line.kind));
        self.index.events(&lines)
    }

    /// The last statistics of the layers, if there are any.
    fn last_layers(&self) -> Result<Option<Layers>, RunError> {
        let mut lines = self.index.lines();
        lines.retain(|line| line.kind == LineKind::Layers);
        let last = lines.split_off(lines.len().saturating_sub(1));
        let mut events = self.index.events(&last)?;
        Ok(events.pop().and_then(|event| match event.body {
            Body::Layers(layers) => Some(layers),
            _ => None,
        }))
    }

    /// A column that every index has.
    fn column(&self, name: &str) -> crate::run_folder::index::Column<'_> {
        self.index.column(name).expect("a column of every index")
    }

    fn num_steps(&self) -> usize {
        self.index.len(Table::Steps)
    }
}

/// Names of the figures of steps, as events have them.
const STEP_FIGURES: [&str; Step::FIGURES.len()] = Step::FIGURES;
/// Names of the figures of evaluations, as events have them; in the index `validation_` stands before each.
const EVAL_FIGURES: [&str; 3] = ["loss", "perplexity", "bits_per_byte"];

/// Seconds since 1970 of an event's time; 0 where it cannot be read.
fn seconds(time: &str) -> f64 {
    let time = OffsetDateTime::parse(time, &Rfc3339);
    time.map_or(0.0, |time| time.unix_timestamp_nanos() as f64 / 1e9)
}

/// A figure as text: the shortest that reads back as the same number, or NaN, inf, -inf.
fn figure(x: f64) -> String {
    if x.is_nan() {
        "NaN".to_owned()
    } else if x.is_infinite() {
        if x > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else {
        format!("{x:?}")
    }
}
