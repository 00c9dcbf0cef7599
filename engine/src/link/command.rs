//! Commands: what a person or a script asks of the engine.

use super::number::optional;
use serde::{Deserialize, Serialize};

/// What a person or a script asks of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Stand still. A step that is under way is given up after its micro-batch, and made again when training goes on.
    Pause {
        /// Whether to write a checkpoint and give the memory back until training goes on.
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
    /// Mark a checkpoint with a name, so that `keep_last` never deletes it.
    Tag {
        /// The checkpoint's step.
        step: u64,
        /// The name, a line of at most 64 characters.
        name: String,
    },
    /// Take a checkpoint's mark away.
    Untag {
        /// The checkpoint's step.
        step: u64,
    },
    /// Delete a checkpoint, tagged or not; refused of the newest good one.
    Delete {
        /// The checkpoint's step.
        step: u64,
    },
    /// Read a checkpoint's files again and compare their hashes with its manifest, beside training.
    Verify {
        /// The checkpoint's step.
        step: u64,
    },
    /// Evaluate now.
    Eval,
    /// Write samples now.
    Sample,
    /// Go back to a checkpoint and train on from there, as another attempt of the same run. A paused run stays paused.
    Rollback {
        /// The checkpoint's step; the newest valid one where it is not said.
        #[serde(default)]
        step: Option<u64>,
        /// A new `schedule.lr_scale`; one that is not finite reaches the engine, to be refused there.
        #[serde(default, with = "optional")]
        lr_scale: Option<f64>,
    },
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
    /// Show where the tokens of a prompt look, in one head.
    Attention {
        /// What the model reads.
        prompt: String,
        /// From 0.
        layer: usize,
        /// Query head, from 0.
        head: usize,
    },
    /// Copy the weights for a chat in the same process, which has ordered them.
    Weights,
    /// Take the time of every operation of the next steps.
    Profile,
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
            Self::Tag { .. } => "tag",
            Self::Untag { .. } => "untag",
            Self::Delete { .. } => "delete",
            Self::Verify { .. } => "verify",
            Self::Eval => "eval",
            Self::Sample => "sample",
            Self::Rollback { .. } => "rollback",
            Self::Stop { .. } => "stop",
            Self::Set { .. } => "set",
            Self::Reload => "reload",
            Self::Attention { .. } => "attention",
            Self::Weights => "weights",
            Self::Profile => "profile",
            Self::Note { .. } => "note",
        }
    }
}

/// A command with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender; comes back in [`super::Body::Reply`].
    pub id: u64,
    /// What is asked.
    pub command: Command,
}
