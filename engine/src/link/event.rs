//! Events: what happened in a run, as lines of JSON.

use super::{Attention, Planned, Profiled, System, number, numbers};
use crate::sketch::Sketch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the event schema, in every `started` event.
pub const SCHEMA: u32 = 1;

/// One thing that happened in a run: a line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    #[serde(flatten)]
    pub body: Body,
    /// When: RFC 3339, UTC.
    pub time: String,
}

/// What happened. Losses are natural logarithms (nats) per token; times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Body {
    /// An engine took up a run: the first event of each attempt.
    Started(Box<Started>),
    /// One optimizer step was done.
    Step(Step),
    /// Statistics of the layers, taken every `telemetry.layer_interval` steps.
    Layers(Layers),
    /// How the machine is doing, every `telemetry.system_interval` seconds.
    System(Box<System>),
    /// Where the time of some steps went: once an attempt, and when it is asked for.
    Profile(Box<Profiled>),
    /// What the memory of a step is alive for: once an attempt, and after planning anew.
    Plan(Box<Planned>),
    /// The model was evaluated.
    Eval(Eval),
    /// The model wrote something.
    Sample {
        /// After this step.
        step: u64,
        /// What it was given.
        prompt: String,
        /// What it wrote, without the prompt.
        text: String,
        /// Share of the sentences that the demo's grammar accepts; absent for other data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        readable: Option<f64>,
    },
    /// Where the tokens of a prompt look.
    Attention(Box<Attention>),
    /// A checkpoint is on the disk, complete and verified.
    Checkpoint {
        /// After this step.
        step: u64,
        /// Its folder, relative to the run's.
        path: String,
        /// Time that writing took.
        seconds: f64,
        /// Size on disk.
        bytes: u64,
        /// Why: `interval`, `command`, `pause`, `stop`, `preempted`, `best`, `finished`.
        reason: String,
    },
    /// A checkpoint was marked with a name, or its mark was taken away.
    CheckpointTagged {
        /// The checkpoint's step.
        step: u64,
        /// Its folder, relative to the run's.
        path: String,
        /// The name; none where the mark was taken away.
        tag: Option<String>,
    },
    /// A checkpoint was deleted.
    CheckpointDeleted {
        /// The checkpoint's step.
        step: u64,
        /// Where it was, relative to the run's folder.
        path: String,
        /// Bytes that this freed.
        bytes: u64,
        /// Why: `keep_last`, `command`.
        reason: String,
        /// What is still on the disk of it and why, where something is: it goes later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leftover: Option<String>,
    },
    /// A checkpoint's files were read again and compared with its manifest, because somebody asked.
    CheckpointVerified {
        /// The checkpoint's step.
        step: u64,
        /// Its folder, relative to the run's.
        path: String,
        /// Whether they are what was written.
        valid: bool,
        /// Time that reading took.
        seconds: f64,
        /// What is wrong, where something is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Last step done.
        step: u64,
        /// The checkpoint's folder, relative to the run's.
        path: String,
        /// Number of this attempt, from 1.
        attempt: u32,
    },
    /// Training stands still after this step.
    Paused {
        /// Last step done.
        step: u64,
        /// Why, where it was not asked for (a full disk, a non-finite loss).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether the memory is given back until training goes on.
        #[serde(default)]
        hard: bool,
    },
    /// Training goes on.
    ResumedFromPause {
        /// Last step done.
        step: u64,
    },
    /// An edit of the configuration is in force from the next step on.
    ConfigApplied {
        /// Last step done before it.
        step: u64,
        /// Number of the configuration's version, from 1.
        version: u32,
        /// What changed.
        changes: Vec<Change>,
    },
    /// Where values in force come from now, where that is no edit of somebody: after a change of the file, and after an edit
    /// was written back into it.
    ConfigSources {
        /// Last step done.
        step: u64,
        /// The source of each key: `default`, `file`, `flag`, `checkpoint`.
        sources: BTreeMap<String, String>,
    },
    /// An edit of the configuration was refused whole; the old one is in force.
    ConfigRejected {
        /// Last step done.
        step: u64,
        /// Line in the file, from 1; 0 where the edit was not a file's.
        line: usize,
        /// Column, from 1; 0 where the edit was not a file's.
        column: usize,
        /// Why.
        message: String,
    },
    /// A command was taken, done or refused.
    Reply {
        /// Last step done.
        step: u64,
        /// The command's number.
        id: u64,
        /// What was asked, as a word.
        command: String,
        /// Whether it was refused.
        refused: bool,
        /// A line for the person who asked.
        message: String,
    },
    /// A loss or gradient was not finite.
    Nonfinite {
        /// The step whose update was not made.
        step: u64,
        /// `loss` or `grad_norm`.
        r#where: String,
        /// What was done: `stop`, `pause`, `skip`, `rollback`.
        action: String,
    },
    /// A watcher found something wrong.
    Alert(Box<Alert>),
    /// Something that the person should know; training goes on.
    Warning {
        /// Last step done.
        #[serde(default)]
        step: u64,
        /// A line.
        message: String,
        /// Whether it only repeats what was asked for, as what a fork changes: nothing is wrong then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        note: bool,
    },
    /// The engine stopped because of an error.
    Failed {
        /// Last step done.
        #[serde(default)]
        step: u64,
        /// A line.
        message: String,
    },
    /// The run ended in good order.
    Finished {
        /// Last step done.
        step: u64,
        /// Loss of that step.
        #[serde(with = "number")]
        loss: f64,
        /// Time spent training, pauses left out.
        seconds: f64,
        /// `max_steps`, `stopped`, `preempted`, `diverged`.
        reason: String,
    },
}

