//! What crosses the border between the engine and everybody else: [`Event`]s out, [`Command`]s in.
//!
//! The engine writes every event to the run's folder itself; the terminal UI, headless mode and readers of old runs all
//! understand the same lines. The JSON form is a contract: fields are added, never renamed (schema 1).

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

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
    /// Something that the person should know; training goes on.
    Warning {
        /// Last step done.
        #[serde(default)]
        step: u64,
        /// A line.
        message: String,
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

/// Root mean squares, one number a layer.
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

/// What a person or a script asks of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stop after the current step and wait. `hard`: also write a checkpoint and give memory back.
    Pause {
        /// Whether to give the memory back.
        #[serde(default)]
        hard: bool,
    },
    /// Go on after a pause.
    Resume,
    /// Write a checkpoint now.
    Checkpoint {
        /// A name; tagged checkpoints are never deleted by `keep_last`.
        #[serde(default)]
        tag: Option<String>,
    },
    /// Evaluate now.
    Eval,
    /// Write samples now.
    Sample,
    /// End the run.
    Stop {
        /// Whether to write a checkpoint first.
        checkpoint: bool,
    },
    /// Change one live key.
    Set {
        /// Dotted key.
        key: String,
        /// A TOML value.
        value: String,
    },
    /// Read the configuration file again.
    Reload,
    /// A line for the log.
    Note {
        /// The line.
        text: String,
    },
}

impl Command {
    /// The command's word, as keys, scripts and replies use it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Eval => "eval",
            Self::Sample => "sample",
            Self::Stop { .. } => "stop",
            Self::Set { .. } => "set",
            Self::Reload => "reload",
            Self::Note { .. } => "note",
        }
    }
}

/// A command with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender; comes back in [`Body::Reply`].
    pub id: u64,
    /// What is asked.
    pub command: Command,
}

/// What a signal asks for. Signals only set this flag; the engine reads it at every micro-batch, in evaluation, sampling
/// and while it writes a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    level: Arc<AtomicU8>,
    save: Arc<AtomicBool>,
}

/// How urgent an interrupt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing asked.
    None,
    /// Stop at the next step with a checkpoint (first SIGINT).
    Stop,
    /// Write a checkpoint and leave the machine (SIGTERM, SIGUSR1).
    Preempt,
}

impl Interrupt {
    /// Asks for a stop; a preemption is not weakened by a later stop.
    pub fn raise(&self, urgency: Urgency) {
        self.level.fetch_max(urgency as u8, Ordering::SeqCst);
    }

    /// Asks for a checkpoint without stopping (SIGUSR2).
    pub fn raise_checkpoint(&self) {
        self.save.store(true, Ordering::SeqCst);
    }

    /// What is asked for.
    pub fn urgency(&self) -> Urgency {
        match self.level.load(Ordering::SeqCst) {
            0 => Urgency::None,
            1 => Urgency::Stop,
            _ => Urgency::Preempt,
        }
    }

    /// Whether a checkpoint was asked for since the last call.
    pub fn take_checkpoint(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler that may only store to it.
    pub fn level(&self) -> Arc<AtomicU8> {
        Arc::clone(&self.level)
    }
}

/// The engine's end of the link.
#[derive(Debug)]
pub struct EngineLink {
    /// Requests, to be read at boundaries.
    pub requests: Receiver<Request>,
    events: Option<SyncSender<Event>>,
    waiting: VecDeque<Event>,
    dropped: u64,
}

/// The other end: a screen, a printer, a test.
#[derive(Debug)]
pub struct Client {
    /// Where commands go.
    pub requests: SyncSender<Request>,
    /// What happens.
    pub events: Receiver<Event>,
}

const EVENTS: usize = 1024;
const WAITING: usize = 65_536;

/// A link between an engine and a client, with bounded channels.
pub fn link() -> (EngineLink, Client) {
    let (request_sender, request_receiver) = sync_channel(64);
    let (event_sender, event_receiver) = sync_channel(EVENTS);
    let engine = EngineLink {
        requests: request_receiver,
        events: Some(event_sender),
        waiting: VecDeque::new(),
        dropped: 0,
    };
    (
        engine,
        Client {
            requests: request_sender,
            events: event_receiver,
        },
    )
}

impl EngineLink {
    /// Hands an event over without ever waiting: a slow reader gets it later, a very slow one loses the oldest (they are
    /// in the run's folder), a reader that has gone is forgotten.
    pub fn emit(&mut self, event: Event) {
        let Some(sender) = &self.events else { return };
        self.waiting.push_back(event);
        while let Some(event) = self.waiting.pop_front() {
            match sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    if self.waiting.len() > WAITING {
                        self.waiting.pop_front();
                        self.dropped += 1;
                    }
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.events = None;
                    self.waiting.clear();
                    return;
                }
            }
        }
    }

    /// Delivers what is left, waiting for the reader: for the last events of a run.
    pub fn flush(&mut self) {
        if let Some(sender) = &self.events {
            for event in self.waiting.drain(..) {
                if sender.send(event).is_err() {
                    break;
                }
            }
        }
    }

    /// Events that a very slow reader lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Non-finite numbers as strings: JSON has none.
