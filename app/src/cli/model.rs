//! Which model: flags that several commands share, and the way from them to a model in memory.

use super::{Failure, RunsFlag};
use clap::{Args, ValueEnum};
use engine::checkpoint::{self, CheckpointError};
use engine::infer::load::{LoadError, Loaded};
use engine::run_folder::{RunError, find, split_step};
use std::path::{Path, PathBuf};
use tokenizer::Tokenizer;

/// A model: of a run, or in a folder.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// A run's newest checkpoint; RUN@STEP for another
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// A Hugging Face folder (config.json, model.safetensors) or a checkpoint's folder
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
}

/// Type of what lies between operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floating point
    #[default]
    F32,
    /// bfloat16, with 32-bit sums
    Bf16,
}

/// A model, and where it computes.
#[derive(Clone, Debug, Args)]
pub struct ModelFlags {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub runs: RunsFlag,
    #[command(flatten)]
    pub place: Place,
}

/// Where a model computes.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Where to compute: auto, cpu, cuda, cuda:N, rocm, rocm:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// Threads [default: what affinity and quota allow]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Type of what lies between operations
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
}

impl Place {
    /// As `key=value`.
    pub fn sets(&self) -> Vec<String> {
        let precision = match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        let mut sets = vec![
            format!("device.kind=\"{}\"", self.device.escape_default()),
            format!("device.precision=\"{precision}\""),
        ];
        sets.extend(
            self.threads
                .map(|threads| format!("device.threads={threads}")),
        );
        sets
    }
}

impl ModelFlags {
    /// Reads the model.
    ///
    /// # Errors
    /// If there is none: exit 2, or 5 where a run's own checkpoint is unusable.
    pub fn load(&self) -> Result<Loaded, Failure> {
        let sets = self.place.sets();
        match (&self.which.run, &self.which.model) {
            (Some(run), _) => {
                let folder = checkpoint_of(&self.runs.dir(), run)?;
                Loaded::open(&folder, &sets).map_err(|error| {
                    let code = match &error {
                        LoadError::Folder { .. } | LoadError::Weights(_) => 5,
                        other => other.exit_code(),
                    };
                    Failure::new(code, error.to_string())
                })
            }
            (None, Some(folder)) => open(folder, &sets),
            (None, None) => Err(Failure::new(2, "name a model: --run RUN or --model DIR")),
        }
    }
}

fn open(folder: &Path, sets: &[String]) -> Result<Loaded, Failure> {
    if folder.join("run.json").is_file() {
        return Err(Failure::new(
            2,
            format!("{0}: this is a run; say --run {0}", folder.display()),
        ));
    }
    // A checkpoint that does not agree with its manifest is never read.
    if folder.join(checkpoint::MANIFEST).is_file() {
        checkpoint::verify(folder).map_err(|error| Failure::new(2, error.to_string()))?;
    }
    Ok(Loaded::open(folder, sets)?)
}

/// The folder of a run's newest valid checkpoint, or of the one that `RUN@STEP` names.
///
/// # Errors
/// If there is no such run or checkpoint (exit 2), or none that is valid (exit 5).
pub fn checkpoint_of(runs: &Path, run: &str) -> Result<PathBuf, Failure> {
    let (name, step) = split_step(run);
    let folder = find(runs, name)?;
    let checkpoints = folder.join("checkpoints");
    let known = checkpoint::list(&checkpoints)?;
    if known.is_empty() {
        return Err(Failure::new(
            2,
            format!("run {name} has no checkpoint yet; `zerollm ctl {name} checkpoint` makes one"),
        ));
    }
    let Some(step) = step else {
        let mut why = String::new();
        let found = checkpoint::newest_valid(&checkpoints, &mut |line| {
            eprintln!("zerollm: {line}");
            why = line;
        })?;
        return found.map(|found| found.path).ok_or_else(|| {
            Failure::new(
                5,
                format!("run {name} has no checkpoint that is whole: {why}"),
            )
        });
    };
    if let Some((_, path)) = known.iter().find(|(known, _)| *known == step) {
        return Ok(checkpoint::verify(path)?.path);
    }
    let steps: Vec<String> = known.iter().map(|(step, _)| step.to_string()).collect();
    Err(Failure::new(
        2,
        format!(
            "run {name} has no checkpoint of step {step}; there are those of {}",
            steps.join(", ")
        ),
    ))
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        RunError::from(error).into()
    }
}

/// The model's tokenizer.
///
/// # Errors
/// If it has none, or one that cannot be read.
pub fn need_tokenizer(loaded: &Loaded) -> Result<&Tokenizer, Failure> {
    loaded.tokenizer.as_ref().ok_or_else(|| {
        let why = loaded.tokenizer_error.as_ref().map_or_else(
            || "the model has no tokenizer.json".to_owned(),
            ToString::to_string,
        );
        Failure::new(2, format!("{why}: give ids with --tokens 1,2,3"))
    })
}

/// Token ids as `1,2,3`.
///
/// # Errors
/// If something in it is no id.
pub fn parse_ids(text: &str) -> Result<Vec<u32>, Failure> {
    let parts = text.split([',', ' ', '\n', '\t', '\r']);
    let words = parts.filter(|word| !word.is_empty());
    let ids: Result<Vec<u32>, Failure> = words
        .map(|word| {
            word.parse().ok().ok_or_else(|| {
                let word = crate::text::truncate(&crate::text::escape(word), 20);
                Failure::new(
                    2,
                    format!("--tokens: `{word}` is no token id; write ids as 1,2,3"),
                )
            })
        })
        .collect();
    let ids = ids?;
    if ids.is_empty() {
        return Err(Failure::new(2, "--tokens: no ids; write them as 1,2,3"));
    }
    Ok(ids)
}

/// Refuses ids that the model does not have.
///
/// # Errors
/// If there is one.
pub fn check_ids(ids: &[u32], loaded: &Loaded) -> Result<(), Failure> {
    let size = loaded.model.vocab_size();
    match ids.iter().find(|id| **id as usize >= size) {
        Some(id) => Err(Failure::new(
            2,
            format!("token id {id}: the model has ids 0 to {}", size - 1),
        )),
        None => Ok(()),
    }
}

/// The whole of a text file; `-` is stdin.
///
/// # Errors
/// If it cannot be read, is empty, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let fail = |message: String| Failure::new(2, format!("{}: {message}", path.display()));
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    }
    .map_err(|error| fail(error.to_string()))?;
    if bytes.is_empty() {
        return Err(fail("the file is empty".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        fail(format!(
            "not a text in UTF-8 (line {line}, byte {})",
            valid.len() + 1
        ))
    })
}
