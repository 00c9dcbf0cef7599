//! manifest.json: what a complete checkpoint consists of.

use super::{CheckpointError, MANIFEST, step_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path};

/// Version of the manifest that is written.
pub(super) const SCHEMA: u32 = 1;

/// The files of a checkpoint with their sizes and hashes. It is written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub schema: u32,
    /// Last step done.
    pub step: u64,
    /// Attempt that wrote it, from 1.
    pub attempt: u32,
    /// Why it was written.
    pub reason: String,
    /// Name to size and hash.
    pub files: BTreeMap<String, FileRecord>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its contents, in hexadecimal.
    pub blake3: String,
}

impl Manifest {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// If it is not there, not whole, or of a newer schema.
    pub fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let invalid = |message: String| CheckpointError::Invalid {
            path: folder.to_owned(),
            message,
        };
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => invalid(format!("{MANIFEST} is missing")),
            _ => CheckpointError::unreadable(&path, error),
        })?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| invalid(format!("{MANIFEST} is not valid: {error}")))?;
        if manifest.schema > SCHEMA {
            return Err(CheckpointError::Newer {
                path: folder.to_owned(),
                message: format!(
                    "it has schema {}, this program reads up to {SCHEMA}; use a newer zerollm",
                    manifest.schema
                ),
            });
        }
        Ok(manifest)
    }

    /// Sum of the files' sizes.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Compares the files of a folder with what is written here: `sizes` only, or their contents too.
    pub(super) fn check(&self, folder: &Path, contents: bool) -> Result<(), CheckpointError> {
        let invalid = |message: String| CheckpointError::Invalid {
            path: folder.to_owned(),
            message,
        };
        if let Some(step) = step_of(folder)
            && step != self.step
        {
            return Err(invalid(format!("its manifest is of step {}", self.step)));
        }
        for needed in super::NEEDED {
            if !self.files.contains_key(needed) {
                return Err(invalid(format!("its manifest does not list {needed}")));
            }
        }
        for (name, record) in &self.files {
            let mut parts = Path::new(name).components();
            if !matches!(
                (parts.next(), parts.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(invalid(format!("{name:?} in its manifest is no file name")));
            }
            let path = folder.join(name);
            let size = match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                Ok(_) => return Err(invalid(format!("{name} is not a file"))),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(invalid(format!("{name}: {error}")));
                }
                Err(error) => return Err(CheckpointError::unreadable(&path, error)),
            };
            if size != record.bytes {
                return Err(invalid(format!(
                    "{name} has {size} bytes, {} were written",
                    record.bytes
                )));
            }
            if contents {
                let hash =
                    hash(&path).map_err(|error| CheckpointError::unreadable(&path, error))?;
                if hash != record.blake3 {
                    return Err(invalid(format!(
                        "{name} is not what was written (its hash differs)"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
            Ok(read) => {
                hasher.update(&chunk[..read]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
