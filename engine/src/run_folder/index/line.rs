//! A line of events.jsonl as the index sees it: a row, a takeover, or a place to find again.

use super::bucket::ABSENT;
use crate::link::{Body, Eval, Event, Step, number};
use crate::run_folder::events::takeover;
use serde::Deserialize;
use std::borrow::Cow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What kind of event a line holds, as far as readers who look for one must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// An optimizer step; only in the columns, never in the list of lines.
    Step,
    /// An evaluation: its row stands in the columns too.
    Eval,
    /// Statistics of the layers.
    Layers,
    /// A sample.
    Sample,
    /// A checkpoint.
    Checkpoint,
    /// Everything else: heads of attempts, pauses, edits, warnings, endings.
    Other,
    /// How the machine was doing. An index that was written before this kind was known has such lines under [`Self::Other`].
    System,
}

impl LineKind {
    const ALL: [Self; 7] = [
        Self::Step,
        Self::Eval,
        Self::Layers,
        Self::Sample,
        Self::Checkpoint,
        Self::Other,
        Self::System,
    ];

    pub(super) fn from_code(code: u64) -> Self {
        *Self::ALL.get(code as usize).unwrap_or(&Self::Other)
    }

    /// Whether a later attempt that trains its step again takes its place.
    pub(super) fn is_superseded(self) -> bool {
        !matches!(self, Self::Other | Self::System)
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    Step {
        step: u64,
        tokens: u64,
        attempt: u64,
        time: u64,
        /// In the order of the columns behind `seconds`.
        metrics: [u64; 7],
    },
    Eval {
        step: u64,
        time: u64,
        tokens: u64,
        best: u64,
        metrics: [u64; 3],
    },
    /// An attempt begins: steps behind this one are trained again.
    Takeover(u64),
    Listed(LineKind, u64),
    /// No event.
    Nothing,
}

#[derive(Deserialize)]
struct Timed<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The fields of a step, read without the detour that a tagged enum takes: this is what most of a record consists of.
#[derive(Deserialize)]
struct StepLine<'a> {
    step: u64,
    attempt: u32,
    #[serde(with = "number")]
    loss: f64,
    #[serde(with = "number")]
    lr: f64,
    #[serde(with = "number")]
    grad_norm: f64,
    clipped: bool,
    tokens: u64,
    tokens_per_second: f64,
    step_seconds: f64,
    data_wait_seconds: f64,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(default)]
    step: u64,
}

impl Line {
    /// Reads a line of the record, with or without its line feed.
    pub(super) fn of_bytes(line: &[u8]) -> Self {
        if line.starts_with(b"{\"event\":\"step\"")
            && let Ok(found) = serde_json::from_slice::<StepLine<'_>>(line)
        {
            let step = Step {
                step: found.step,
                attempt: found.attempt,
                loss: found.loss,
                lr: found.lr,
                grad_norm: found.grad_norm,
                clipped: found.clipped,
                tokens: found.tokens,
                tokens_per_second: found.tokens_per_second,
                step_seconds: found.step_seconds,
                data_wait_seconds: found.data_wait_seconds,
            };
            return Self::of_step(&step, &found.time);
        }
        if let Some(head) = takeover(line) {
            return match head.supersedes_after() {
                Some(step) => Self::Takeover(step),
                None => Self::Listed(LineKind::Other, 0),
            };
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
            return Self::Nothing;
        };
        let kind = match &*head.event {
            // In another order of fields than we write.
            "step" => {
                let step = serde_json::from_slice::<Step>(line);
                let timed = serde_json::from_slice::<Timed<'_>>(line);
                return match (step, timed) {
                    (Ok(step), Ok(timed)) => Self::of_step(&step, &timed.time),
                    _ => Self::Nothing,
                };
            }
            "eval" => {
                let eval = serde_json::from_slice::<Eval>(line);
                let timed = serde_json::from_slice::<Timed<'_>>(line);
                return match (eval, timed) {
                    (Ok(eval), Ok(timed)) => Self::of_eval(&eval, &timed.time),
                    _ => Self::Nothing,
                };
            }
            "layers" => LineKind::Layers,
            "sample" => LineKind::Sample,
            "checkpoint" => LineKind::Checkpoint,
            "system" => return Self::Listed(LineKind::System, 0),
            _ => return Self::Listed(LineKind::Other, 0),
        };
        Self::Listed(kind, head.step)
    }

    /// The same for an event that was just written.
    pub(super) fn of_event(event: &Event) -> Self {
        match &event.body {
            Body::Step(step) => Self::of_step(step, &event.time),
            Body::Eval(eval) => Self::of_eval(eval, &event.time),
            Body::Started(started) => Self::Takeover(started.step),
            Body::Resumed { step, .. } => Self::Takeover(*step),
            Body::Layers(layers) => Self::Listed(LineKind::Layers, layers.step),
            Body::Sample { step, .. } => Self::Listed(LineKind::Sample, *step),
            Body::Checkpoint { step, .. } => Self::Listed(LineKind::Checkpoint, *step),
            Body::System(_) => Self::Listed(LineKind::System, 0),
            _ => Self::Listed(LineKind::Other, 0),
        }
    }

    fn of_step(step: &Step, time: &str) -> Self {
        Self::Step {
            step: step.step,
            tokens: step.tokens,
            attempt: u64::from(step.attempt),
            time: milliseconds(time),
            metrics: step.figures().map(f64::to_bits),
        }
    }

    fn of_eval(eval: &Eval, time: &str) -> Self {
        let bits = eval.bits_per_byte.map_or(ABSENT, f64::to_bits);
        Self::Eval {
            step: eval.step,
            time: milliseconds(time),
            tokens: eval.tokens,
            best: u64::from(eval.best),
            metrics: [eval.loss.to_bits(), eval.perplexity.to_bits(), bits],
        }
    }
}

/// Milliseconds since 1970; 0 where the time cannot be read.
fn milliseconds(time: &str) -> u64 {
    let time = OffsetDateTime::parse(time, &Rfc3339);
    time.map_or(0, |time| {
        (time.unix_timestamp_nanos() / 1_000_000).max(0) as u64
    })
}
