//! The configuration as plain typed structs: checked, with every derived value filled in.
//!
//! Each field is the key of the same name; `schema.rs` and the registry document them.

use std::path::PathBuf;

use super::entry::Entries;
use super::value::Value;
use crate::registry::{SLOTS, Slot, Variant};

/// The variant that fills a slot, with the values of its keys and of the slot's.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The slot.
    pub slot: &'static Slot,
    /// Index of the variant in `slot.variants`.
    pub index: usize,
    values: Vec<(&'static str, Option<Value>)>,
}

impl PartialEq for Choice {
    fn eq(&self, other: &Self) -> bool {
        self.slot.path == other.slot.path
            && self.index == other.index
            && self.values == other.values
    }
}

impl Choice {
    /// The variant.
    pub fn variant(&self) -> &'static Variant {
        self.slot.variants[self.index]
    }

    /// Its `kind`.
    pub fn kind(&self) -> &'static str {
        self.variant().kind
    }

    /// Whether the variant has a key `name`.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(key, _)| *key == name)
    }

    fn value(&self, name: &str) -> &Value {
        match self.values.iter().find(|(key, _)| *key == name) {
            Some((_, Some(value))) => value,
            _ => panic!("{} {} has no value {name}", self.slot.path, self.kind()),
        }
    }

    /// The value of its whole-number key `name`.
    ///
    /// # Panics
    /// Like its kin, if the variant declares no such key: a bug of the caller.
    pub fn int(&self, name: &str) -> usize {
        match self.value(name) {
            Value::Int(x) => *x as usize,
            other => panic!("{}.{name} is {other:?}", self.slot.path),
        }
    }

    /// The value of its number key `name`.
    pub fn float(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Float(x) => *x,
            other => panic!("{}.{name} is {other:?}", self.slot.path),
        }
    }

    /// The value of its key `name`, a list of numbers.
    pub fn floats(&self, name: &str) -> Vec<f64> {
        let Value::List(items) = self.value(name) else {
            panic!("{}.{name} is no list", self.slot.path);
        };
        items
            .iter()
            .filter_map(|item| match item {
                Value::Float(x) => Some(*x),
                _ => None,
            })
            .collect()
    }

    /// The value of its true-or-false key `name`.
    pub fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(x) => *x,
            other => panic!("{}.{name} is {other:?}", self.slot.path),
        }
    }

    /// The value of its text key `name`.
    pub fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(x) => x,
            other => panic!("{}.{name} is {other:?}", self.slot.path),
        }
    }
}

/// `[run]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct RunConfig {
    pub name: String,
    pub seed: u64,
}

/// `[device]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// `auto`, `cpu`, `cuda`, `cuda:N`, `rocm` or `rocm:N`.
    pub kind: String,
    /// None: what affinity and quota allow.
    pub threads: Option<usize>,
    /// Whether compute is bf16.
    pub bf16: bool,
    /// Whether a GPU's matrix products are the program's own, even where the vendor's library is installed.
    pub own_products: bool,
}

/// Where documents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// The files of `data.train`.
    Files,
    /// The embedded stories.
    Storybook,
}

/// Form of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// By the file's name.
    Auto,
    /// Plain text.
    Text,
    /// A JSON object a line.
    Jsonl,
    /// Token ids.
    Bin,
}

/// `[data]`. Paths are absolute; they may be globs.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct DataConfig {
    pub source: DataSource,
    pub train: Vec<PathBuf>,
    pub validation: Vec<PathBuf>,
    pub validation_fraction: f64,
    pub format: DataFormat,
    pub text_field: String,
    pub sequence_length: usize,
    /// `order = "shuffled"`.
    pub shuffled: bool,
    pub document_separator: Option<String>,
    pub document_mask: bool,
    /// 2 or 4.
    pub token_bytes: usize,
    /// `on_bad_line = "skip"`.
    pub skip_bad_lines: bool,
}

/// `[tokenizer]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct TokenizerConfig {
    pub path: Option<PathBuf>,
    /// None where it was not given: `bytes`, unless `path` or `.bin` data make it needless.
    pub algorithm: Option<String>,
    pub vocab_size: Option<usize>,
    pub special: Vec<String>,
    pub pre_tokenizer: String,
}

