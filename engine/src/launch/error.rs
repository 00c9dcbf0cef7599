//! Why a run does not start, in a line each, with the exit code for it.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::hf::HfError;
use crate::run_folder::RunError;
use crate::setup::SetupError;
use kernels::gpu::GpuError;

/// Why a run does not start. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Tokenizer, data or model are refused.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The run's folder cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// `model.init_from` cannot be used.
    #[error("model.init_from: {0}")]
    Weights(#[from] HfError),
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run to go on with was begun with another value of a key that cannot change.
    #[error("{run} was begun with {key} = {from}, now it is {to}: such a key needs a new run")]
    Restart {
        /// The run.
        run: String,
        /// The key.
        key: String,
        /// Then.
        from: String,
        /// Now.
        to: String,
    },
    /// The data are not those that the run was trained on.
    #[error(
        "{run} was trained on other data: bring back the files of data.train as they were, or start a new run"
    )]
    OtherData {
        /// The run.
        run: String,
    },
    /// The run to go on with died before its configuration was stored.
    #[error(
        "run {run} ended before its configuration was stored: name the file, as in zerollm train CONFIG --run {run} --resume"
    )]
    NoConfig {
        /// The run.
        run: String,
    },
    /// The run to be forked has no such checkpoint.
    #[error("{}", no_checkpoint(run, *step, *nearest))]
    NoCheckpoint {
        /// The run.
        run: String,
        /// The step that was asked for.
        step: Option<u64>,
        /// The nearest step that has one.
        nearest: Option<u64>,
    },
    /// A fork was to change what its weights are made for.
    #[error(
        "a fork keeps the model and the tokenizer of {run}, where {key} is {from}: {to} needs a new run (model.init_from takes its weights)"
    )]
    Kept {
        /// The run.
        run: String,
        /// The key.
        key: String,
        /// In the parent.
        from: String,
        /// In the fork.
        to: String,
    },
    /// The tokenizer of the run to be forked is not the one that its checkpoint holds.
    #[error(
        "the tokenizer is not the one that {run} was trained with: bring back the file of tokenizer.path as it was"
    )]
    OtherTokenizer {
        /// The run.
        run: String,
    },
    /// There is no such device, or not yet.
    #[error("{0}")]
    Device(String),
    /// The device refuses.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// It does not fit.
    #[error(
        "training needs {} MiB of memory, {} MiB are free: lower train.micro_batch or set train.recompute = true",
        need >> 20,
        free >> 20
    )]
    Memory {
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// It does not fit the device.
    #[error(
        "training needs {} MiB on {device}, {} MiB are free: {advice}",
        need >> 20,
        free >> 20
    )]
    DeviceMemory {
        /// The device.
        device: String,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
        /// What would fit.
        advice: String,
    },
    /// A signal came before the first step.
    #[error(
        "interrupted before the first step: nothing was trained, so there is no checkpoint to write"
    )]
    Interrupted {
        /// Whether the machine is wanted back (SIGTERM, SIGUSR1), and not just the run's end.
        preempted: bool,
    },
    /// A checkpoint does not fit the run.
    #[error("{0}")]
    Unusable(String),
}

fn no_checkpoint(run: &str, step: Option<u64>, nearest: Option<u64>) -> String {
    match (step, nearest) {
        (Some(step), Some(nearest)) => {
            format!("run {run} has no checkpoint of step {step}; the nearest is {run}@{nearest}")
        }
        _ => format!("run {run} has no checkpoint to fork from"),
    }
}

impl LaunchError {
    /// The process's exit code for it (see `zerollm --help`).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Setup(_)
            | Self::Weights(_)
            | Self::Restart { .. }
            | Self::OtherData { .. }
            | Self::NoCheckpoint { .. }
            | Self::Kept { .. }
            | Self::OtherTokenizer { .. }
            | Self::NoConfig { .. } => 2,
            Self::Run(error) => error.exit_code(),
            Self::Device(_) | Self::Gpu(_) | Self::Memory { .. } | Self::DeviceMemory { .. } => 4,
            Self::Checkpoint(_) | Self::Unusable(_) => 5,
            Self::Interrupted { preempted: true } => 75,
            Self::Interrupted { preempted: false } => 130,
        }
    }
}
