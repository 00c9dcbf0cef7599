//! What lies in a run's folder of checkpoints, for who looks at it from outside: nothing is hashed, nothing is changed.

use super::{Manifest, best, list, read_trainer, tag_of};
use std::path::{Path, PathBuf};

/// A checkpoint as its small files describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Surveyed {
    /// Its step.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Bytes of its files; 0 where the manifest cannot be read.
    pub bytes: u64,
    /// Why it was written, as the manifest says.
    pub reason: String,
    /// The name that it is marked with.
    pub tag: Option<String>,
    /// Whether it is noted as the best of the run.
    pub best: bool,
    /// What is wrong with it, as far as sizes tell.
    pub fault: Option<String>,
    /// Version of the configuration in force when it was written.
    pub config_version: Option<u32>,
    /// That configuration: dotted key and TOML value.
    pub config: Vec<(String, String)>,
}

/// The checkpoints of the run in a folder, ascending; none where it has no such folder.
///
/// # Errors
/// If the folder of checkpoints cannot be read.
pub fn survey(run: &Path) -> Result<Vec<Surveyed>, super::CheckpointError> {
    let best = best(run);
    let all = list(&run.join("checkpoints"))?;
    let look = |(step, path): (u64, PathBuf)| {
        let manifest = Manifest::read(&path).and_then(|manifest| {
            manifest.check(&path, false)?;
            Ok(manifest)
        });
        let trainer = read_trainer(&path).ok();
        Surveyed {
            step,
            tag: tag_of(&path),
            best: best == Some(step),
            bytes: manifest.as_ref().map_or(0, Manifest::bytes),
            reason: manifest
                .as_ref()
                .map_or_else(|_| String::new(), |manifest| manifest.reason.clone()),
            fault: manifest.err().map(|error| error.to_string()),
            config_version: trainer.as_ref().map(|trainer| trainer.config_version),
            config: trainer.map_or_else(Vec::new, |trainer| trainer.config),
            path,
        }
    };
    Ok(all.into_iter().map(look).collect())
}
