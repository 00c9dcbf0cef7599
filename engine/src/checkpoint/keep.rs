//! Which checkpoints there are, which is read, and which are kept.

use super::{
    CheckpointError, Disk, Manifest, RealDisk, TEMPORARY, TrainerState, folder_name, read_trainer,
    step_of, write_atomic,
};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A valid checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// What it consists of.
    pub manifest: Manifest,
    /// The trainer's scalars.
    pub trainer: TrainerState,
}

/// The file that holds the name of the best checkpoint, in a run's folder.
const BEST: &str = "best";
/// The file that marks a checkpoint as never to be deleted. It is not the manifest's: the mark can come later.
const TAG: &str = "tag";
/// Most characters of such a mark.
const LONGEST_TAG: usize = 64;
/// The folder of checkpoints that a later attempt has left behind.
pub(super) const ASIDE: &str = "superseded";

/// Reads a checkpoint's folder through and compares it with its manifest.
///
/// # Errors
/// If it is not a complete checkpoint; the message says what is wrong.
pub fn verify(folder: &Path) -> Result<Found, CheckpointError> {
    let manifest = Manifest::read(folder)?;
    manifest.check(folder, true)?;
    let trainer = read_trainer(folder)?;
    if trainer.step != manifest.step {
        return Err(CheckpointError::Invalid {
            path: folder.to_owned(),
            message: format!(
                "its trainer state is of step {}, its manifest of step {}",
                trainer.step, manifest.step
            ),
        });
    }
    Ok(Found {
        path: folder.to_owned(),
        manifest,
        trainer,
    })
}

/// Steps and folders of a `checkpoints` folder, ascending; whether they are valid is not looked at. None where there is
/// no folder.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let entries = entries(checkpoints)?.into_iter();
    let steps = entries.filter_map(|path| Some((step_of(&path)?, path)));
    let mut found: Vec<(u64, PathBuf)> = steps.collect();
    found.sort();
    Ok(found)
}

/// What lies in a folder; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let fault = |error| CheckpointError::unreadable(folder, error);
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(fault))
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(fault(error)),
    }
}

/// Whether the last part of a path begins with `prefix`.
pub(super) fn begins_with(path: &Path, prefix: &str) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(prefix)
}

/// The valid checkpoint of the highest step. Each invalid one above it is told to `warn` in a line.
///
/// # Errors
/// If the folder cannot be read, or one above it cannot (or not by this program): who went on from an older one would set it
/// aside, to be deleted, though it may be whole.
pub fn newest_valid(
    checkpoints: &Path,
    warn: &mut dyn FnMut(String),
) -> Result<Option<Found>, CheckpointError> {
    for (_, path) in list(checkpoints)?.into_iter().rev() {
        match verify(&path) {
            Ok(found) => return Ok(Some(found)),
            Err(error @ (CheckpointError::Unreadable { .. } | CheckpointError::Newer { .. })) => {
                return Err(error);
            }
            Err(error) => warn(format!("skipped: {error}")),
        }
    }
    Ok(None)
}

/// Removes what writers that were killed left behind; returns how many things. Only for the process that holds the run's
/// lock: then nobody else is writing.
///
/// # Errors
/// If the folder cannot be read, or something cannot be removed; then all that can be is.
pub fn clean(checkpoints: &Path) -> Result<usize, CheckpointError> {
    clean_on(&RealDisk, checkpoints)
}

/// As [`clean`], on a given disk.
pub(super) fn clean_on(disk: &dyn Disk, checkpoints: &Path) -> Result<usize, CheckpointError> {
    let (mut removed, mut refused) = (0, None);
    for path in entries(checkpoints)? {
        if !begins_with(&path, TEMPORARY) {
            continue;
        }
        let gone = if path.is_dir() {
            disk.remove_dir_all(&path)
        } else {
            disk.remove_file(&path)
        };
        match gone {
            Ok(()) => removed += 1,
            Err(error) => {
                let error = CheckpointError::disk(&path, "remove the leftover", error);
                refused.get_or_insert(error);
            }
        }
    }
    refused.map_or(Ok(removed), Err)
}

