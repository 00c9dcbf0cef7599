//! The engine's side of the index: a segment every few thousand steps.

use super::build::{Builder, Carry, ROWS, Sink};
use super::line::Line;
use super::{INDEX, Index, read_on};
use crate::link::{Body, Event};
use crate::run_folder::RunError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Appends to the index of a run whose lock this process holds.
#[derive(Debug)]
pub struct IndexWriter {
    builder: Builder,
    file: Segments,
}

/// The file.
#[derive(Debug)]
struct Segments {
    run: PathBuf,
    file: File,
    length: u64,
}

impl Sink for Segments {
    fn put(&mut self, segment: Vec<u8>) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&segment) {
            // No reader looks behind the last whole segment.
            drop(self.file.set_len(self.length));
            return Err(error);
        }
        self.length += segment.len() as u64;
        Ok(())
    }

    fn carry_at(&mut self, step: u64) -> io::Result<Carry> {
        Ok(Index::stored(&self.run).carry_at(step))
    }
}

impl IndexWriter {
    /// Opens the index, makes it anew where it is missing or not of this record, cuts off a torn end, and takes what it
    /// lacks from events.jsonl.
    ///
    /// # Errors
    /// If the disk refuses. The run does not need an index.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        Self::open_with(run, ROWS)
    }

    pub(super) fn open_with(run: &Path, rows: usize) -> Result<Self, RunError> {
        let path = run.join(INDEX);
        let fault = |action| move |error| RunError::disk(&run.join(INDEX), action, error);
        let stored = Index::stored(run);
        let length = stored.stored_bytes();
        if length == 0 && path.exists() {
            // Not shortened: somebody may be reading it.
            fs::remove_file(&path).map_err(fault("delete"))?;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(&path);
        let file = file.map_err(fault("open"))?;
        let on_disk = file.metadata().map_err(fault("open"))?.len();
        if on_disk > length {
            file.set_len(length).map_err(fault("mend"))?;
        }
        let mut builder = Builder::new(stored.to(), stored.carry_at(u64::MAX), rows);
        drop(stored);
        let mut file = Segments {
            run: run.to_owned(),
            file,
            length,
        };
        read_on(run, &mut builder, &mut file)?;
        Ok(Self { builder, file })
    }

    /// Takes an event whose line (without its line feed) was written at byte `start` of events.jsonl. The last event of
    /// an attempt ends the segment, so that a run that is over is read from its index alone.
    ///
    /// # Errors
    /// If the disk refuses: the writer is then of no more use.
    pub fn take(&mut self, start: u64, text: &str, event: &Event) -> io::Result<()> {
        let line = Line::of_event(event);
        self.builder
            .take(&mut self.file, start, text.as_bytes(), &line)?;
        if matches!(event.body, Body::Finished { .. } | Body::Failed { .. }) {
            self.builder.seal(&mut self.file)?;
        }
        Ok(())
    }
}
