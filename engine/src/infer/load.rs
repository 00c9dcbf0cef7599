//! Models from folders, ready to read and write: a checkpoint of a run, or a Hugging Face folder.
//!
//! A folder gives its shape (config.json), its tokenizer (where it has one), the ids that end a text, and its weights.

use crate::config::{Config, ConfigError, Sources};
use crate::estimate;
use crate::hf::{self, Description, HfError};
use crate::launch::{LaunchError, cpu};
use crate::model::Model;
use crate::model::store::load_weights;
use crate::param::Params;
use crate::tape::Tape;
use crate::train::step::precision;
use kernels::arena::Arena;
use kernels::{Cpu, Precision};
use std::fs;
use std::path::{Path, PathBuf};
use tokenizer::{Tokenizer, TokenizerError};

/// A model with its weights and everything that it needs to read and write.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Its weights, to be read: in precision `bf16` rounded already.
    pub params: Params,
    /// Its tokenizer, where the folder has one that can be read.
    pub tokenizer: Option<Tokenizer>,
    /// Why a tokenizer that the folder has cannot be read: ids can be worked with all the same.
    pub tokenizer_error: Option<TokenizerError>,
    /// Ids that end a text: what the folder says, else the tokenizer's.
    pub stops: Vec<u32>,
    /// Threads and instruction set.
    pub cpu: Cpu,
    /// Type of what lies between operations.
    pub precision: Precision,
    /// Memory of the plans; grows to the largest.
    pub arena: Arena,
}

/// Why a folder is no model that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no folder with a model.
    #[error("{}: {message}", path.display())]
    Folder {
        /// What was named.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Its config.json or a flag is refused.
    #[error("{0}")]
    Config(String),
    /// Its weights cannot be read.
    #[error(transparent)]
    Weights(#[from] HfError),
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] LaunchError),
    /// The weights do not fit.
    #[error(transparent)]
    Memory(#[from] NoRoom),
}

/// Something does not fit into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs {} MiB of memory, {} MiB are free", need >> 20, free >> 20)]
pub struct NoRoom {
    /// What.
    pub what: &'static str,
    /// Bytes needed.
    pub need: u64,
    /// Bytes free.
    pub free: u64,
}

impl NoRoom {
    /// Refuses what does not fit, where the system says how much is free.
    pub(super) fn check(what: &'static str, need: u64) -> Result<(), Self> {
        match estimate::available_bytes() {
            Some(free) if need > free => Err(Self { what, need, free }),
            _ => Ok(()),
        }
    }
}

impl LoadError {
    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Device(error) => error.exit_code(),
            Self::Memory(_) => 4,
            _ => 2,
        }
    }
}

impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        // The folder was named by a flag: the message names its file, and the key would only confuse.
        Self::Config(match error.key.as_str() {
            "" | "model.init_from" => error.message,
            key => format!("{key}: {}", error.message),
        })
    }
}

impl Loaded {
    /// Reads the model in `folder`. `flags` are `key=value` of `[device]`.
    ///
    /// # Errors
    /// If there is no model, or one that the program does not support, or it does not fit into memory.
    pub fn open(folder: &Path, flags: &[String]) -> Result<Self, LoadError> {
        if !folder.is_dir() {
            let message = if folder.exists() {
                "this is a file; name the folder of the model (with config.json and model.safetensors)"
            } else {
                "there is no such folder"
            };
            return Err(LoadError::Folder {
                path: folder.to_owned(),
                message: message.to_owned(),
            });
        }
        if !folder.join("config.json").is_file() {
            return Err(LoadError::Folder {
                path: folder.to_owned(),
                message: "no config.json in it, so it is no model's folder".to_owned(),
            });
        }
        let config = config(folder, flags)?;
        let cpu = cpu(&config)?;
        let precision = precision(&config);
        let vocab_size = config.model.vocab_size.unwrap_or_default();
        let model = Model::new(&config.model, vocab_size);
        let need = Params::reading_bytes(model.specs(), precision) as u64;
        NoRoom::check("the model", need)?;
        let has_tokenizer = ["tokenizer.json", "vocab.json"]
            .iter()
            .any(|file| folder.join(file).is_file());
        let (tokenizer, tokenizer_error) = match has_tokenizer.then(|| Tokenizer::load(folder)) {
            Some(Ok(tokenizer)) => (Some(tokenizer), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let mut params = Params::for_reading(model.specs().clone(), precision);
        load_weights(folder, &model, &mut params)?;
        let mut stops = stops(folder);
        if stops.is_empty() {
            stops.extend(tokenizer.as_ref().and_then(Tokenizer::end_of_text));
        }
        Ok(Self {
            model,
            params,
            tokenizer,
            tokenizer_error,
            stops,
            cpu,
            precision,
            arena: Arena::new(0),
        })
    }

    /// Most tokens that the model can read at once.
    pub fn context(&self) -> usize {
        self.model.config.max_positions
    }

    /// Refuses caches of `capacity` tokens that do not fit into memory.
    pub(super) fn check_caches(&self, capacity: usize) -> Result<(), NoRoom> {
        let mut tape = Tape::new(self.precision);
        self.model.record_inference(&mut tape, 1, capacity, false);
        let values: usize = tape.states().iter().flatten().sum();
        let bytes = values * self.precision.compute().size();
        NoRoom::check("the cache of keys and values", bytes as u64)
    }

    /// Makes sure that the arena has `bytes` bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if self.arena.size() < bytes {
            self.arena = Arena::new(0);
            self.arena = Arena::new(bytes);
        }
    }
}

/// The configuration of the model in `folder`, with whatever else a configuration needs.
pub(super) fn config(folder: &Path, flags: &[String]) -> Result<Config, ConfigError> {
    let path = folder.to_string_lossy();
    let text = format!(
        "data = {{ source = \"storybook\", sequence_length = 1 }}\noptimizer.lr = 1.0\n\
         train = {{ batch_size = 1, max_steps = 1 }}\nmodel.init_from = {}\n",
        toml_edit::Value::from(path.as_ref())
    );
    Config::resolve(&Sources {
        text: &text,
        flags,
        ..Sources::default()
    })
}

/// The ids that end a text, as a folder's files say.
fn stops(folder: &Path) -> Vec<u32> {
    match hf::read(folder) {
        Ok(Description::Hf(model)) => model.eos,
        Ok(Description::Native { eos, .. }) => eos,
        // A checkpoint of a run: config.json has a record of ours that others do not know.
        Err(_) => ["generation_config.json", "config.json"]
            .iter()
            .find_map(|file| {
                let text = fs::read(folder.join(file)).ok()?;
                let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
                Some(ids(json.get("eos_token_id")?))
            })
            .unwrap_or_default(),
    }
}

fn ids(json: &serde_json::Value) -> Vec<u32> {
    let id = |json: &serde_json::Value| json.as_u64().and_then(|id| u32::try_from(id).ok());
    match json {
        serde_json::Value::Array(list) => list.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}