/// Moves the checkpoints of steps after `step` to `superseded/`: a run that goes on from an earlier step (a rollback, or
/// because later ones are damaged) leaves them behind, and will write its own in their place. Without this, the next
/// resume would take up the steps that were rolled back. Returns how many.
///
/// # Errors
/// If one cannot be moved.
pub fn set_aside(checkpoints: &Path, step: u64) -> Result<usize, CheckpointError> {
    let mut moved = 0;
    for (found, path) in list(checkpoints)? {
        if found > step {
            move_aside(checkpoints, &path)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Moves one folder to `superseded/`, with a number behind its name.
pub(super) fn move_aside(checkpoints: &Path, path: &Path) -> Result<(), CheckpointError> {
    let fault = |error| CheckpointError::disk(path, "move the folder", error);
    let aside = checkpoints.join(ASIDE);
    fs::create_dir_all(&aside).map_err(fault)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = 1;
    let mut place = aside.join(format!("{name}.{number}"));
    while place.symlink_metadata().is_ok() {
        number += 1;
        place = aside.join(format!("{name}.{number}"));
    }
    fs::rename(path, place).map_err(fault)?;
    // After a power cut it would be back in its place, and a resume would take it up.
    RealDisk
        .sync_dir(&aside)
        .and_then(|()| RealDisk.sync_dir(checkpoints))
        .map_err(fault)
}

/// Marks a checkpoint with a name; [`super::prune`] never deletes it.
///
/// # Errors
/// If the mark cannot be written.
pub fn tag(folder: &Path, name: &str) -> Result<(), CheckpointError> {
    let path = folder.join(TAG);
    write_atomic(&RealDisk, &path, format!("{name}\n").as_bytes())
        .map_err(|error| CheckpointError::disk(&path, "write", error))
}

/// Takes a checkpoint's mark away.
///
/// # Errors
/// If the mark cannot be removed.
pub fn untag(folder: &Path) -> Result<(), CheckpointError> {
    let path = folder.join(TAG);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CheckpointError::disk(&path, "remove", error))
        }
        _ => Ok(()),
    }
}

/// Why a name cannot mark a checkpoint, in a line; nothing where it can.
pub fn refuse_tag(name: &str) -> Option<String> {
    let why = if name.trim().is_empty() {
        "a tag needs a name".to_owned()
    } else if name.chars().any(char::is_control) {
        "a tag is one line, without control characters".to_owned()
    } else if name.chars().count() > LONGEST_TAG {
        format!("a tag has at most {LONGEST_TAG} characters")
    } else {
        return None;
    };
    Some(format!("{why}; give another, such as before-the-change"))
}

/// Whether a checkpoint is marked: also with a name that cannot be read.
pub(super) fn is_tagged(folder: &Path) -> bool {
    match folder.join(TAG).symlink_metadata() {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// The name that a checkpoint is marked with.
pub fn tag_of(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(TAG)).ok()?;
    Some(text.trim().to_owned())
}

/// Notes which checkpoint is the best, in the run's folder.
///
/// # Errors
/// If the note cannot be written; the old one is then still there.
pub fn set_best(run: &Path, step: u64) -> Result<(), CheckpointError> {
    let path = run.join(BEST);
    write_atomic(
        &RealDisk,
        &path,
        format!("{}\n", folder_name(step)).as_bytes(),
    )
    .map_err(|error| CheckpointError::disk(&path, "write", error))
}

/// Takes the note back: the run went back to before its best checkpoint, and none of those before it is left.
///
/// # Errors
/// If the note cannot be removed.
pub fn forget_best(run: &Path) -> Result<(), CheckpointError> {
    forget_best_on(&RealDisk, run)
}

/// As [`forget_best`], on a given disk.
pub(super) fn forget_best_on(disk: &dyn Disk, run: &Path) -> Result<(), CheckpointError> {
    let path = run.join(BEST);
    match disk.remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CheckpointError::disk(&path, "remove", error))
        }
        _ => Ok(()),
    }
}

/// The step of the best checkpoint, if one is noted.
pub fn best(run: &Path) -> Option<u64> {
    noted_best(run).ok().flatten()
}

/// The same for who deletes: a note that cannot be read is not the same as none.
pub(super) fn noted_best(run: &Path) -> Result<Option<u64>, CheckpointError> {
    let path = run.join(BEST);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(step_of(Path::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CheckpointError::unreadable(&path, error)),
    }
}