/// The head of a run: what is trained, on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Version of this schema.
    pub schema: u32,
    /// The run's name.
    pub run: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Version of the configuration in force.
    pub config_version: u32,
    /// Trained numbers.
    pub parameters: u64,
    /// `cpu`, `cuda:0`, ...
    pub device: String,
    /// Instruction set of the CPU kernels.
    pub isa: String,
    /// Threads of the CPU kernels.
    pub threads: usize,
    /// `f32` or `bf16`.
    #[serde(default)]
    pub precision: String,
    /// Last step done (0 for a new run).
    #[serde(default)]
    pub step: u64,
    /// Where training ends.
    #[serde(default)]
    pub max_steps: u64,
    /// Tokens of one optimizer step.
    #[serde(default)]
    pub tokens_per_step: u64,
    /// Entropy of the data in bits per byte, where it is known (the embedded demo).
    pub floor_bits_per_byte: Option<f64>,
    /// The same floor in nats per token, to be drawn beside the loss.
    #[serde(default)]
    pub floor_loss: Option<f64>,
    /// Mean bytes of a token, where text is trained on.
    #[serde(default)]
    pub bytes_per_token: Option<f64>,
    /// Names of the layers, in the order of `layers` events.
    #[serde(default)]
    pub layers: Vec<String>,
    /// Memory by kind.
    pub memory: Memory,
    /// Bytes that a chat with this model would add ([`crate::infer::chat::Need`]).
    #[serde(default)]
    pub chat_bytes: u64,
    /// Every configuration key with its value in force and its class, for screens.
    #[serde(default)]
    pub config: Vec<ConfigValue>,
}

/// One configuration key as it is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// Dotted key.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// `live`, `boundary` or `restart`.
    pub class: String,
    /// Where it comes from: `default`, `file`, `flag`, `edit`, `checkpoint`.
    pub source: String,
}

/// Bytes by kind, from the plan. `total` predicts the process's peak resident set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Parameters.
    pub parameters: u64,
    /// Gradients of the parameters.
    pub gradients: u64,
    /// Optimizer state.
    pub optimizer: u64,
    /// Values and gradients of one micro-batch.
    pub activations: u64,
    /// Scratch of the operations.
    pub workspace: u64,
    /// Token ids and batches.
    pub data: u64,
    /// The program itself: code, threads, screen, tokenizer.
    pub runtime: u64,
    /// The sum.
    pub total: u64,
}

/// One optimizer step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the step, from 1.
    pub step: u64,
    /// Attempt that made it.
    pub attempt: u32,
    /// Mean over this step's valid targets, before its update; nats per token.
    #[serde(with = "number")]
    pub loss: f64,
    /// Learning rate of this step.
    #[serde(with = "number")]
    pub lr: f64,
    /// Global gradient norm, before clipping.
    #[serde(with = "number")]
    pub grad_norm: f64,
    /// Whether the gradient was clipped.
    pub clipped: bool,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Of this step.
    pub tokens_per_second: f64,
    /// Of this step.
    pub step_seconds: f64,
    /// Time of `step_seconds` spent waiting for data.
    pub data_wait_seconds: f64,
}

impl Step {
    /// Names of [`Step::figures`].
    pub const FIGURES: [&'static str; 7] = [
        "loss",
        "lr",
        "grad_norm",
        "clipped",
        "tokens_per_second",
        "step_seconds",
        "data_wait_seconds",
    ];

