//! Writing a checkpoint so that it is complete or not there.

use super::keep::{move_aside, verify};
use super::manifest::SCHEMA;
use super::{
    CONFIG, CheckpointError, Disk, DiskFile, FileRecord, GENERATION_CONFIG, MANIFEST, MODEL,
    Manifest, OPTIMIZER, RealDisk, TEMPORARY, TOKENIZER, TOKENIZER_CONFIG, TRAINER, TensorSource,
    TrainerState, folder_name,
};
use crate::hf::tokenizer_config;
use crate::safetensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What goes into a checkpoint.
pub struct Contents<'a> {
    /// The weights, under Hugging Face's names.
    pub model: &'a dyn TensorSource,
    /// The optimizer's arrays.
    pub optimizer: &'a dyn TensorSource,
    /// config.json.
    pub config: &'a Value,
    /// generation_config.json.
    pub generation_config: &'a Value,
    /// tokenizer.json, where there is a tokenizer.
    pub tokenizer: Option<&'a [u8]>,
    /// The trainer's scalars; `step` and `attempt` are the checkpoint's.
    pub trainer: &'a TrainerState,
}

/// A checkpoint that is on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its folder.
    pub path: PathBuf,
    /// Time that writing took.
    pub seconds: f64,
    /// Size of its files, the manifest included.
    pub bytes: u64,
}

/// Writes the checkpoint of `contents.trainer.step` into the folder `checkpoints`, which is made if need be. `reason` is
/// one of the words of the `checkpoint` event.
///
/// # Errors
/// If the step has a checkpoint already or the disk fails; then nothing has changed but, at worst, a temporary folder.
pub fn write(
    checkpoints: &Path,
    contents: &Contents<'_>,
    reason: &str,
) -> Result<Written, CheckpointError> {
    write_on(&RealDisk, checkpoints, contents, reason)
}

/// As [`write()`], on a given disk.
///
/// # Errors
/// As [`write()`].
pub fn write_on(
    disk: &dyn Disk,
    checkpoints: &Path,
    contents: &Contents<'_>,
    reason: &str,
) -> Result<Written, CheckpointError> {
    let start = Instant::now();
    let step = contents.trainer.step;
    let place = checkpoints.join(folder_name(step));
    if place.symlink_metadata().is_ok() {
        // By its hashes: sizes alone would keep the place of one that nobody can go on from.
        if verify(&place).is_ok() {
            return Err(CheckpointError::Exists { path: place });
        }
        // Damaged, which is why it is written again: out of the way, but not deleted.
        move_aside(checkpoints, &place)?;
    }
    let temporary = begin(disk, checkpoints, step)?;
    let outcome = fill(disk, &temporary, contents, reason).and_then(|bytes| {
        publish(disk, checkpoints, &temporary, &place)?;
        Ok(bytes)
    });
    match outcome {
        Ok(bytes) => Ok(Written {
            path: place,
            seconds: start.elapsed().as_secs_f64(),
            bytes,
        }),
        Err(error) => {
            drop(disk.remove_dir_all(&temporary));
            Err(error)
        }
    }
}

/// Makes the folder in which the checkpoint of a step is built.
pub(super) fn begin(
    disk: &dyn Disk,
    checkpoints: &Path,
    step: u64,
) -> Result<PathBuf, CheckpointError> {
    let fault = |path: &Path, error| CheckpointError::disk(path, "make the folder", error);
    disk.create_dir_all(checkpoints)
        .map_err(|error| fault(checkpoints, error))?;
    let id = std::process::id();
    let temporary = checkpoints.join(format!("{TEMPORARY}{}-{id}", folder_name(step)));
    // Left by a failed attempt of this process whose removal failed too, or by a killed one of the same id.
    if temporary.symlink_metadata().is_ok() {
        drop(disk.remove_dir_all(&temporary));
    }
    disk.create_dir(&temporary)
        .map_err(|error| fault(&temporary, error))?;
    Ok(temporary)
}

