//! Checkpoints: complete or not there.
//!
//! `checkpoints/step_00001000/` holds the weights under Hugging Face's names, config.json, generation_config.json, tokenizer.json
//! and tokenizer_config.json where there is a tokenizer, the optimizer's arrays, the trainer's scalars and a manifest with the size
//! and hash of each. [`write()`] builds the folder beside its place under a temporary name, syncs and hashes every file,
//! writes the manifest last, and renames. Killed at any point it leaves what was there before and a temporary folder that
//! [`clean`] removes. A folder that does not agree with its manifest is never read ([`verify`], [`newest_valid`]).
//! Values come from a [`TensorSource`] and go to a [`TensorSink`]: there is no second copy of the weights.

mod derive;
mod disk;
mod keep;
mod manifest;
mod remove;
mod survey;
mod tensors;
mod trainer;
mod write;

#[cfg(test)]
mod tests;

pub use derive::{FORK, derive};
pub use disk::{Disk, DiskFile, RealDisk, write_atomic};
pub use keep::{
    Found, best, clean, forget_best, list, newest_valid, refuse_tag, set_aside, set_best, tag,
    tag_of, untag, verify,
};
pub use manifest::{FileRecord, Manifest};
pub use remove::{Removed, delete, newest_good, prune};
pub use survey::{Stamp, Surveyed, Surveyor, stamps};
pub use tensors::{TensorSink, TensorSource, load_tensors};
pub use trainer::{DataPosition, TrainerState, Undecodable};
pub use write::{Contents, Written, write, write_on};

pub(crate) use disk::TEMPORARY;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The weights.
pub const MODEL: &str = "model.safetensors";
/// The model's description.
pub const CONFIG: &str = "config.json";
/// Defaults of generation.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// How other programs are to open the tokenizer.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The optimizer's arrays.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The trainer's scalars.
pub const TRAINER: &str = "trainer.bin";
/// What the folder consists of.
pub const MANIFEST: &str = "manifest.json";

/// Files without which a run cannot go on.
const NEEDED: [&str; 4] = [MODEL, CONFIG, OPTIMIZER, TRAINER];

/// Why a checkpoint was not written or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no room. What was saved before is untouched.
    #[error("{}: no room on the disk ({source}); free some space, earlier checkpoints are intact", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The disk refused something else. What was saved before is untouched.
    #[error("{}: cannot {action}: {source}; earlier checkpoints are intact", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// A checkpoint, or what says which there are, cannot be read, which says nothing of what is in it.
    #[error("{}: cannot be read: {source}; see to its permissions and the disk", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The step has a checkpoint already; none is ever overwritten.
    #[error("{}: this checkpoint exists already and is not overwritten", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// The trainer's state cannot be written.
    #[error("checkpoint of step {step}: {message}")]
    State {
        /// The step.
        step: u64,
        /// Why.
        message: String,
    },
    /// The run needs it: a resume goes on from there.
    #[error(
        "{}: not deleted: it is the newest good checkpoint, from which the run would go on; write another first",
        path.display()
    )]
    Newest {
        /// Its folder.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("{}: {message}", path.display())]
    Newer {
        /// The folder or file.
        path: PathBuf,
        /// Which version it has, and which can be read.
        message: String,
    },
    /// The folder is not a complete checkpoint.
    #[error("{}: not a valid checkpoint: {message}", path.display())]
    Invalid {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl CheckpointError {
    /// What cannot be read.
    fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Unreadable { path, source }
    }

    /// An error of the disk: [`Self::DiskFull`] where there is no room.
    pub(crate) fn disk(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            Self::DiskFull { path, source }
        } else {
            Self::Io {
                path,
                action,
                source,
            }
        }
    }
}

/// Whether an error means that there is no room: a full disk or a used-up quota.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The name of a step's folder: `step_00001000`.
pub fn folder_name(step: u64) -> String {
    format!("step_{step:08}")
}

/// The step that a folder's name says, if it is a name that [`folder_name`] makes.
pub fn step_of(folder: &Path) -> Option<u64> {
    let name = folder.file_name()?.to_str()?;
    let step = name.strip_prefix("step_")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

/// Reads the trainer's scalars of a checkpoint.
///
/// # Errors
/// If the file cannot be read or is damaged.
pub fn read_trainer(folder: &Path) -> Result<TrainerState, CheckpointError> {
    let invalid = |message: String| CheckpointError::Invalid {
        path: folder.to_owned(),
        message: format!("{TRAINER}: {message}"),
    };
    let path = folder.join(TRAINER);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => invalid(error.to_string()),
        _ => CheckpointError::unreadable(&path, error),
    })?;
    TrainerState::decode(&bytes).map_err(|error| match error {
        Undecodable::Damaged(why) => invalid(why),
        newer @ Undecodable::Newer(_) => CheckpointError::Newer {
            path,
            message: newer.to_string(),
        },
    })
}
