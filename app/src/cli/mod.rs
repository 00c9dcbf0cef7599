//! The command line: one file a subcommand. Each parses its own flags and returns a [`Failure`] with its exit code.

#[cfg(unix)]
pub mod attach;
pub mod bench;
pub mod cache;
pub mod chat;
pub mod compare;
#[cfg(unix)]
pub mod ctl;
#[cfg(unix)]
mod detach;
pub mod doctor;
pub mod estimate;
pub mod export;
pub mod fork;
pub mod generate;
pub mod metric;
mod model;
pub mod runs;
mod sampling;
pub mod score;
mod screen;
pub mod show;
pub mod tokenizer;
pub mod train;
pub mod watch;

use clap::{Args, Parser, Subcommand};
use engine::config::ConfigError;
use engine::launch::LaunchError;
use engine::run_folder::RunError;
use engine::setup::SetupError;
use std::path::PathBuf;

/// Trains language models from zero, in a terminal.
#[derive(Debug, Parser)]
#[command(
    name = "zerollm",
    version = crate::version(),
    about = "Train a language model from zero, in a terminal",
    long_about = "Train a language model from zero, in a terminal: tokenizer, training, evaluation, writing.\n\n\
        Without a command, in a terminal, the embedded demo trains at once.",
    after_help = "Exit codes: 0 done or stopped with a checkpoint; 1 error; 2 bad usage, configuration or file; \
        3 diverged; 4 device or memory; 5 checkpoints unusable; 75 pre-empted with a checkpoint; 130, 143 hard exit.",
    infer_subcommands = false
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model: a configuration file, or without one the embedded demo
    Train(train::Arguments),
    #[cfg(unix)]
    Attach(attach::Arguments),
    Watch(watch::Arguments),
    #[cfg(unix)]
    Ctl(ctl::Arguments),
    /// Say what a run will need: parameters, memory, time; nothing is trained
    Estimate(estimate::Arguments),
    Generate(generate::Arguments),
    Chat(chat::Arguments),
    Score(score::Arguments),
    Tokenizer(tokenizer::Arguments),
    Fork(fork::Arguments),
    Runs(runs::Arguments),
    Show(show::Arguments),
    Metric(metric::Arguments),
    Compare(compare::Arguments),
    Export(export::Arguments),
    Doctor(doctor::Arguments),
    Bench(bench::Arguments),
    Cache(cache::Arguments),
}

impl Command {
    /// Carries it out.
    ///
    /// # Errors
    /// With the lines for stderr and the exit code.
    pub fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Train(arguments) => train::run(&arguments),
            #[cfg(unix)]
            Self::Attach(arguments) => attach::run(&arguments),
            Self::Watch(arguments) => watch::run(&arguments),
            #[cfg(unix)]
            Self::Ctl(arguments) => ctl::run(&arguments),
            Self::Estimate(arguments) => estimate::run(&arguments),
            Self::Generate(arguments) => generate::run(&arguments),
            Self::Chat(arguments) => chat::run(&arguments),
            Self::Score(arguments) => score::run(&arguments),
            Self::Tokenizer(arguments) => tokenizer::run(&arguments),
            Self::Fork(arguments) => fork::run(&arguments),
            Self::Runs(arguments) => runs::run(&arguments),
            Self::Show(arguments) => show::run(&arguments),
            Self::Metric(arguments) => metric::run(&arguments),
            Self::Compare(arguments) => compare::run(&arguments),
            Self::Export(arguments) => export::run(&arguments),
            Self::Doctor(arguments) => doctor::run(&arguments),
            Self::Bench(arguments) => bench::run(&arguments),
            Self::Cache(arguments) => cache::run(&arguments),
        }
    }
}

/// Flags of every command that reads a configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigFlags {
    /// Set a key of the configuration, such as optimizer.lr=1e-3 (a TOML value; other text is a string)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where to compute: auto, cpu, cuda, cuda:N, rocm, rocm:N
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

impl ConfigFlags {
    /// All flags as `key=value`.
    pub fn sets(&self) -> Vec<String> {
        let device = self
            .device
            .as_ref()
            .map(|device| format!("device.kind={device}"));
        self.set.iter().cloned().chain(device).collect()
    }
}

/// Where runs are.
#[derive(Clone, Debug, Default, Args)]
pub struct RunsFlag {
    /// Folder of runs [default: ZEROLLM_RUNS, else ./runs]
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
}

impl RunsFlag {
    /// The folder.
    pub fn dir(&self) -> PathBuf {
        engine::run_folder::runs_dir(self.runs.as_deref())
    }
}

/// A failed command: what goes to stderr (nothing where the message is empty), and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    /// A failure with a code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(2, error.to_string())
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::new(2, error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

/// A number as JSON; one that is not finite as the string NaN, inf or -inf.
pub fn number(x: f64) -> serde_json::Value {
    if x.is_finite() {
        x.into()
    } else if x.is_nan() {
        "NaN".into()
    } else if x > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}
