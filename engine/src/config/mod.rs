//! Configuration: from TOML, flags and defaults to typed, checked structs.
//!
//! [`Config::parse`] is the way in. Layers of texts (`layer.rs`) are resolved from the weakest to the strongest (default,
//! preset, `model.init_from`, checkpoint, file, flag, edit) into one value a key (`resolve.rs`), checked against each other
//! (`check.rs`) and read into structs (`typed.rs`). Nothing after that checks a value again. Which keys there are is said
//! once: in `schema.rs`, and in [`crate::registry`] for those of variants. Every error is one line that names the key, its
//! line and column, and what to do.

mod check;
mod entry;
mod error;
mod form;
mod help;
mod import;
mod layer;
mod preset;
mod resolve;
mod schema;
#[cfg(test)]
mod tests;
mod typed;
mod value;
mod watch;

use std::fmt::Write as _;
use std::path::Path;

pub use error::{ConfigError, nearest};
pub use form::{Form, check, form, with_edits};
pub use import::{FIELD as MODEL_RECORD_FIELD, record as model_record, recorded};
pub use layer::Source;
pub use typed::{
    Choice, DataConfig, DataFormat, DataSource, DeviceConfig, ModelConfig, OnNonfinite,
    OptimizerConfig, RunConfig, SampleConfig, ScheduleConfig, ShutdownConfig, TelemetryConfig,
    TokenizerConfig, TrainConfig,
};
pub use value::Value;
pub use watch::{RuleConfig, WatchConfig};

use crate::link::{Change, ConfigValue};
use crate::registry::{Class, Kind};
use entry::Entries;

/// The embedded demo's configuration, as a file.
pub const DEMO: &str = include_str!("../../../configs/demo.toml");

/// Everything that has a say in a configuration, beside defaults and presets. Empty parts say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The file that `text` was read from: its folder is what paths are relative to, its name goes into errors.
    pub file: Option<&'a Path>,
    /// Content of the file.
    pub text: &'a str,
    /// `key=value` flags, stronger than the file.
    pub flags: &'a [String],
    /// `key=value` edits made while the run was on, stronger than flags.
    pub edits: &'a [String],
    /// The configuration stored in the checkpoint that the run goes on from. Its live keys count where nobody else
    /// speaks; for the others compare with [`diff`].
    pub checkpoint: Option<&'a str>,
    /// The model's keys as [`model_record`] gives them, where they are known already: of a run that is on or goes on. They
    /// count in place of what `model.init_from` says, so that its folder need not be there any more.
    pub shape: Option<&'a serde_json::Value>,
}

/// A whole configuration, checked. Two are equal if every key has the same value, whoever said it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the table of its name")]
pub struct Config {
    pub run: RunConfig,
    pub device: DeviceConfig,
    pub data: DataConfig,
    pub tokenizer: TokenizerConfig,
    pub model: ModelConfig,
    pub optimizer: OptimizerConfig,
    pub schedule: ScheduleConfig,
    pub train: TrainConfig,
    pub telemetry: TelemetryConfig,
    pub sample: SampleConfig,
    pub shutdown: ShutdownConfig,
    pub watch: WatchConfig,
    entries: Entries,
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        let values = |c: &Self| -> Vec<_> {
            let list = c.entries.list.iter();
            list.map(|e| (e.path.clone(), e.value.clone())).collect()
        };
        values(self) == values(other)
    }
}

impl Config {
    /// Reads the configuration `text`, the content of `file`, with `key=value` flags.
    ///
    /// Paths in the text are relative to the file's folder, in flags and in what comes through a pipe to the current
    /// directory.
    ///
    /// # Errors
    /// The first fault found, with line and column where it stands in the file.
    pub fn parse(file: Option<&Path>, text: &str, sets: &[String]) -> Result<Self, ConfigError> {
        Self::resolve(&Sources {
            file,
            text,
            flags: sets,
            ..Sources::default()
        })
    }

    /// Reads `file` and parses it.
    ///
    /// # Errors
    /// If the file cannot be read, and as [`Self::parse`].
    pub fn load(file: &Path, sets: &[String]) -> Result<Self, ConfigError> {
        Self::parse(Some(file), &read(file)?, sets)
    }

