//! A lock on a run's folder that the operating system releases when its process ends, however it ends.

use super::RunError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// A held lock. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(super) fn take(path: &Path, run: &str) -> Result<Self, RunError> {
        let fault = |error| RunError::disk(path, "lock", error);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(|error| RunError::place(path.parent().unwrap_or(path), error))?;
        for attempt in 0.. {
            match file.try_lock() {
                Ok(()) => break,
                // A reader that asks whether the run is alive holds the lock for a moment.
                Err(TryLockError::WouldBlock) if attempt < 10 => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(RunError::Locked {
                        name: run.to_owned(),
                        process: owner(path),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(fault(error)),
            }
        }
        file.set_len(0).map_err(fault)?;
        let process = std::process::id();
        file.write_all(format!("{process}\n").as_bytes())
            .map_err(fault)?;
        Ok(Self { _file: file })
    }

    /// Whether a process holds the lock, and its id if that can be told.
    pub(super) fn holder(path: &Path) -> (bool, Option<u32>) {
        match File::open(path).map(|file| file.try_lock_shared()) {
            Ok(Err(TryLockError::WouldBlock)) => (true, owner(path)),
            _ => (false, None),
        }
    }
}

fn owner(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
