//! `zerollm ctl`: one request to a run that is on, and its answer.

mod fork;

use super::Failure;
use crate::actions::rollback::lr_scale;
use crate::out;
use crate::text;
use clap::{Args, Subcommand};
use engine::link::socket::{Control, PATIENCE, Role};
use engine::link::{Body, Command, Event};
use engine::run_folder::{Next, Tail, find, runs_dir};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Flags of `zerollm ctl`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Ask a run that is on for something: pause, resume, checkpoint, tag, untag, verify, delete, eval, sample, \
        stop, set, reload, rollback, profile, note; or make a fork of it",
    long_about = "Ask a run that another process trains for something, and wait for its answer. The engine obeys between \
        two steps. Exit code 0: done; 1: refused, or no answer in time; 2: no such run, or it is not on.",
    after_help = "Example:\n  zerollm ctl demo pause\n  zerollm ctl demo set optimizer.lr=3e-4\n  \
        zerollm ctl demo checkpoint --tag before-the-change --json\n  zerollm ctl demo stop\n  \
        zerollm ctl demo fork --at 1000 --set optimizer.lr=1e-4\n\n\
        JSON: the reply of the run's record: event (reply), step, id, command, refused, message, time. Of fork: run, \
        folder, parent, step."
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    #[command(subcommand)]
    word: Word,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Wait for the answer at most so long (0: not at all); a request that was handed over stands all the same [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, global = true)]
    timeout: Option<Duration>,
    /// Folder of runs [default: ZEROLLM_RUNS, else ./runs]
    #[arg(long, value_name = "DIR", global = true)]
    runs: Option<PathBuf>,
}

/// What follows the run's name.
#[derive(Clone, Debug, Subcommand)]
enum Word {
    #[command(flatten)]
    Ask(What),
    Fork(fork::Arguments),
}

/// What is asked of the engine.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Stand still after the current micro-batch
    Pause {
        /// Write a checkpoint first, and give the memory back
        #[arg(long)]
        hard: bool,
    },
    /// Go on after a pause
    Resume,
    /// Write a checkpoint
    Checkpoint {
        /// A name for it; such checkpoints are never deleted
        #[arg(long)]
        tag: Option<String>,
    },
    /// Mark a checkpoint with a name: it is never deleted by keep_last
    Tag {
        /// Its step
        step: u64,
        /// The name
        name: String,
    },
    /// Take a checkpoint's mark away
    Untag {
        /// Its step
        step: u64,
    },
    /// Read a checkpoint again, beside training, and compare its hashes
    Verify {
        /// Its step
        step: u64,
    },
    /// Delete a checkpoint, tagged or not; the newest good one is refused
    Delete {
        /// Its step
        step: u64,
    },
    /// Evaluate on the validation data
    Eval,
    /// Let the model write
    Sample,
    /// End the run, with a checkpoint
    Stop {
        /// Write nothing
        #[arg(long)]
        no_checkpoint: bool,
    },
    /// Change a live key of the configuration
    Set {
        /// Such as optimizer.lr=3e-4
        #[arg(value_name = "KEY=VALUE", value_parser = assignment)]
        change: (String, String),
    },
    /// Read the configuration file again
    Reload,
    /// Go back to a checkpoint of the run
    Rollback {
        /// Its step [default: the newest]
        #[arg(long)]
        step: Option<u64>,
        /// A new schedule.lr_scale from there on
        #[arg(long, value_parser = factor, allow_hyphen_values = true)]
        lr_scale: Option<f64>,
    },
    /// Take the time of every operation of the next steps
    Profile,
    /// Put a line into the run's record
    Note {
        /// The line
        #[arg(required = true)]
        text: Vec<String>,
    },
}

impl What {
    fn command(&self) -> Command {
        match self.clone() {
            Self::Pause { hard } => Command::Pause { hard },
            Self::Resume => Command::Resume,
            Self::Checkpoint { tag } => Command::Checkpoint { tag },
            Self::Tag { step, name } => Command::Tag { step, name },
            Self::Untag { step } => Command::Untag { step },
            Self::Verify { step } => Command::Verify { step },
            Self::Delete { step } => Command::Delete { step },
            Self::Eval => Command::Eval,
            Self::Sample => Command::Sample,
            Self::Stop { no_checkpoint } => Command::Stop {
                checkpoint: !no_checkpoint,
            },
            Self::Set {
                change: (key, value),
            } => Command::Set { key, value },
            Self::Reload => Command::Reload,
            Self::Rollback { step, lr_scale } => Command::Rollback { step, lr_scale },
            Self::Profile => Command::Profile,
            Self::Note { text } => Command::Note {
                text: text.join(" "),
            },
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "expected seconds, such as 30".to_owned())
}

fn factor(text: &str) -> Result<f64, String> {
    lr_scale(text).map_err(|why| why.to_string())
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("expected KEY=VALUE, such as optimizer.lr=3e-4".to_owned()),
    }
}

impl Arguments {
    /// How long the answer of the engine is waited for.
    fn limit(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_mins(2))
    }

    /// How long the engine's process may take to be handed the request: all that the person gives, and otherwise as long as
    /// one that is not stopped ever needs.
    fn patience(&self) -> Duration {
        self.timeout
            .filter(|limit| !limit.is_zero())
            .unwrap_or(PATIENCE)
    }
}

/// Runs it.
///
/// # Errors
/// If there is no such run, it is not on, it refuses, or it does not answer in time.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let begin = Instant::now();
    let runs = runs_dir(arguments.runs.as_deref());
    let folder = find(&runs, &arguments.run)?;
    let command = match &arguments.word {
        Word::Ask(what) => what.command(),
        Word::Fork(fork) => {
            return fork::run(fork, runs, &folder, arguments.patience(), arguments.json);
        }
    };
    let word = command.word();
    let patience = arguments.patience();
    let mut control = Control::connect_within(&folder, Role::Ctl, patience)?;
    control.wait_at_most(patience.saturating_sub(begin.elapsed()));
    // The reply stands behind what is written now.
    let mut tail = Tail::behind(&folder)?;
    let asked = control.ask(None, command).map_err(|error| {
        let failure = Failure::from(error);
        Failure::new(
            failure.code,
            format!("{word} is refused: {}", failure.message),
        )
    })?;
    drop(control);
    loop {
        let left = arguments.limit().saturating_sub(begin.elapsed());
        let line = match tail.wait(left) {
            Next::Line(line) => line,
            Next::Quiet => return Err(unanswered(word, arguments)),
            Next::Over => {
                let message = format!("{word}: the run ended before it answered");
                return Err(Failure::new(1, message));
            }
        };
        let Ok(event) = serde_json::from_str::<Event>(&line) else {
            continue;
        };
        let Body::Reply {
            id,
            refused,
            message,
            ..
        } = event.body
        else {
            continue;
        };
        if id != asked {
            continue;
        }
        let message = text::escape(&message);
        if arguments.json {
            out::line(&line)?;
        } else if !refused {
            out::line(&message)?;
        }
        if refused {
            return Err(Failure::new(1, format!("{word} is refused: {message}")));
        }
        return Ok(0);
    }
}

fn unanswered(word: &str, arguments: &Arguments) -> Failure {
    let message = format!(
        "{word}: no answer within {} s; the request stands and is obeyed after the current step (zerollm watch {})",
        arguments.limit().as_secs_f64(),
        text::escape(&arguments.run)
    );
    Failure::new(1, message)
}