pub mod number {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    /// Writes a number, or "NaN", "inf", "-inf".
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match text(*x) {
            Some(word) => word.serialize(serializer),
            None => x.serialize(serializer),
        }
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// If it is neither a number nor one of the words.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Either::deserialize(deserializer)?
            .value()
            .map_err(serde::de::Error::custom)
    }

    pub(super) fn text(x: f64) -> Option<&'static str> {
        if x.is_nan() {
            Some("NaN")
        } else if x == f64::INFINITY {
            Some("inf")
        } else if x == f64::NEG_INFINITY {
            Some("-inf")
        } else {
            None
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub(super) enum Either {
        Number(f64),
        Word(String),
    }

    impl Either {
        pub(super) fn value(self) -> Result<f64, String> {
            match self {
                Self::Number(x) => Ok(x),
                Self::Word(word) => match word.as_str() {
                    "NaN" => Ok(f64::NAN),
                    "inf" => Ok(f64::INFINITY),
                    "-inf" => Ok(f64::NEG_INFINITY),
                    _ => Err(format!("expected a number, found {word:?}")),
                },
            }
        }
    }
}

/// Lists of [`number`]s.
pub mod numbers {
    use super::number::{Either, text};
    use serde::ser::SerializeSeq as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes each as [`super::number`] does.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(xs: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(xs.len()))?;
        for x in xs {
            match text(*x) {
                Some(word) => seq.serialize_element(word)?,
                None => seq.serialize_element(x)?,
            }
        }
        seq.end()
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// If an element is neither a number nor one of the words.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Vec::<Either>::deserialize(deserializer)?
            .into_iter()
            .map(|x| x.value().map_err(serde::de::Error::custom))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_json() {
        let step = Step {
            step: 3,
            loss: f64::NAN,
            lr: 1e-3,
            grad_norm: f64::INFINITY,
            ..Step::default()
        };
        let event = Event {
            body: Body::Step(step),
            time: "2026-01-01T00:00:00Z".to_owned(),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(
            line.starts_with("{\"event\":\"step\",\"step\":3,"),
            "{line}"
        );
        assert!(
            line.contains("\"loss\":\"NaN\"") && line.contains("\"grad_norm\":\"inf\""),
            "{line}"
        );
        let back: Event = serde_json::from_str(&line).unwrap();
        let Body::Step(back) = back.body else {
            panic!("another event: {line}")
        };
        assert!(back.loss.is_nan() && back.grad_norm == f64::INFINITY && back.lr == 1e-3);
        let layers = Layers {
            activation_rms: vec![1.0, f64::NEG_INFINITY],
            ..Layers::default()
        };
        let event = Event {
            body: Body::Layers(layers.clone()),
            time: String::new(),
        };
        let back: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        assert_eq!(back.body, Body::Layers(layers));
    }

    #[test]
    fn a_slow_reader_loses_nothing_and_a_gone_one_stops_nothing() {
        let (mut engine, client) = link();
        for step in 0..3000 {
            engine.emit(Event {
                body: Body::ResumedFromPause { step },
                time: String::new(),
            });
        }
        let reader = std::thread::spawn(move || client.events.iter().count());
        engine.flush();
        drop(engine);
        assert_eq!(reader.join().unwrap(), 3000);
        let (mut engine, client) = link();
        drop(client);
        engine.emit(Event {
            body: Body::ResumedFromPause { step: 1 },
            time: String::new(),
        });
    }

    #[test]
    fn interrupts_only_grow() {
        let interrupt = Interrupt::default();
        interrupt.raise(Urgency::Preempt);
        interrupt.raise(Urgency::Stop);
        assert_eq!(interrupt.urgency(), Urgency::Preempt);
        interrupt.raise_checkpoint();
        assert!(interrupt.take_checkpoint() && !interrupt.take_checkpoint());
    }
}