/// `[model]`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct ModelConfig {
    pub preset: Option<String>,
    pub init_from: Option<PathBuf>,
    pub layers: usize,
    pub dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// None: the tokenizer's.
    pub vocab_size: Option<usize>,
    pub max_positions: usize,
    pub tie_embeddings: bool,
    pub dropout: f64,
    pub init_std: f64,
    pub mixer: Choice,
    pub ffn: Choice,
    pub norm: Choice,
    pub position: Choice,
}

/// `[optimizer]`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct OptimizerConfig {
    pub lr: f64,
    /// The optimizer with its keys.
    pub choice: Choice,
}

/// `[schedule]`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct ScheduleConfig {
    pub warmup_steps: u64,
    pub min_lr: f64,
    pub lr_scale: f64,
    /// The shape with its keys.
    pub choice: Choice,
}

/// What to do when a loss or gradient is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNonfinite {
    /// End the run; exit 3.
    Stop,
    /// Stand still.
    Pause,
    /// Leave the step's update out.
    Skip,
    /// Go back to the last checkpoint.
    Rollback,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct TrainConfig {
    pub batch_size: usize,
    pub micro_batch: usize,
    pub max_steps: u64,
    /// 0: off.
    pub clip_norm: f64,
    pub fuse: bool,
    pub recompute: bool,
    pub log_interval: u64,
    pub eval_interval: u64,
    /// None: the whole validation data.
    pub eval_batches: Option<u64>,
    pub checkpoint_interval: u64,
    /// 0: all.
    pub keep_last: usize,
    pub on_nonfinite: OnNonfinite,
}

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct TelemetryConfig {
    pub layer_interval: u64,
    pub system_interval: u64,
    pub tensorboard: bool,
    /// Empty: none.
    pub prometheus: String,
}

/// `[sample]`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each field is the key of its name")]
pub struct SampleConfig {
    pub prompts: Vec<String>,
    pub interval: u64,
    pub max_tokens: usize,
    pub temperature: f64,
    /// 0: off.
    pub top_k: usize,
    pub top_p: f64,
}

/// `[shutdown]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// Seconds in which a signal is answered. 0: for ever.
    pub grace_s: u64,
}

/// Reads the typed structs out of checked entries. Every key that is asked for exists in the schema; tests build it.
pub(super) struct Reader<'a>(pub(super) &'a Entries);

