//! meta.json: what people say of a run. The engine neither reads nor writes it.

use super::RunError;
use crate::checkpoint::{RealDisk, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const META: &str = "meta.json";

/// Tags and a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Words to find the run by.
    pub tags: BTreeSet<String>,
    /// A text; empty where there is none.
    pub note: String,
}

impl Meta {
    /// What is said of the run in this folder. A file that is missing or not whole says nothing.
    pub fn read(run: &Path) -> Self {
        let text = fs::read(run.join(META)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes it; a run of which nothing is said has no file.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, run: &Path) -> Result<(), RunError> {
        let path = run.join(META);
        if *self == Self::default() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(RunError::disk(&path, "remove", error))
                }
                _ => Ok(()),
            };
        }
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| RunError::disk(&path, "write", error.into()))?;
        text.push(b'\n');
        write_atomic(&RealDisk, &path, &text).map_err(|error| RunError::disk(&path, "write", error))
    }
}
