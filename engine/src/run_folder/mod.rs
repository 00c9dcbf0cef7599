//! A run's folder: who trains what, every event, every configuration, every checkpoint.
//!
//! `runs/<name>/` holds `run.json` ([`RunRecord`]), `run.lock`, `config/v001.toml`..., `events.jsonl`
//! ([`EventWriter`], [`EventReader`]), `metrics.idx` ([`Index`], derived from it), `checkpoints/` (see
//! [`crate::checkpoint`]), `best`, `samples/` and `engine.log`. `control.json` and `ctl/` are for other processes to reach a
//! running one ([`crate::link::socket`], [`CTL`]).
//! A [`RunFolder`] is the right to write there: it holds a lock that ends with its process. Readers need none
//! ([`list()`], [`find`], [`EventReader::open`]). No path that a reader follows is absolute, so a copy of
//! it opens elsewhere.

mod error;
mod events;
pub mod index;
mod leftovers;
mod list;
mod lock;
mod meta;
mod name;
mod record;
pub mod shelf;
mod tail;
mod tree;

#[cfg(test)]
mod tests;

pub use error::RunError;
pub use events::{EventReader, EventTail, EventWriter};
pub use index::{Index, IndexWriter};
pub use leftovers::check_writable;
pub use list::{State, Summary, list, summary};
pub use meta::Meta;
pub(crate) use name::name_of;
pub use name::{check_free, find, runs_dir, split_step};
pub(crate) use record::host;
pub use record::{Origin, Parent, RunRecord, now};
pub use tail::{Holder, Next, Tail, holder, is_gone};
pub use tree::{lineage, tree};

use crate::checkpoint::{self, Disk as _, Found, RealDisk, TEMPORARY, write_atomic};
use lock::Lock;
use name::check_name;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

const RECORD: &str = "run.json";
const LOCK: &str = "run.lock";
/// The record of a run: one event a line.
pub const EVENTS: &str = "events.jsonl";
/// Folder for files that ask a running engine for something by being there.
pub const CTL: &str = "ctl";
const FOLDERS: [&str; 4] = ["config", "checkpoints", "samples", CTL];

/// Where a run's name was said, which decides what happens when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// `--run NAME`: a taken name is an error.
    Flag,
    /// The config (or the program): a taken name gets a number behind it.
    Config,
}

