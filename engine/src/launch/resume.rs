//! Going on with a run: where its newest checkpoint leaves it, under the configuration of today.
//!
//! What may not change in a run is compared with what the checkpoint was written under, and the data with those that it has
//! seen. Until all of that stands, the run's folder is as it was. Next: [`super::prepared`].

use super::attended::attended;
use super::prepared::Prepared;
use super::{DEMO_NAME, LaunchError, Launched, PLACES, Request, checkpoint_config, text};
use crate::checkpoint::Found;
use crate::config::{Config, Sources, diff, recorded};
use crate::link::Interrupt;
use crate::registry::Class;
use crate::run_folder::{Resumed, RunFolder, config_path, config_versions};
use crate::train::run::Origin;
use crate::train::saving::same_data;
use std::path::PathBuf;

/// Prepares and starts the run that goes on.
pub(super) fn go_on(
    request: &Request,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    let asked = request.clone();
    let Continued {
        prepared,
        mut folder,
        checkpoint,
        file,
        stored_text,
        mut warnings,
    } = attended(interrupt, progress, move |interrupt, progress| {
        asked.prepare_to_go_on(interrupt, progress)
    })?;
    let before = folder.record().what.clone();
    let attempt = folder.begin_attempt(&request.origin(Some(before)))?;
    let version = config_versions(folder.path())
        .last()
        .map_or(1, |version| version + 1);
    folder.save_config(version, &prepared.setup.config.to_toml())?;
    warnings.extend(prepared.warnings());
    let origin = Origin {
        source: request.source(file, prepared.text.clone(), stored_text),
        attempt,
        notes: Vec::new(),
        warnings,
        config_version: version,
    };
    let ready = prepared.engine(folder, &origin, interrupt)?;
    let Some(found) = checkpoint else {
        return ready.start(None, origin.warnings);
    };
    progress("reading the checkpoint");
    let (ready, path) = attended(interrupt, progress, move |_, _| ready.restored(&found))?;
    ready.start(Some(path), origin.warnings)
}

/// What a run that goes on is made of.
struct Continued {
    prepared: Prepared,
    folder: RunFolder,
    checkpoint: Option<Found>,
    file: Option<PathBuf>,
    stored_text: Option<String>,
    warnings: Vec<String>,
}

impl Request {
    /// Everything of a run that goes on; in its folder nothing has changed yet.
    fn prepare_to_go_on(
        &self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Continued, LaunchError> {
        let Resumed {
            folder,
            checkpoint,
            mut warnings,
            ..
        } = RunFolder::open_for_resume(&self.runs, self.name.as_deref())?;
        let file = match &self.file {
            Some(file) => Some(file.clone()),
            None => own_config(&folder)?,
        };
        let stored_text = match &checkpoint {
            Some(found) => Some(checkpoint_config(&found.path)?),
            None => None,
        };
        let own = checkpoint.as_ref().map(|found| found.path.clone());
        let shape = own.as_deref().and_then(recorded);
        let text = text(file.as_ref())?;
        let config = Config::resolve(&Sources {
            file: file.as_deref(),
            text: &text,
            flags: &self.flags,
            edits: &[],
            checkpoint: stored_text.as_deref(),
            shape: shape.as_ref(),
        })?;
        if let Some(stored) = &stored_text {
            let before = Config::resolve(&Sources {
                text: stored,
                shape: shape.as_ref(),
                ..Sources::default()
            })?;
            for (change, class) in diff(&before, &config) {
                if class == Class::Restart && !PLACES.contains(&change.key.as_str()) {
                    return Err(LaunchError::Restart {
                        run: folder.name(),
                        key: change.key,
                        from: change.from,
                        to: change.to,
                    });
                }
                warnings.push(format!(
                    "{} = {} (the checkpoint had {})",
                    change.key, change.to, change.from
                ));
            }
        }
        let prepared = Prepared::new(config, own.as_deref(), interrupt, progress)?.noting(text);
        if let Some(found) = &checkpoint
            && !same_data(&found.trainer, &prepared.setup.datasets.train)
        {
            return Err(LaunchError::OtherData { run: folder.name() });
        }
        Ok(Continued {
            prepared,
            folder,
            checkpoint,
            file,
            stored_text,
            warnings,
        })
    }
}

/// The file of a run's newest configuration; none for a demo that died before it was stored.
///
/// # Errors
/// If the run died before its configuration was stored, and only its file could tell it.
fn own_config(folder: &RunFolder) -> Result<Option<PathBuf>, LaunchError> {
    let stored = config_versions(folder.path())
        .last()
        .map(|version| config_path(folder.path(), *version));
    if stored.is_some() || folder.record().what == DEMO_NAME {
        return Ok(stored);
    }
    Err(LaunchError::NoConfig { run: folder.name() })
}
