//! Why a run's folder cannot be used, in a line each, with the exit code for it.

use crate::checkpoint::{CheckpointError, is_full};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The name is no name for a folder.
    #[error("run name {name:?}: {message}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        message: &'static str,
    },
    /// The name is taken.
    #[error("run {name} exists already ({}); --resume continues it, another --run starts a new one", path.display())]
    Exists {
        /// The name.
        name: String,
        /// Its folder.
        path: PathBuf,
    },
    /// There is no such run.
    #[error("no run {name} in {}; `zerollm runs` lists those there are", runs.display())]
    NotFound {
        /// The name.
        name: String,
        /// Where it was looked for.
        runs: PathBuf,
    },
    /// There is no run at all.
    #[error("no run in {} to resume; `zerollm train` starts one", runs.display())]
    NoRuns {
        /// Where they were looked for.
        runs: PathBuf,
    },
    /// Another process trains it.
    #[error("run {name} is in use by {}: stop it first (SIGINT ends it with a checkpoint)", Process(*process))]
    Locked {
        /// The run.
        name: String,
        /// The other process, if it can be told.
        process: Option<u32>,
    },
    /// Nothing can be written where runs land.
    #[error("{}: runs cannot be written there ({source}); name another folder with --runs or ZEROLLM_RUNS", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// There is no room.
    #[error("{}: no room on the disk ({source}); free some space and go on", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The operating system's words.
        source: io::Error,
    },
    /// The checkpoints cannot be looked at.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

struct Process(Option<u32>);

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(process) => write!(f, "process {process}"),
            None => f.write_str("another process"),
        }
    }
}

impl RunError {
    pub(super) fn disk(path: &Path, action: &'static str, source: io::Error) -> Self {
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

    /// An error of making or opening the first thing in a folder that the user names.
    pub(super) fn place(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            Self::DiskFull { path, source }
        } else {
            Self::Unwritable { path, source }
        }
    }

    /// The process's exit code for it: 2 where the user named the wrong run or folder, 5 for unusable checkpoints, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Name { .. }
            | Self::Exists { .. }
            | Self::NotFound { .. }
            | Self::NoRuns { .. }
            | Self::Unwritable { .. }
            | Self::Locked { .. } => 2,
            Self::Checkpoint(_) => 5,
            Self::DiskFull { .. } | Self::Io { .. } => 1,
        }
    }
}
