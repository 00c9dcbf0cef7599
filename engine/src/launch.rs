//! Starting a run: a new one, one that goes on ([`resume`]) or one that begins with another's checkpoint ([`fork`]), up to
//! the engine's thread ([`prepared`]).

mod attended;
mod error;
mod fork;
mod prepared;
mod resume;

use crate::checkpoint::{CheckpointError, read_trainer};
use crate::config::{Config, ConfigError, read};
use crate::estimate;
use crate::infer::chat::Desk;
use crate::link::{Client, Interrupt};
use crate::run_folder::{NameFrom, Origin as RunOrigin, RunFolder, check_free, check_writable};
use crate::train::run::{ConfigSource, Ending, Origin};
use attended::attended;
pub use error::LaunchError;
pub use fork::{Fork, ForkPlan, MadeFork, make as make_fork, plan as plan_fork};
use kernels::Cpu;
use prepared::Prepared;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// What run.json says is trained where there is no configuration file.
const DEMO_NAME: &str = "demo";

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The configuration file; `None` for the embedded demo, or with `resume` for the run's own.
    pub file: Option<PathBuf>,
    /// `key=value` flags.
    pub flags: Vec<String>,
    /// The folder of runs.
    pub runs: PathBuf,
    /// `--run NAME`.
    pub name: Option<String>,
    /// Whether to go on with a run.
    pub resume: bool,
    /// The run and step that a new run begins with, in place of a configuration file.
    pub fork: Option<Fork>,
    /// The command line.
    pub command: Vec<String>,
    /// Commit that the program was built from.
    pub commit: String,
}

/// A run that is on.
#[derive(Debug)]
pub struct Launched {
    /// Where its events come from and commands go.
    pub client: Client,
    /// The engine's thread.
    pub thread: JoinHandle<Ending>,
    /// The run's folder.
    pub folder: PathBuf,
    /// The configuration in force at the start.
    pub config: Config,
    /// Where a chat in this process orders a copy of the weights.
    pub desk: Desk,
}

/// The CPU as `[device]` names it, for what only the CPU does: `auto` is the CPU too.
///
/// # Errors
/// If it names another device.
pub fn cpu(config: &Config) -> Result<Cpu, LaunchError> {
    match config.device.kind.as_str() {
        "auto" | "cpu" => {
            let threads = config
                .device
                .threads
                .unwrap_or_else(estimate::allowed_threads);
            Ok(Cpu::new(threads))
        }
        other => Err(LaunchError::Device(format!(
            "device {other}: only training runs there; use --device cpu (or auto)"
        ))),
    }
}

/// Prepares and starts a run. `progress` is told what preparation is busy with. A signal ends the preparation within about
/// a second; a run that goes on is then as it was.
///
/// # Errors
/// If it cannot start; then no run folder is left behind.
pub fn launch(
    request: &Request,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    if let Some(fork) = &request.fork {
        fork::start(request, fork, interrupt, progress)
    } else if request.resume {
        resume::go_on(request, interrupt, progress)
    } else {
        begin(request, interrupt, progress)
    }
}

/// Prepares and starts a new run.
fn begin(
    request: &Request,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    let asked = request.clone();
    let (prepared, name, from) = attended(interrupt, progress, move |interrupt, progress| {
        asked.prepare(interrupt, progress)
    })?;
    let text = prepared.setup.config.to_toml();
    #[cfg(debug_assertions)]
    crate::drill::stand("folder", 0);
    let folder = RunFolder::create_with(
        &request.runs,
        &name,
        from,
        &request.origin(None),
        |folder| folder.save_config(1, &text).map(drop),
    )?;
    let path = folder.path().to_owned();
    let origin = Origin {
        source: request.source(request.file.clone(), prepared.text.clone(), None),
        attempt: folder.record().attempt,
        notes: Vec::new(),
        warnings: prepared.warnings(),
        config_version: 1,
    };
    let started = prepared
        .engine(folder, &origin, interrupt)
        .and_then(|ready| ready.start(None, origin.warnings));
    if started.is_err() {
        // Nothing has happened in it, and its lock went with what failed.
        drop(std::fs::remove_dir_all(path));
    }
    started
}

impl Request {
    /// Everything of a new run but its folder, and the folder's name.
    fn prepare(
        &self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(Prepared, String, NameFrom), LaunchError> {
        let text = text(self.file.as_ref())?;
        let config = Config::parse(self.file.as_deref(), &text, &self.flags)?;
        let (name, from) = match &self.name {
            Some(name) => (name.clone(), NameFrom::Flag),
            None => (config.run.name.clone(), NameFrom::Config),
        };
        // Said before a tokenizer is trained for minutes; the folder's making is what decides.
        if from == NameFrom::Flag {
            check_free(&self.runs, &name)?;
        }
        check_writable(&self.runs)?;
        let prepared = Prepared::new(config, None, interrupt, progress)?;
        Ok((prepared.noting(text), name, from))
    }

    /// Who begins an attempt. `before` is what the run's record says is trained, if it goes on.
    fn origin(&self, before: Option<String>) -> RunOrigin {
        let what = match &self.file {
            Some(file) => file.display().to_string(),
            None => before.unwrap_or_else(|| DEMO_NAME.to_owned()),
        };
        RunOrigin {
            what,
            command: self.command.clone(),
            commit: self.commit.clone(),
            // A name that is no text has no place in a record.
            file: (self.file.as_deref())
                .and_then(|file| std::path::absolute(file).ok())
                .filter(|file| file.to_str().is_some()),
            parent: None,
        }
    }

    /// Where edits of a run come from that began with `file`: the person's, or the run's own, which nobody edits but
    /// which says what an edit changes.
    fn source(
        &self,
        file: Option<PathBuf>,
        text: Option<String>,
        checkpoint: Option<String>,
    ) -> ConfigSource {
        ConfigSource {
            file,
            text,
            flags: self.flags.clone(),
            edits: Vec::new(),
            checkpoint,
        }
    }
}

/// The text of the configuration file, or of the demo.
fn text(file: Option<&PathBuf>) -> Result<String, ConfigError> {
    file.map_or_else(|| Ok(crate::config::DEMO.to_owned()), |file| read(file))
}

/// Restart keys that only say where things are: a run that was copied to another machine goes on with the same data in
/// another place. That it is the same is checked by its content.
const PLACES: [&str; 5] = [
    "run.name",
    "data.train",
    "data.validation",
    "tokenizer.path",
    "model.init_from",
];

/// The configuration that a checkpoint was written under, as TOML.
fn checkpoint_config(folder: &Path) -> Result<String, CheckpointError> {
    let state = read_trainer(folder)?;
    // Dotted keys need no tables.
    let lines: Vec<String> = state
        .config
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    Ok(lines.concat())
}
