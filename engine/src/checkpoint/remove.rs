//! Which checkpoints go, and how: whole or not at all.
//!
//! A folder that goes is renamed first, to a name that is no checkpoint's: killed at any point there is the checkpoint, or a
//! leftover, never half of one. Renamed it is deleted for every reader; what of it cannot be taken off the disk is a leftover
//! too, and no failure. The next [`prune`] sweeps leftovers, and so does [`super::clean`] at the next start.

use super::keep::{ASIDE, begins_with, entries, forget_best_on, is_tagged, noted_best};
use super::{
    CheckpointError, Disk, Manifest, RealDisk, TEMPORARY, best, folder_name, list, set_best,
    step_of,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the names of checkpoints that go begin with, behind [`TEMPORARY`].
const DOOMED: &str = "prune-";

/// A checkpoint that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its step.
    pub step: u64,
    /// Where it was.
    pub path: PathBuf,
    /// Bytes that this freed: of those that its manifest lists, all that are not on the disk any more.
    pub bytes: u64,
    /// What is still on the disk of it and why, in a line. It goes later.
    pub leftover: Option<String>,
}

/// Deletes checkpoints until the last `keep_last` are left (0: none is deleted), never the best one of the run or one that
/// is tagged. Folders that do not look complete, and those of the steps in `damaged`, are neither counted nor touched.
/// Checkpoints set aside go too, unless tagged. Each that is gone is told to `removed`, also where a later one fails.
///
/// # Errors
/// If it cannot be read what there is and what stays, or a folder cannot be renamed.
pub fn prune(
    run: &Path,
    checkpoints: &Path,
    keep_last: usize,
    damaged: &BTreeSet<u64>,
    removed: &mut dyn FnMut(Removed),
) -> Result<(), CheckpointError> {
    sweep(checkpoints);
    if keep_last == 0 {
        return Ok(());
    }
    let best = noted_best(run)?;
    let mut all = list(checkpoints)?;
    all.retain(|(step, path)| !damaged.contains(step) && looks_complete(path));
    let old = all.len().saturating_sub(keep_last);
    let mut doomed: Vec<(u64, PathBuf)> = all.into_iter().take(old).collect();
    doomed.retain(|(step, _)| best != Some(*step));
    for path in entries(&checkpoints.join(ASIDE))? {
        let step = path.file_stem().and_then(|stem| step_of(Path::new(stem)));
        doomed.extend(step.map(|step| (step, path)));
    }
    for (step, path) in doomed {
        if !is_tagged(&path) {
            removed(remove(&RealDisk, checkpoints, step, &path)?);
        }
    }
    Ok(())
}

/// The step of the newest checkpoint that a resume could take up, as far as sizes tell; those of the steps in `damaged` are
/// known not to be what was written.
///
/// # Errors
/// If the folder cannot be read.
pub fn newest_good(
    checkpoints: &Path,
    damaged: &BTreeSet<u64>,
) -> Result<Option<u64>, CheckpointError> {
    let all = list(checkpoints)?.into_iter().rev();
    let mut good = all.filter(|(step, path)| !damaged.contains(step) && looks_complete(path));
    Ok(good.next().map(|(step, _)| step))
}

/// Deletes the checkpoint of `step` because somebody asks for it, tagged or not. Where it is the best of the run, the note
/// of that goes with it.
///
/// # Errors
/// If there is none, if it is the newest that a resume could take up ([`newest_good`]), or if the disk refuses; then it is
/// still there.
pub fn delete(
    run: &Path,
    checkpoints: &Path,
    step: u64,
    damaged: &BTreeSet<u64>,
) -> Result<Removed, CheckpointError> {
    delete_on(&RealDisk, run, checkpoints, step, damaged)
}

/// As [`delete`], on a given disk.
pub(super) fn delete_on(
    disk: &dyn Disk,
    run: &Path,
    checkpoints: &Path,
    step: u64,
    damaged: &BTreeSet<u64>,
) -> Result<Removed, CheckpointError> {
    let all = list(checkpoints)?;
    let Some((_, path)) = all.iter().find(|(found, _)| *found == step) else {
        return Err(CheckpointError::Invalid {
            path: checkpoints.join(folder_name(step)),
            message: "it is not there".to_owned(),
        });
    };
    if newest_good(checkpoints, damaged)? == Some(step) {
        return Err(CheckpointError::Newest { path: path.clone() });
    }
    // The note goes first: one that stayed behind would make the best of another checkpoint of this step.
    let noted = best(run) == Some(step);
    if noted {
        forget_best_on(disk, run)?;
    }
    let removed = remove(disk, checkpoints, step, path);
    if noted && removed.is_err() {
        // It is there, and still the best. Where the note cannot be written either, the error says what the disk does.
        drop(set_best(run, step));
    }
    removed
}

/// Whether a folder holds all files that its manifest lists, at their sizes.
fn looks_complete(path: &Path) -> bool {
    Manifest::read(path).is_ok_and(|manifest| manifest.check(path, false).is_ok())
}

/// Renames a checkpoint's folder and deletes it. An error means that it is still there.
fn remove(
    disk: &dyn Disk,
    checkpoints: &Path,
    step: u64,
    path: &Path,
) -> Result<Removed, CheckpointError> {
    let bytes = Manifest::read(path).map_or(0, |manifest| manifest.bytes());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let doomed = free(checkpoints, &format!("{TEMPORARY}{DOOMED}{name}"));
    disk.rename(path, &doomed)
        .map_err(|error| CheckpointError::disk(path, "delete the folder", error))?;
    // The new name is on the disk before anything in it goes: a power cut, too, leaves no half of a checkpoint under its own.
    let gone = disk
        .sync_dir(checkpoints)
        .and_then(|()| disk.remove_dir_all(&doomed));
    let rest = if gone.is_ok() { 0 } else { size(&doomed) };
    let name = doomed.file_name().unwrap_or_default().to_string_lossy();
    let leftover = |error| {
        format!(
            "what is left of it ({rest} bytes in {name}) goes with the next checkpoint: {error}"
        )
    };
    Ok(Removed {
        step,
        path: path.to_owned(),
        bytes: bytes.saturating_sub(rest),
        leftover: gone.err().map(leftover),
    })
}

/// A path in a folder that is not there yet: a leftover may have the name itself.
fn free(folder: &Path, name: &str) -> PathBuf {
    let mut path = folder.join(name);
    let mut number = 1;
    while path.symlink_metadata().is_ok() {
        path = folder.join(format!("{name}.{number}"));
        number += 1;
    }
    path
}

/// Bytes of the files in a folder, as far as it can be read.
fn size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Takes what is left of deleted checkpoints off the disk. What still cannot go stays for the next time: that it is there was
/// told when it was left.
fn sweep(checkpoints: &Path) {
    let mut leftovers = entries(checkpoints).unwrap_or_default();
    leftovers.retain(|path| begins_with(path, &format!("{TEMPORARY}{DOOMED}")));
    // As in `remove`: perhaps it is this that failed.
    if leftovers.is_empty() || RealDisk.sync_dir(checkpoints).is_err() {
        return;
    }
    for path in leftovers {
        drop(fs::remove_dir_all(path));
    }
}
