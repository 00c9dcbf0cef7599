//! Edits of the configuration while a run is on: applied whole at a boundary of their class, or rejected whole.
//!
//! An edit is stronger than the file until the file says the same, as after it was written back: from then on the file is
//! the authority for its key.

use super::run::{ConfigSource, Engine};
use crate::config::{Config, ConfigError, Source, Sources, diff, model_record, read};
use crate::device;
use crate::link::{Body, Change};
use crate::registry::Class;
use std::collections::BTreeMap;

impl Engine {
    /// Reads the configuration file again. Returns whether it was refused, and a line. A file that is refused is forgotten.
    pub(super) fn reload(&mut self) -> (bool, String) {
        let before = self.source.clone();
        let text = self.source.file.as_deref().map(read).transpose();
        let config = text.and_then(|text| {
            self.source.text = text;
            self.resolve(&[])
        });
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                self.source = before;
                return self.reject(&error);
            }
        };
        let left = self.leave_to_file(&config);
        // Its keys have other sources now.
        let config = self.resolve(&[]).unwrap_or(config);
        let changes = diff(self.config(), &config);
        let sources = sources_of(&config, |key| {
            left.iter().any(|left| left == key) && !changes.iter().any(|(c, _)| c.key == key)
        });
        let (refused, message) = self.adopt(config);
        if refused {
            self.source = before;
            return (refused, message);
        }
        self.tell_sources(sources);
        let message = match left.join(", ") {
            keys if keys.is_empty() => message,
            keys => format!("{message}; the file decides {keys} again"),
        };
        (refused, message)
    }

    /// Says where values come from, where there is something to say.
    fn tell_sources(&mut self, sources: BTreeMap<String, String>) {
        if !sources.is_empty() {
            self.emit(Body::ConfigSources {
                step: self.step,
                sources,
            });
        }
    }

    /// Forgets the edits that the file says too, and the flags that they overrode. Returns their keys.
    fn leave_to_file(&mut self, config: &Config) -> Vec<String> {
        let mut left = Vec::new();
        for key in self.source.edits.clone().iter().map(|edit| key_of(edit)) {
            let others = |all: &[String]| -> Vec<String> {
                let others = all.iter().filter(|one| key_of(one) != key);
                others.cloned().collect()
            };
            let source = ConfigSource {
                flags: others(&self.source.flags),
                edits: others(&self.source.edits),
                ..self.source.clone()
            };
            let Ok(without) = self.resolve_from(&source, &[]) else {
                continue;
            };
            let said = without.effective();
            let said = said.iter().find(|value| value.key == key);
            let by_file = said.is_some_and(|value| value.source == Source::File.word());
            if by_file && without == *config && !left.contains(&key.to_owned()) {
                left.push(key.to_owned());
                self.source = source;
            }
        }
        left
    }

    /// Applies one `key=value`.
    pub(super) fn apply_edit(&mut self, edit: &str) -> (bool, String) {
        match self.resolve(&[edit.to_owned()]) {
            Ok(config) => {
                let answer = self.adopt(config);
                if !answer.0 {
                    self.source.edits.push(edit.to_owned());
                }
                answer
            }
            Err(error) => self.reject(&error),
        }
    }

    pub(super) fn resolve(&self, edits: &[String]) -> Result<Config, ConfigError> {
        self.resolve_from(&self.source, edits)
    }

    fn resolve_from(&self, source: &ConfigSource, edits: &[String]) -> Result<Config, ConfigError> {
        let text = match (&source.text, &source.file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read(file)?,
            (None, None) => crate::config::DEMO.to_owned(),
        };
        let shape = model_record(self.config(), self.setup.model.vocab_size());
        let edits: Vec<String> = source.edits.iter().chain(edits).cloned().collect();
        Config::resolve(&Sources {
            file: source.file.as_deref(),
            text: &text,
            flags: &source.flags,
            edits: &edits,
            checkpoint: source.checkpoint.as_deref(),
            shape: Some(&shape),
        })
    }

    fn reject(&mut self, error: &ConfigError) -> (bool, String) {
        let message = error.to_string();
        self.emit(Body::ConfigRejected {
            step: self.step,
            line: error.line,
            column: error.column,
            message: message.clone(),
        });
        (true, message)
    }

    /// Refuses an edit for a reason that has no place in the file.
    fn refuse(&mut self, message: String) -> (bool, String) {
        self.emit(Body::ConfigRejected {
            step: self.step,
            line: 0,
            column: 0,
            message: message.clone(),
        });
        (true, message)
    }

    fn adopt(&mut self, config: Config) -> (bool, String) {
        let changes = diff(self.config(), &config);
        if changes.is_empty() {
            // An edit that waited may have been taken back.
            self.waiting_config = None;
            // The same values, perhaps from other sources.
            self.setup.config = config;
            return (false, "nothing has changed".to_owned());
        }
        let restart: Vec<&str> = changes
            .iter()
            .filter(|(_, class)| *class == Class::Restart)
            .map(|(change, _)| change.key.as_str())
            .collect();
        if !restart.is_empty() {
            let message = format!(
                "{} cannot change in a run that is on: start a new one",
                restart.join(", ")
            );
            return self.refuse(message);
        }
        let device = changes
            .iter()
            .any(|(change, _)| change.key.starts_with("device."));
        if device && let Err(error) = device::open(&config) {
            return self.refuse(error.to_string());
        }
        let names = |changes: &[(Change, Class)]| {
            changes
                .iter()
                .map(|(change, _)| change.key.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if changes.iter().any(|(_, class)| *class == Class::Boundary) {
            let message = format!(
                "{} will be applied at the next pause or checkpoint",
                names(&changes)
            );
            self.waiting_config = Some(config);
            return (false, message);
        }
        self.waiting_config = None;
        let message = format!("{} applied", names(&changes));
        self.apply(config, changes);
        (false, message)
    }

    /// Applies an edit that waited for a boundary.
    pub(super) fn apply_waiting_config(&mut self) {
        if let Some(config) = self.waiting_config.take() {
            let changes = diff(self.config(), &config);
            self.apply(config, changes);
        }
    }

    fn apply(&mut self, config: Config, changes: Vec<(Change, Class)>) {
        self.trainer.optimizer.configure(&config.optimizer.choice);
        // A run that has given its memory back plans when it takes it again.
        let planned_anew =
            !self.released && changes.iter().any(|(_, class)| *class == Class::Boundary);
        if planned_anew && let Ok((cpu, gpu)) = device::open(&config) {
            let moved = config.device.kind != self.config().device.kind;
            let configured = if moved {
                self.trainer.move_to(gpu)
            } else {
                Ok(())
            };
            let configured = configured.and_then(|()| self.trainer.configure(&config, cpu));
            if let Err(error) = configured {
                // The next step tries again, and ends the run if it cannot.
                self.warn(error.to_string());
            }
            // Its plans are of the old threads.
            self.session = None;
        }
        self.interrupt.set_grace(config.shutdown.grace_s);
        self.setup.config = config;
        if planned_anew {
            // Its batches have the old height.
            self.loader = None;
        }
        self.config_version += 1;
        let text = self.config().to_toml();
        if let Err(error) = self.folder.save_config(self.config_version, &text) {
            self.warn(error.to_string());
        }
        let changes: Vec<Change> = changes.into_iter().map(|(change, _)| change).collect();
        let sources = sources_of(self.config(), |key| {
            changes.iter().any(|change| change.key == key)
        });
        self.emit(Body::ConfigApplied {
            step: self.step,
            version: self.config_version,
            changes,
        });
        self.tell_sources(sources);
        if planned_anew {
            self.tell_plan();
        }
    }
}

/// The source of every key that `is` one of those asked for, unless it is an edit.
fn sources_of(config: &Config, is: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let values = config.effective().into_iter();
    values
        .filter(|value| value.source != Source::Edit.word() && is(&value.key))
        .map(|value| (value.key, value.source))
        .collect()
}

/// The key of a `key=value`.
fn key_of(edit: &str) -> &str {
    edit.split_once('=').map_or(edit, |(key, _)| key).trim()
}