impl Reader<'_> {
    fn float(&self, path: &str) -> f64 {
        self.0.float(path).unwrap_or_default()
    }

    fn flag(&self, path: &str) -> bool {
        self.0.get(path) == Some(&Value::Bool(true))
    }

    fn count(&self, path: &str) -> u64 {
        self.0.int(path).unwrap_or_default() as u64
    }

    fn size(&self, path: &str) -> usize {
        self.0.int(path).unwrap_or_default()
    }

    fn text(&self, path: &str) -> String {
        self.0.text(path).unwrap_or_default().to_owned()
    }

    fn optional(&self, path: &str) -> Option<String> {
        self.0.text(path).map(str::to_owned)
    }

    fn path(&self, path: &str) -> Option<PathBuf> {
        self.0.text(path).map(PathBuf::from)
    }

    fn paths(&self, path: &str) -> Vec<PathBuf> {
        self.0.texts(path).into_iter().map(PathBuf::from).collect()
    }

    fn choice(&self, path: &str) -> Choice {
        let slot = SLOTS
            .iter()
            .find(|slot| slot.path == path)
            .expect("the registry has this slot");
        let kind = self.0.text(&format!("{path}.kind")).unwrap_or_default();
        let index = slot.position(kind).unwrap_or_default();
        let values = slot
            .keys_of(index)
            .map(|key| {
                (
                    key.name,
                    self.0.get(&format!("{path}.{}", key.name)).cloned(),
                )
            })
            .collect();
        Choice {
            slot,
            index,
            values,
        }
    }

    pub(super) fn run(&self) -> RunConfig {
        RunConfig {
            name: self.text("run.name"),
            seed: self.count("run.seed"),
        }
    }

    pub(super) fn device(&self) -> DeviceConfig {
        DeviceConfig {
            kind: self.text("device.kind"),
            threads: self.0.int("device.threads"),
            bf16: self.text("device.precision") == "bf16",
            own_products: self.text("device.products") == "own",
        }
    }

    pub(super) fn data(&self) -> DataConfig {
        DataConfig {
            source: match self.text("data.source").as_str() {
                "storybook" => DataSource::Storybook,
                _ => DataSource::Files,
            },
            train: self.paths("data.train"),
            validation: self.paths("data.validation"),
            validation_fraction: self.float("data.validation_fraction"),
            format: match self.text("data.format").as_str() {
                "text" => DataFormat::Text,
                "jsonl" => DataFormat::Jsonl,
                "bin" => DataFormat::Bin,
                _ => DataFormat::Auto,
            },
            text_field: self.text("data.text_field"),
            sequence_length: self.size("data.sequence_length"),
            shuffled: self.text("data.order") == "shuffled",
            document_separator: self.optional("data.document_separator"),
            document_mask: self.flag("data.document_mask"),
            token_bytes: self.size("data.token_bytes"),
            skip_bad_lines: self.text("data.on_bad_line") == "skip",
        }
    }

    pub(super) fn tokenizer(&self) -> TokenizerConfig {
        TokenizerConfig {
            path: self.path("tokenizer.path"),
            algorithm: self.optional("tokenizer.algorithm"),
            vocab_size: self.0.int("tokenizer.vocab_size"),
            special: self.0.texts("tokenizer.special"),
            pre_tokenizer: self.text("tokenizer.pre_tokenizer"),
        }
    }

    pub(super) fn model(&self) -> ModelConfig {
        ModelConfig {
            preset: self.optional("model.preset"),
            init_from: self.path("model.init_from"),
            layers: self.size("model.layers"),
            dim: self.size("model.dim"),
            heads: self.size("model.heads"),
            kv_heads: self.size("model.kv_heads"),
            head_dim: self.size("model.head_dim"),
            vocab_size: self.0.int("model.vocab_size"),
            max_positions: self.size("model.max_positions"),
            tie_embeddings: self.flag("model.tie_embeddings"),
            dropout: self.float("model.dropout"),
            init_std: self.float("model.init_std"),
            mixer: self.choice("model.mixer"),
            ffn: self.choice("model.ffn"),
            norm: self.choice("model.norm"),
            position: self.choice("model.position"),
        }
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            lr: self.float("optimizer.lr"),
            choice: self.choice("optimizer"),
        }
    }

    pub(super) fn schedule(&self) -> ScheduleConfig {
        ScheduleConfig {
            warmup_steps: self.count("schedule.warmup_steps"),
            min_lr: self.float("schedule.min_lr"),
            lr_scale: self.float("schedule.lr_scale"),
            choice: self.choice("schedule"),
        }
    }

    pub(super) fn train(&self) -> TrainConfig {
        TrainConfig {
            batch_size: self.size("train.batch_size"),
            micro_batch: self.size("train.micro_batch"),
            max_steps: self.count("train.max_steps"),
            clip_norm: self.float("train.clip_norm"),
            fuse: self.flag("train.fuse"),
            recompute: self.flag("train.recompute"),
            log_interval: self.count("train.log_interval"),
            eval_interval: self.count("train.eval_interval"),
            eval_batches: self.0.int("train.eval_batches").map(|x| x as u64),
            checkpoint_interval: self.count("train.checkpoint_interval"),
            keep_last: self.size("train.keep_last"),
            on_nonfinite: match self.text("train.on_nonfinite").as_str() {
                "pause" => OnNonfinite::Pause,
                "skip" => OnNonfinite::Skip,
                "rollback" => OnNonfinite::Rollback,
                _ => OnNonfinite::Stop,
            },
        }
    }

    pub(super) fn telemetry(&self) -> TelemetryConfig {
        TelemetryConfig {
            layer_interval: self.count("telemetry.layer_interval"),
            system_interval: self.count("telemetry.system_interval"),
            tensorboard: self.flag("telemetry.tensorboard"),
            prometheus: self.text("telemetry.prometheus"),
        }
    }

    pub(super) fn sample(&self) -> SampleConfig {
        SampleConfig {
            prompts: self.0.texts("sample.prompts"),
            interval: self.count("sample.interval"),
            max_tokens: self.size("sample.max_tokens"),
            temperature: self.float("sample.temperature"),
            top_k: self.size("sample.top_k"),
            top_p: self.float("sample.top_p"),
        }
    }

    pub(super) fn shutdown(&self) -> ShutdownConfig {
        ShutdownConfig {
            grace_s: self.count("shutdown.grace_s"),
        }
    }
}