    /// Resolves everything that has a say.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn resolve(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let entries = resolve::resolve(sources)?;
        let reader = typed::Reader(&entries);
        Ok(Self {
            run: reader.run(),
            device: reader.device(),
            data: reader.data(),
            tokenizer: reader.tokenizer(),
            model: reader.model(),
            optimizer: reader.optimizer(),
            schedule: reader.schedule(),
            train: reader.train(),
            telemetry: reader.telemetry(),
            sample: reader.sample(),
            shutdown: reader.shutdown(),
            watch: reader.watch(),
            entries,
        })
    }

    /// The embedded demo, with `key=value` flags.
    ///
    /// # Errors
    /// If a flag is refused.
    pub fn demo(sets: &[String]) -> Result<Self, ConfigError> {
        Self::parse(Some(Path::new("demo.toml")), DEMO, sets)
    }

    /// Every key that applies and has a value, with its class and source: what screens show.
    pub fn effective(&self) -> Vec<ConfigValue> {
        let list = self.entries.list.iter();
        list.filter_map(|entry| {
            Some(ConfigValue {
                key: entry.path.clone(),
                value: entry.value.as_ref()?.to_toml(),
                class: entry.key.class.word().to_owned(),
                source: entry.source.word().to_owned(),
            })
        })
        .collect()
    }

    /// The whole configuration as TOML, defaults and derived values included and paths absolute: what a run's folder
    /// stores. Parsing it gives an equal configuration.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut table = "";
        for entry in &self.entries.list {
            let Some(value) = &entry.value else { continue };
            let (own, name) = entry.path.rsplit_once('.').unwrap_or(("", &entry.path));
            if own != table {
                let blank = if table.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{blank}[{own}]");
                table = own;
            }
            let _ = writeln!(out, "{name} = {}", value.to_toml());
        }
        out
    }

    /// Help for `--help-config`: every key with what it takes, default and class, and every variant.
    pub fn schema_help() -> String {
        help::help()
    }
}

/// The text of a configuration file.
///
/// # Errors
/// If it is not there, is a folder, cannot be read or is not UTF-8.
pub fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|e| ConfigError {
        file: file.display().to_string(),
        line: 0,
        column: 0,
        key: String::new(),
        message: match e.kind() {
            std::io::ErrorKind::InvalidData => "not a text in UTF-8".to_owned(),
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::IsADirectory => {
                "this is a folder, not a configuration file".to_owned()
            }
            _ => format!("cannot read the configuration: {e}"),
        },
    })
}

/// What differs from `old` to `new`, each with its class. A key without a value is the empty text.
pub fn diff(old: &Config, new: &Config) -> Vec<(Change, Class)> {
    let text = |config: &Config, path: &str| {
        let value = config.entries.get(path);
        value.map_or_else(String::new, Value::to_toml)
    };
    let gone = old
        .entries
        .list
        .iter()
        .filter(|e| new.entries.entry(&e.path).is_none());
    gone.chain(&new.entries.list)
        .filter_map(|entry| {
            let change = Change {
                key: entry.path.clone(),
                from: text(old, &entry.path),
                to: text(new, &entry.path),
            };
            (change.from != change.to).then_some((change, entry.key.class))
        })
        .collect()
}

/// Every dotted key that there is; keys that several variants have come once.
pub fn keys() -> Vec<String> {
    let mut keys: Vec<String> = schema::every()
        .map(|(table, key)| format!("{table}.{}", key.name))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Whether a dotted key is a number in every variant that has it; false if there is no such key.
pub fn is_number(key: &str) -> bool {
    let mut kinds = schema::find(key).map(|key| key.kind).peekable();
    kinds.peek().is_some()
        && kinds.all(|kind| matches!(kind, Kind::Int { .. } | Kind::Float { .. }))
}

/// The class of a dotted key: the strictest where variants differ; none if there is no such key.
pub fn classify(key: &str) -> Option<Class> {
    schema::find(key).map(|key| key.class).max()
}
