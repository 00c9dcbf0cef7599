//! Which checkpoints go, and how: whole or not at all.
//!
//! A folder that goes is renamed first, to a name that is no checkpoint's: killed at any point there is the checkpoint, or a
//! leftover that [`super::clean`] removes, never half of one.

use super::disk::{Disk as _, RealDisk};
use super::keep::ASIDE;
use super::{
    CheckpointError, Manifest, TEMPORARY, best, folder_name, forget_best, list, step_of, tag_of,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its step.
    pub step: u64,
    /// Where it was.
    pub path: PathBuf,
    /// Bytes that this freed, as its manifest says.
    pub bytes: u64,
}

/// Deletes checkpoints until the last `keep_last` are left (0: none is deleted), never the best one of the run or one that
/// is tagged. Folders that do not look complete are neither counted nor touched. Checkpoints set aside go too, unless
/// tagged. Each that is gone is told to `removed`, also where a later one fails.
///
/// # Errors
/// If a folder cannot be read or removed.
pub fn prune(
    run: &Path,
    checkpoints: &Path,
    keep_last: usize,
    removed: &mut dyn FnMut(Removed),
) -> Result<(), CheckpointError> {
    if keep_last == 0 {
        return Ok(());
    }
    let best = best(run);
    let mut all = list(checkpoints)?;
    all.retain(|(_, path)| looks_complete(path));
    let old = all.len().saturating_sub(keep_last);
    let mut doomed: Vec<(u64, PathBuf)> = all.into_iter().take(old).collect();
    doomed.retain(|(step, _)| best != Some(*step));
    if let Ok(aside) = fs::read_dir(checkpoints.join(ASIDE)) {
        for path in aside.flatten().map(|entry| entry.path()) {
            let step = path.file_stem().and_then(|stem| step_of(Path::new(stem)));
            doomed.extend(step.map(|step| (step, path)));
        }
    }
    for (step, path) in doomed {
        if tag_of(&path).is_none() {
            removed(remove(checkpoints, step, &path, || Ok(()))?);
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
/// If there is none, if it is the newest that a resume could take up ([`newest_good`]), or if the disk refuses.
pub fn delete(
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
    remove(checkpoints, step, path, || match best(run) {
        Some(best) if best == step => forget_best(run),
        _ => Ok(()),
    })
}

/// Whether a folder holds all files that its manifest lists, at their sizes.
fn looks_complete(path: &Path) -> bool {
    Manifest::read(path).is_ok_and(|manifest| manifest.check(path, false).is_ok())
}

/// Renames a checkpoint's folder, does what belongs to that, and deletes it. Where the second fails the first is undone.
fn remove(
    checkpoints: &Path,
    step: u64,
    path: &Path,
    then: impl FnOnce() -> Result<(), CheckpointError>,
) -> Result<Removed, CheckpointError> {
    let fault = |error| CheckpointError::disk(path, "delete the folder", error);
    let bytes = Manifest::read(path).map_or(0, |manifest| manifest.bytes());
    let leftover = checkpoints.join(format!(
        "{TEMPORARY}prune-{}",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    // Of an earlier try that could not be finished.
    drop(fs::remove_dir_all(&leftover));
    fs::rename(path, &leftover).map_err(fault)?;
    if let Err(error) = then() {
        fs::rename(&leftover, path).map_err(fault)?;
        return Err(error);
    }
    // The new name is on the disk before anything in it goes: a power cut, too, leaves no half of a checkpoint under its own.
    RealDisk.sync_dir(checkpoints).map_err(fault)?;
    fs::remove_dir_all(&leftover)
        .map_err(|error| CheckpointError::disk(&leftover, "delete the folder", error))?;
    Ok(Removed {
        step,
        path: path.to_owned(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_what_belongs_to_it_fails_the_checkpoint_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(folder_name(1));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("part"), "whole").unwrap();
        let refuse = || {
            assert!(!path.exists());
            Err(CheckpointError::Newest { path: path.clone() })
        };
        assert!(remove(folder.path(), 1, &path, refuse).is_err());
        assert_eq!(fs::read_to_string(path.join("part")).unwrap(), "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(folder.path(), 1, &path, || Ok(())).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
