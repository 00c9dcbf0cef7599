//! The first checkpoint of a fork: another run's, taken over.
//!
//! The weights and what describes them are linked, not copied, where the disk can: no checkpoint's file is ever written
//! again, so the two runs share them safely, and what one deletes the other keeps. The trainer's scalars are the fork's
//! own; so is the optimizer's state where it starts afresh.

use super::keep::move_aside;
use super::manifest::SCHEMA;
use super::write::{Filling, begin, pretty, publish, tensors};
use super::{
    CheckpointError, Disk, Found, MANIFEST, Manifest, OPTIMIZER, RealDisk, TRAINER, TensorSource,
    TrainerState, folder_name,
};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The reason that the manifest of such a checkpoint gives.
pub const FORK: &str = "fork";

/// Puts the checkpoint `from` into the folder `checkpoints` of another run, with `trainer` in place of its scalars and,
/// where one is given, `optimizer` in place of its optimizer's arrays. As with every checkpoint it is there whole or not at
/// all.
///
/// # Errors
/// If a file of `from` is gone or the disk refuses.
pub fn derive(
    from: &Found,
    checkpoints: &Path,
    trainer: &TrainerState,
    optimizer: Option<&dyn TensorSource>,
) -> Result<Found, CheckpointError> {
    derive_on(&RealDisk, from, checkpoints, trainer, optimizer)
}

/// As [`derive`], on a given disk.
pub(super) fn derive_on(
    disk: &dyn Disk,
    from: &Found,
    checkpoints: &Path,
    trainer: &TrainerState,
    optimizer: Option<&dyn TensorSource>,
) -> Result<Found, CheckpointError> {
    let place = checkpoints.join(folder_name(trainer.step));
    let temporary = begin(disk, checkpoints, trainer.step)?;
    let made = fill(disk, from, &temporary, trainer, optimizer).and_then(|manifest| {
        // Once there is another, and not before.
        if place.symlink_metadata().is_ok() {
            move_aside(checkpoints, &place)?;
        }
        publish(disk, checkpoints, &temporary, &place)?;
        Ok(manifest)
    });
    match made {
        Ok(manifest) => Ok(Found {
            path: place,
            manifest,
            trainer: trainer.clone(),
        }),
        Err(error) => {
            drop(disk.remove_dir_all(&temporary));
            Err(error)
        }
    }
}

fn fill(
    disk: &dyn Disk,
    from: &Found,
    folder: &Path,
    trainer: &TrainerState,
    optimizer: Option<&dyn TensorSource>,
) -> Result<Manifest, CheckpointError> {
    let mut writer = Filling::new(disk, folder);
    for (name, record) in &from.manifest.files {
        let own = name == TRAINER || (name == OPTIMIZER && optimizer.is_some());
        if own {
            continue;
        }
        let source = from.path.join(name);
        share(&source, &folder.join(name))
            .map_err(|error| CheckpointError::disk(&source, "link or copy", error))?;
        writer.files.insert(name.clone(), record.clone());
    }
    if let Some(optimizer) = optimizer {
        writer.file(OPTIMIZER, &mut |out| tensors(out, optimizer, &[]))?;
    }
    let state = trainer.encode().map_err(|message| CheckpointError::State {
        step: trainer.step,
        message,
    })?;
    writer.bytes(TRAINER, &state)?;
    let manifest = Manifest {
        schema: SCHEMA,
        step: trainer.step,
        attempt: trainer.attempt,
        reason: FORK.to_owned(),
        files: std::mem::take(&mut writer.files),
    };
    writer.bytes(MANIFEST, &pretty(&serde_json::json!(manifest)))?;
    disk.sync_dir(folder)
        .map_err(|error| CheckpointError::disk(folder, "sync the folder", error))?;
    Ok(manifest)
}

/// Links a file, or copies it where it cannot be linked: another disk, or one without links.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}
