//! What lies in a run's folder of checkpoints, for who looks at it from outside: nothing is hashed, nothing is changed.
//!
//! Who shows it looks every few seconds, at a disk that may be far away: a [`Surveyor`] keeps what it has read.

use super::{CheckpointError, MANIFEST, Manifest, TRAINER, best, list, read_trainer, tag_of};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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
    /// The files that its manifest lists, in its order: as long as these are equal, nobody has changed one.
    pub stamps: Vec<Option<Stamp>>,
    /// Version of the configuration in force when it was written.
    pub config_version: Option<u32>,
    /// That configuration: dotted key and TOML value.
    pub config: Arc<Vec<(String, String)>>,
}

/// When a file was last changed, and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: SystemTime,
    bytes: u64,
}

impl Stamp {
    /// That of a file; none where the system does not say.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            bytes: metadata.len(),
        })
    }
}

/// Looks at a run's checkpoints again and again, and reads only files that are new or have changed.
#[derive(Debug, Default)]
pub struct Surveyor {
    known: BTreeMap<PathBuf, Known>,
}

/// What was read of a checkpoint.
#[derive(Debug, Default)]
struct Known {
    manifest: Kept<Arc<Manifest>>,
    config: Kept<InForce>,
}

/// Version of the configuration in force, and that configuration.
type InForce = (u32, Arc<Vec<(String, String)>>);

/// What a file said, as long as its stamp stays.
#[derive(Debug)]
struct Kept<T>(Option<(Stamp, T)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Kept<T> {
    fn get<E>(&mut self, file: &Path, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        // Before it is read: what is changed meanwhile has another one then.
        let stamp = Stamp::of(file);
        if let Some((then, value)) = &self.0
            && Some(*then) == stamp
        {
            return Ok(value.clone());
        }
        self.0 = None;
        let value = read()?;
        self.0 = stamp.map(|stamp| (stamp, value.clone()));
        Ok(value)
    }
}

impl Surveyor {
    /// The checkpoints of the run in a folder, ascending; none where it has no such folder.
    ///
    /// # Errors
    /// If the folder of checkpoints cannot be read.
    pub fn survey(&mut self, run: &Path) -> Result<Vec<Surveyed>, CheckpointError> {
        let best = best(run);
        let all = list(&run.join("checkpoints"))?;
        let mut before = std::mem::take(&mut self.known);
        let mut found = Vec::with_capacity(all.len());
        for (step, path) in all {
            let mut known = before.remove(&path).unwrap_or_default();
            found.push(known.look(step, &path, best == Some(step)));
            self.known.insert(path, known);
        }
        Ok(found)
    }
}

impl Known {
    fn look(&mut self, step: u64, path: &Path, best: bool) -> Surveyed {
        let read = || Manifest::read(path).map(Arc::new);
        let manifest = self.manifest.get(&path.join(MANIFEST), read);
        let fault = match &manifest {
            Ok(manifest) => manifest.check(path, false).err(),
            Err(_) => None,
        };
        let (manifest, fault) = match (manifest, fault) {
            (Ok(manifest), None) => (Some(manifest), None),
            (Err(fault), _) | (Ok(_), Some(fault)) => (None, Some(fault.to_string())),
        };
        let files = manifest.iter().flat_map(|manifest| manifest.files.keys());
        let stamps = files.map(|name| Stamp::of(&path.join(name))).collect();
        let read = || read_trainer(path).map(|it| (it.config_version, Arc::new(it.config)));
        let config = self.config.get(&path.join(TRAINER), read).ok();
        Surveyed {
            step,
            tag: tag_of(path),
            best,
            bytes: manifest.as_ref().map_or(0, |manifest| manifest.bytes()),
            reason: manifest.map_or_else(String::new, |manifest| manifest.reason.clone()),
            fault,
            stamps,
            config_version: config.as_ref().map(|(version, _)| *version),
            config: config.map_or_else(Arc::default, |(_, config)| config),
            path: path.to_owned(),
        }
    }
}
