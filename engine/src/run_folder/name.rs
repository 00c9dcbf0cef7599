//! Where runs lie and what they are called: from what a person says to a folder, and from a folder to its name.

use super::{EVENTS, LOCK, RECORD, RunError, shelf};
use crate::checkpoint::TEMPORARY;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of runs: the flag, else `ZEROLLM_RUNS`, else `runs` in the current directory.
pub fn runs_dir(flag: Option<&Path>) -> PathBuf {
    let from_env = std::env::var_os("ZEROLLM_RUNS").filter(|value| !value.is_empty());
    match (flag, from_env) {
        (Some(flag), _) => flag.to_owned(),
        (None, Some(value)) => value.into(),
        (None, None) => PathBuf::from("runs"),
    }
}

/// The folder of a run: by name in `runs`, or by path (anything with a separator in it).
///
/// # Errors
/// If there is none.
pub fn find(runs: &Path, run: &str) -> Result<PathBuf, RunError> {
    let path = if run.contains(std::path::is_separator) || run == "." || run == ".." {
        PathBuf::from(run)
    } else {
        check_name(run)?;
        runs.join(run)
    };
    if is_run(&path) {
        return Ok(path);
    }
    Err(RunError::NotFound {
        name: run.to_owned(),
        runs: runs.to_owned(),
    })
}

/// Takes `RUN@STEP` apart.
pub fn split_step(run: &str) -> (&str, Option<u64>) {
    match run.rsplit_once('@') {
        Some((name, step)) if !name.is_empty() => match step.parse() {
            Ok(step) => (name, Some(step)),
            Err(_) => (run, None),
        },
        _ => (run, None),
    }
}

/// Whether a folder is a run's, be it one whose process died at its very start. One that is still being filled is not.
pub(super) fn is_run(path: &Path) -> bool {
    !name_of(path).starts_with(TEMPORARY)
        && [RECORD, LOCK, EVENTS]
            .iter()
            .any(|file| path.join(file).is_file())
}

/// A run's name is a folder's name, on any system.
pub(super) fn check_name(name: &str) -> Result<(), RunError> {
    let message = if name.is_empty() {
        "it is empty"
    } else if name.len() > 200 {
        "it is longer than 200 bytes"
    } else if name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '@'])
        || name.chars().any(char::is_control)
    {
        "it contains a character that a folder's name cannot have everywhere"
    } else if name == shelf::ARCHIVE {
        "runs that were set aside lie in the folder of that name"
    } else if name.starts_with(['.', '-', ' ']) || name.ends_with(['.', ' ']) {
        "it begins or ends with a character that makes a bad folder's name"
    } else {
        return Ok(());
    };
    Err(RunError::Name {
        name: name.to_owned(),
        message,
    })
}

/// Whether a new run in `runs` can have that name. It is taken only once its folder is made: meanwhile another may come.
///
/// # Errors
/// If it makes no folder's name, or is taken.
pub fn check_free(runs: &Path, name: &str) -> Result<(), RunError> {
    check_name(name)?;
    let path = runs.join(name);
    // An empty folder makes room.
    let is_taken = path.symlink_metadata().is_ok_and(|found| {
        let entries = fs::read_dir(&path);
        !found.is_dir() || entries.map_or(true, |mut entries| entries.next().is_some())
    });
    if is_taken {
        let name = name.to_owned();
        return Err(RunError::Exists { name, path });
    }
    Ok(())
}

/// Name of a run's folder; `.` and the like are made whole first.
pub(crate) fn name_of(path: &Path) -> String {
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => path
            .canonicalize()
            .ok()
            .and_then(|whole| Some(whole.file_name()?.to_owned()))
            .unwrap_or_default(),
    };
    name.to_string_lossy().into_owned()
}