/// The right to write a run's folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    record: RunRecord,
    lock: Lock,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Resumed {
    /// Its folder. [`RunFolder::begin_attempt`] is due before the first event.
    pub folder: RunFolder,
    /// Its newest valid checkpoint, which stands on its own manifest even where run.json is torn; `None` starts the run at
    /// step 0.
    pub checkpoint: Option<Found>,
    /// Whether run.json was missing or not whole.
    pub torn: bool,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

impl RunFolder {
    /// Makes the folder of a new run and takes its lock.
    ///
    /// # Errors
    /// If the name is not allowed, is taken and comes from the flag, or the disk refuses. Nothing is left behind then.
    pub fn create(
        runs: &Path,
        name: &str,
        from: NameFrom,
        origin: &Origin,
    ) -> Result<Self, RunError> {
        Self::create_with(runs, name, from, origin, |_| Ok(()))
    }

    /// As [`Self::create`]; `first` writes what else the folder shall have from the start on. The folder is filled beside
    /// its place and renamed, so that a run is there with all that a resume needs, or not at all.
    ///
    /// # Errors
    /// As [`Self::create`], and those of `first`.
    pub fn create_with(
        runs: &Path,
        name: &str,
        from: NameFrom,
        origin: &Origin,
        first: impl FnOnce(&Self) -> Result<(), RunError>,
    ) -> Result<Self, RunError> {
        check_name(name)?;
        fs::create_dir_all(runs).map_err(|error| RunError::place(runs, error))?;
        leftovers::sweep(runs);
        let temporary = runs.join(format!("{TEMPORARY}{name}-{}", std::process::id()));
        // Left behind by a process of the same id that was killed.
        drop(fs::remove_dir_all(&temporary));
        fs::create_dir(&temporary).map_err(|error| RunError::place(runs, error))?;
        let made = Self::fill(&temporary, name, origin).and_then(|mut folder| {
            first(&folder)?;
            folder.take_place(runs, name, from)?;
            Ok(folder)
        });
        if made.is_err() {
            drop(fs::remove_dir_all(&temporary));
        }
        made
    }

    /// Renames a filled folder to the run's name, or to that with the first free number behind it.
    fn take_place(&mut self, runs: &Path, name: &str, from: NameFrom) -> Result<(), RunError> {
        let mut path = runs.join(name);
        let mut number = 1;
        loop {
            self.record.name = name_of(&path);
            self.write_record()?;
            // The renaming is the test, as it replaces nothing but an empty folder: of two processes, one gets the name.
            let file = path.symlink_metadata().is_ok_and(|found| !found.is_dir());
            let taken = match fs::rename(&self.path, &path) {
                Ok(()) => break,
                Err(error) => {
                    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
                    let kind = error.kind();
                    if !file && !matches!(kind, AlreadyExists | DirectoryNotEmpty) {
                        return Err(RunError::disk(&path, "make the folder", error));
                    }
                    path
                }
            };
            if from == NameFrom::Flag {
                return Err(RunError::Exists {
                    name: name.to_owned(),
                    path: taken,
                });
            }
            number += 1;
            path = runs.join(format!("{name}-{number}"));
        }
        self.path = path;
        RealDisk.sync_dir(runs).map_err(|error| {
            // It might not survive a power cut: better not there than doubtful.
            drop(fs::remove_dir_all(&self.path));
            RunError::disk(runs, "sync the folder", error)
        })
    }

    fn fill(path: &Path, name: &str, origin: &Origin) -> Result<Self, RunError> {
        let lock = Lock::take(&path.join(LOCK), name)?;
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir(&folder)
                .map_err(|error| RunError::disk(&folder, "make the folder", error))?;
        }
        let record = RunRecord::new(name, origin);
        let folder = Self {
            path: path.to_owned(),
            record,
            lock,
        };
        // Readers find a file from the start on.
        EventWriter::open(&path.join(EVENTS))?;
        Ok(folder)
    }

    /// Takes up a run again: the one that is named (or lies at a path), else the newest. Leftovers of writers that were
    /// killed are removed.
    ///
    /// # Errors
    /// If there is no such run, another process has it, or the disk refuses.
    pub fn open_for_resume(runs: &Path, name: Option<&str>) -> Result<Resumed, RunError> {
        let path = match name {
            Some(name) => find(runs, name)?,
            None => list::newest(runs)?.ok_or_else(|| RunError::NoRuns {
                runs: runs.to_owned(),
            })?,
        };
        let name = name_of(&path);
        let lock = Lock::take(&path.join(LOCK), &name)?;
        leftovers::sweep(runs);
        let mut warnings = Vec::new();
        let known = RunRecord::read(&path);
        let torn = known.is_none();
        if torn {
            warnings.push(format!(
                "run {name}: {RECORD} is missing or not whole; it is written anew"
            ));
        }
        let mut record = known.unwrap_or_default();
        let events = path.join(EVENTS);
        record.attempt = record.attempt.max(events::last_attempt(&events)?);
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| RunError::disk(&folder, "make the folder", error))?;
        }
        let folder = Self { path, record, lock };
        for place in ["", "config", "checkpoints"] {
            // A leftover that stays is in nobody's way; what cannot be read at all is refused below.
            if let Err(error) = checkpoint::clean(&folder.path.join(place)) {
                warnings.push(error.to_string());
            }
        }
        let checkpoint =
            checkpoint::newest_valid(&folder.checkpoints(), &mut |line| warnings.push(line))?;
        Ok(Resumed {
            folder,
            checkpoint,
            torn,
            warnings,
        })
    }

    /// Notes in run.json that an attempt begins, after a resume and once nothing can be refused any more. Returns its
    /// number.
    ///
    /// # Errors
    /// If run.json cannot be written; the old one is then still there.
    pub fn begin_attempt(&mut self, origin: &Origin) -> Result<u32, RunError> {
        let mut record = RunRecord::new(&self.name(), origin);
        record.attempt = self.record.attempt + 1;
        if !self.record.created.is_empty() {
            record.created.clone_from(&self.record.created);
            record.parent = self.record.parent.take().or(record.parent);
        }
        self.record = record;
        self.write_record()?;
        Ok(self.record.attempt)
    }

    /// Notes in run.json that the process goes on as another attempt: it went back to an earlier step.
    ///
    /// # Errors
    /// As [`Self::begin_attempt`].
    pub fn note_attempt(&mut self, attempt: u32) -> Result<(), RunError> {
        self.record.attempt = attempt;
        self.write_record()
    }

    fn write_record(&self) -> Result<(), RunError> {
        let path = self.path.join(RECORD);
        let mut text = serde_json::to_vec_pretty(&self.record)
            .map_err(|error| RunError::disk(&path, "write", error.into()))?;
        text.push(b'\n');
        write_atomic(&RealDisk, &path, &text).map_err(|error| RunError::disk(&path, "write", error))
    }

    /// Deletes the folder of a new run that is refused before its first step.
    ///
    /// # Errors
    /// If the folder cannot be deleted.
    pub fn discard(self) -> Result<(), RunError> {
        let path = self.path.clone();
        // The lock's file is open: some systems delete no open file.
        drop(self.lock);
        fs::remove_dir_all(&path).map_err(|error| RunError::disk(&path, "delete the folder", error))
    }

    /// The run's name: its folder's.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What run.json says.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of samples.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// A path below this folder as events name it: relative, with `/`.
    pub fn relative(&self, path: &Path) -> String {
        let inner = path.strip_prefix(&self.path).unwrap_or(path);
        let parts = inner.components().filter(|part| *part != Component::CurDir);
        let parts: Vec<_> = parts
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
    }

    /// Writes a version of the configuration, `config/v001.toml` for version 1.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save_config(&self, version: u32, text: &str) -> Result<PathBuf, RunError> {
        let path = config_path(&self.path, version);
        write_atomic(&RealDisk, &path, text.as_bytes())
            .map_err(|error| RunError::disk(&path, "write", error))?;
        Ok(path)
    }

    /// Opens events.jsonl to go on writing, and its index with it.
    ///
    /// # Errors
    /// If the disk refuses the record; without an index readers only take longer.
    pub fn events(&self) -> Result<EventWriter, RunError> {
        let mut events = EventWriter::open(&self.path.join(EVENTS))?;
        if let Ok(index) = IndexWriter::open(&self.path) {
            events.keep(index);
        }
        Ok(events)
    }

    /// Opens engine.log to go on writing.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn log(&self) -> Result<File, RunError> {
        let path = self.path.join("engine.log");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map_err(|error| RunError::disk(&path, "open", error))
    }
}

/// Path of a version of the configuration in a run's folder.
pub fn config_path(run: &Path, version: u32) -> PathBuf {
    run.join("config").join(format!("v{version:03}.toml"))
}

/// The versions of the configuration in a run's folder, ascending.
pub fn config_versions(run: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(run.join("config")) else {
        return Vec::new();
    };
    let mut versions: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix('v')?.strip_suffix(".toml")?;
            version.parse().ok()
        })
        .collect();
    versions.sort_unstable();
    versions
}
