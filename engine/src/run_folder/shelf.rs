//! Setting runs aside and deleting them: never one that a process has.
//!
//! Forks keep what they need of a parent ([`crate::checkpoint::derive`]), so that either can go.

use super::lock::Lock;
use super::name::{is_run, name_of};
use super::{LOCK, RunError};
use crate::checkpoint::{self, TEMPORARY};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of runs that were set aside, within the folder of runs.
pub const ARCHIVE: &str = "archive";

/// What a run's folder holds: what goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of all its files. What it shares with a fork or its parent is counted too.
    pub bytes: u64,
    /// Number of its checkpoints.
    pub checkpoints: usize,
}

/// Looks through a run's folder.
pub fn contents(run: &Path) -> Contents {
    let checkpoints = checkpoint::list(&run.join("checkpoints")).map_or(0, |all| all.len());
    let mut bytes = 0;
    let mut open = vec![run.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of a link the link itself.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Contents { bytes, checkpoints }
}

/// Moves a run to [`ARCHIVE`] beside it; a name that is taken there gets a number behind it. Returns where it is now.
///
/// # Errors
/// If a process has it, or the disk refuses.
pub fn archive(run: &Path) -> Result<PathBuf, RunError> {
    let name = name_of(run);
    let _lock = Lock::take(&run.join(LOCK), &name)?;
    let shelf = parent_of(run).join(ARCHIVE);
    fs::create_dir_all(&shelf).map_err(|error| RunError::place(&shelf, error))?;
    let mut number = 1;
    let mut place = shelf.join(&name);
    loop {
        match rename_new(run, &place) {
            Ok(true) => return Ok(place),
            Ok(false) => {
                number += 1;
                place = shelf.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(RunError::disk(&place, "move the folder", error)),
        }
    }
}

/// Deletes a run.
///
/// # Errors
/// If a process has it, or the disk refuses.
pub fn delete(run: &Path) -> Result<(), RunError> {
    let name = name_of(run);
    let lock = Lock::take(&run.join(LOCK), &name)?;
    // Renamed first: killed half-way it leaves a leftover, which the next start of a run sweeps, and not half a run.
    let doomed = parent_of(run).join(format!("{TEMPORARY}{name}-{}", std::process::id()));
    fs::rename(run, &doomed).map_err(|error| RunError::disk(run, "move the folder", error))?;
    // Some systems delete no open file.
    drop(lock);
    fs::remove_dir_all(&doomed).map_err(|error| RunError::disk(&doomed, "delete the folder", error))
}

/// The folder of the run of that name beside `run`, or among those set aside.
pub(super) fn beside(run: &Path, name: &str) -> Option<PathBuf> {
    super::check_name(name).ok()?;
    let home = parent_of(run);
    // A run that is set aside has the folder of runs one above.
    let above = home.parent().map(Path::to_owned).unwrap_or_default();
    let places = [
        home.join(name),
        home.join(ARCHIVE).join(name),
        above.join(name),
    ];
    places.into_iter().find(|place| is_run(place))
}

fn parent_of(run: &Path) -> PathBuf {
    match run.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Renames a folder unless something is there; false if so.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    if to.symlink_metadata().is_ok() {
        return Ok(false);
    }
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                AlreadyExists | DirectoryNotEmpty | NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meta, NameFrom, Origin, RunFolder, find, list};
    use super::*;

    fn run(runs: &Path, name: &str) -> RunFolder {
        RunFolder::create(runs, name, NameFrom::Flag, &Origin::default()).unwrap()
    }

    #[test]
    fn a_run_in_use_is_neither_moved_nor_deleted() {
        let home = tempfile::tempdir().unwrap();
        let held = run(home.path(), "held");
        let path = held.path().to_owned();
        for refused in [archive(&path).map(drop), delete(&path)] {
            let error = refused.unwrap_err();
            assert!(matches!(error, RunError::Locked { .. }), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(path.join("run.json").is_file());
        drop(held);
        delete(&path).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_set_aside_is_not_listed_and_keeps_what_was_said_of_it() {
        let home = tempfile::tempdir().unwrap();
        for round in 1..=2 {
            let path = run(home.path(), "a").path().to_owned();
            let meta = Meta {
                tags: [format!("round {round}")].into(),
                note: "x\ny".to_owned(),
            };
            meta.write(&path).unwrap();
            assert!(contents(&path).bytes > 0);
            let place = archive(&path).unwrap();
            assert_eq!(Meta::read(&place), meta);
            assert!(find(home.path(), "a").is_err());
        }
        assert!(list(home.path()).unwrap().is_empty());
        let shelf = home.path().join(ARCHIVE);
        assert_eq!(list(&shelf).unwrap().len(), 2);
        assert!(beside(&home.path().join("fork"), "a-2").is_some());
        Meta::default().write(&shelf.join("a")).unwrap();
        assert!(!shelf.join("a/meta.json").exists());
        assert_eq!(Meta::read(&shelf.join("a")), Meta::default());
    }
}