    /// What was measured; `clipped` is 0 or 1.
    pub fn figures(&self) -> [f64; 7] {
        [
            self.loss,
            self.lr,
            self.grad_norm,
            f64::from(u8::from(self.clipped)),
            self.tokens_per_second,
            self.step_seconds,
            self.data_wait_seconds,
        ]
    }
}

/// Statistics of the layers, one number a layer: of activations over the step's first micro-batch, of gradients before
/// clipping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    /// After this step.
    pub step: u64,
    /// Names of the layers.
    pub names: Vec<String>,
    /// Of the layer's output.
    #[serde(with = "numbers")]
    pub activation_rms: Vec<f64>,
    /// Of the gradient of its parameters.
    #[serde(with = "numbers")]
    pub gradient_rms: Vec<f64>,
    /// Of its parameters.
    #[serde(with = "numbers")]
    pub weight_rms: Vec<f64>,
    /// RMS of the last update over RMS of the parameters.
    #[serde(with = "numbers")]
    pub update_ratio: Vec<f64>,
    /// Share of the units that give the same at every token: of a feed-forward network its hidden units, else the channels of
    /// the output. Empty in older records.
    #[serde(default, with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub dead_share: Vec<f64>,
    /// Greatest magnitude of the layer's output, over every value; NaN or infinite where a value is. Empty in older records.
    #[serde(default, with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub activation_max: Vec<f64>,
    /// How many values of the layer's output are not finite. Empty in older records.
    #[serde(default, with = "numbers", skip_serializing_if = "Vec::is_empty")]
    pub activation_nonfinite: Vec<f64>,
    /// How the values of the layer's output are spread; only with about 500 of a run's statistics, and empty in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activation_sketch: Vec<Sketch>,
    /// How the gradients of its parameters are spread; where `activation_sketch` is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gradient_sketch: Vec<Sketch>,
}

impl Layers {
    /// Names of [`Layers::figures`].
    pub const FIGURES: [&'static str; 7] = [
        "activation_rms",
        "gradient_rms",
        "weight_rms",
        "update_ratio",
        "dead_share",
        "activation_max",
        "activation_nonfinite",
    ];

    /// Whether a figure of that name is a count, which is a whole number.
    pub fn is_count(name: &str) -> bool {
        name == "activation_nonfinite"
    }

    /// Every figure, a value a layer; none of what an older record does not have.
    pub fn figures(&self) -> [(&'static str, &[f64]); 7] {
        let [activation, gradient, weight, update, dead, max, nonfinite] = Self::FIGURES;
        [
            (activation, &self.activation_rms),
            (gradient, &self.gradient_rms),
            (weight, &self.weight_rms),
            (update, &self.update_ratio),
            (dead, &self.dead_share),
            (max, &self.activation_max),
            (nonfinite, &self.activation_nonfinite),
        ]
    }
}

/// What a watcher found wrong at a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The step.
    pub step: u64,
    /// Name of the rule: `spike`, `nonfinite`, ...
    pub rule: String,
    /// `warning` or `error`.
    pub level: String,
    /// A line.
    pub message: String,
    /// The layer, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// What was measured.
    #[serde(with = "number")]
    pub value: f64,
    /// The bound that it passed.
    #[serde(with = "number")]
    pub threshold: f64,
    /// What was done: `warn`, `pause`, `skip`, `rollback`, `stop`.
    pub action: String,
    /// The rows that the step was made from, where it is about a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<AlertBatch>,
}

/// The rows of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertBatch {
    /// Number of the first, counted over all epochs.
    pub first_row: u64,
    /// How many.
    pub rows: u64,
    /// The file that keeps them, relative to the run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// After this step.
    pub step: u64,
    /// `validation`.
    pub split: String,
    /// Nats per token.
    #[serde(with = "number")]
    pub loss: f64,
    /// `e^loss`.
    #[serde(with = "number")]
    pub perplexity: f64,
    /// Bits per byte of text; null where the bytes are not known.
    pub bits_per_byte: Option<f64>,
    /// Targets evaluated.
    pub tokens: u64,
    /// Whether this is the lowest loss so far.
    #[serde(default)]
    pub best: bool,
}

/// One changed key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted key.
    pub key: String,
    /// Value before, as TOML.
    pub from: String,
    /// Value now, as TOML.
    pub to: String,
}

impl Change {
    /// Where training ends from now on, where this change says so.
    pub fn max_steps(&self) -> Option<u64> {
        let says = self.key == "train.max_steps";
        says.then(|| self.to.parse().ok()).flatten()
    }
}