/// Gives a finished folder its name, for good: after an error it does not have it.
pub(super) fn publish(
    disk: &dyn Disk,
    checkpoints: &Path,
    temporary: &Path,
    place: &Path,
) -> Result<(), CheckpointError> {
    disk.rename(temporary, place)
        .map_err(|error| CheckpointError::disk(place, "rename the finished folder", error))?;
    disk.sync_dir(checkpoints).map_err(|error| {
        // It might not survive a power cut: better not there than doubtful.
        drop(disk.rename(place, temporary));
        CheckpointError::disk(checkpoints, "sync the folder", error)
    })
}

/// Writes all files, the manifest last, and syncs the folder.
fn fill(
    disk: &dyn Disk,
    folder: &Path,
    contents: &Contents<'_>,
    reason: &str,
) -> Result<u64, CheckpointError> {
    let trainer = contents
        .trainer
        .encode()
        .map_err(|message| CheckpointError::State {
            step: contents.trainer.step,
            message,
        })?;
    let mut writer = Filling::new(disk, folder);
    writer.file(MODEL, &mut |out| {
        tensors(out, contents.model, &[("format", "pt")])
    })?;
    writer.bytes(CONFIG, &pretty(contents.config))?;
    writer.bytes(GENERATION_CONFIG, &pretty(contents.generation_config))?;
    if let Some(tokenizer) = contents.tokenizer {
        writer.bytes(TOKENIZER, tokenizer)?;
        let config = tokenizer_config(tokenizer, contents.generation_config);
        writer.bytes(TOKENIZER_CONFIG, &pretty(&config))?;
    }
    #[cfg(debug_assertions)]
    crate::drill::stand("write", contents.trainer.step);
    writer.file(OPTIMIZER, &mut |out| tensors(out, contents.optimizer, &[]))?;
    writer.bytes(TRAINER, &trainer)?;
    let manifest = Manifest {
        schema: SCHEMA,
        step: contents.trainer.step,
        attempt: contents.trainer.attempt,
        reason: reason.to_owned(),
        files: std::mem::take(&mut writer.files),
    };
    let text = pretty(&serde_json::json!(manifest));
    writer.bytes(MANIFEST, &text)?;
    disk.sync_dir(folder)
        .map_err(|error| CheckpointError::disk(folder, "sync the folder", error))?;
    Ok(manifest.bytes() + text.len() as u64)
}

pub(super) fn tensors(
    out: &mut dyn Write,
    source: &dyn TensorSource,
    metadata: &[(&str, &str)],
) -> io::Result<()> {
    let mut data = |index, out: &mut dyn Write| source.write(index, out);
    safetensors::write(out, &source.tensors(), metadata, &mut data).map(drop)
}

pub(super) fn pretty(value: &Value) -> Vec<u8> {
    let mut text = format!("{value:#}");
    text.push('\n');
    text.into_bytes()
}

/// A folder being filled.
pub(super) struct Filling<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    pub(super) files: BTreeMap<String, FileRecord>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(disk: &'a dyn Disk, path: &'a Path) -> Self {
        Self {
            disk,
            path,
            files: BTreeMap::new(),
        }
    }

    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.file(name, &mut |out| out.write_all(bytes))
    }

    pub(super) fn file(
        &mut self,
        name: &str,
        data: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        let fault = |action| {
            let path = path.clone();
            move |error| CheckpointError::disk(&path, action, error)
        };
        let file = self.disk.create(&path).map_err(fault("make the file"))?;
        let hashed = Hashed {
            file,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        let mut buffered = BufWriter::with_capacity(1 << 20, hashed);
        data(&mut buffered).map_err(fault("write"))?;
        let mut hashed = buffered
            .into_inner()
            .map_err(|error| fault("write")(error.into_error()))?;
        hashed.file.sync().map_err(fault("sync"))?;
        let record = FileRecord {
            bytes: hashed.bytes,
            blake3: hashed.hasher.finalize().to_hex().to_string(),
        };
        self.files.insert(name.to_owned(), record);
        Ok(())
    }
}

/// Hashes what goes by.
struct Hashed {
    file: Box<dyn DiskFile>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
