//! Starting a run: a new one or one that goes on, up to the engine's thread.

mod attended;
mod error;
mod fork;

use crate::checkpoint::{CheckpointError, read_trainer};
use crate::config::{Config, ConfigError, Sources, diff, read, recorded};
use crate::data::Cache;
use crate::infer::chat::Desk;
#[cfg(unix)]
use crate::link::socket::Server;
use crate::link::{Body, Client, Event, Interrupt, link};
use crate::registry::Class;
use crate::run_folder::{
    NameFrom, Origin as RunOrigin, Resumed, RunError, RunFolder, check_writable, config_path,
    config_versions, find,
};
use crate::setup::Setup;
use crate::train::run::{ConfigSource, Ending, Engine, Origin, now};
use crate::train::saving::{init_from, same_data};
use crate::train::step::Trainer;
use crate::{device, estimate};
use attended::attended;
pub use error::LaunchError;
pub use fork::{Fork, ForkPlan, MadeFork, make as make_fork, plan as plan_fork};
use kernels::Cpu;
use kernels::gpu::Gpu;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
        go_on(request, interrupt, progress)
    } else {
        begin(request, interrupt, progress)
    }
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

/// The text of the configuration file, or of the demo.
fn text(file: Option<&PathBuf>) -> Result<String, ConfigError> {
    file.map_or_else(|| Ok(crate::config::DEMO.to_owned()), |file| read(file))
}

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

fn go_on(
    request: &Request,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    let asked = request.clone();
    let Continued {
        prepared,
        mut folder,
        checkpoint,
        file,
        stored_text,
        mut warnings,
    } = attended(interrupt, progress, move |interrupt, progress| {
        asked.prepare_to_go_on(interrupt, progress)
    })?;
    let before = folder.record().what.clone();
    let attempt = folder.begin_attempt(&request.origin(Some(before)))?;
    let version = config_versions(folder.path())
        .last()
        .map_or(1, |version| version + 1);
    folder.save_config(version, &prepared.setup.config.to_toml())?;
    warnings.extend(prepared.warnings());
    let origin = Origin {
        source: request.source(file, prepared.text.clone(), stored_text),
        attempt,
        notes: Vec::new(),
        warnings,
        config_version: version,
    };
    let ready = prepared.engine(folder, &origin, interrupt)?;
    let Some(found) = checkpoint else {
        return ready.start(None, origin.warnings);
    };
    progress("reading the checkpoint");
    let (ready, path) = attended(interrupt, progress, move |_, _| ready.restored(&found))?;
    ready.start(Some(path), origin.warnings)
}

/// What a run that goes on is made of.
struct Continued {
    prepared: Prepared,
    folder: RunFolder,
    checkpoint: Option<crate::checkpoint::Found>,
    file: Option<PathBuf>,
    stored_text: Option<String>,
    warnings: Vec<String>,
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
        if from == NameFrom::Flag
            && let Ok(path) = find(&self.runs, &name)
        {
            return Err(RunError::Exists { name, path }.into());
        }
        check_writable(&self.runs)?;
        let prepared = Prepared::new(config, None, interrupt, progress)?;
        Ok((prepared.noting(text), name, from))
    }

    /// Everything of a run that goes on; in its folder nothing has changed yet.
    fn prepare_to_go_on(
        &self,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Continued, LaunchError> {
        let Resumed {
            folder,
            checkpoint,
            mut warnings,
            ..
        } = RunFolder::open_for_resume(&self.runs, self.name.as_deref())?;
        let file = match &self.file {
            Some(file) => Some(file.clone()),
            None => own_config(&folder)?,
        };
        let stored_text = match &checkpoint {
            Some(found) => Some(checkpoint_config(&found.path)?),
            None => None,
        };
        let own = checkpoint.as_ref().map(|found| found.path.clone());
        let shape = own.as_deref().and_then(recorded);
        let text = text(file.as_ref())?;
        let config = Config::resolve(&Sources {
            file: file.as_deref(),
            text: &text,
            flags: &self.flags,
            edits: &[],
            checkpoint: stored_text.as_deref(),
            shape: shape.as_ref(),
        })?;
        if let Some(stored) = &stored_text {
            let before = Config::resolve(&Sources {
                text: stored,
                shape: shape.as_ref(),
                ..Sources::default()
            })?;
            for (change, class) in diff(&before, &config) {
                if class == Class::Restart && !PLACES.contains(&change.key.as_str()) {
                    return Err(LaunchError::Restart {
                        run: folder.name(),
                        key: change.key,
                        from: change.from,
                        to: change.to,
                    });
                }
                warnings.push(format!(
                    "{} = {} (the checkpoint had {})",
                    change.key, change.to, change.from
                ));
            }
        }
        let prepared = Prepared::new(config, own.as_deref(), interrupt, progress)?.noting(text);
        if let Some(found) = &checkpoint
            && !same_data(&found.trainer, &prepared.setup.datasets.train)
        {
            return Err(LaunchError::OtherData { run: folder.name() });
        }
        Ok(Continued {
            prepared,
            folder,
            checkpoint,
            file,
            stored_text,
            warnings,
        })
    }
}

/// The file of a run's newest configuration; none for a demo that died before it was stored.
///
/// # Errors
/// If the run died before its configuration was stored, and only its file could tell it.
fn own_config(folder: &RunFolder) -> Result<Option<PathBuf>, LaunchError> {
    let stored = config_versions(folder.path())
        .last()
        .map(|version| config_path(folder.path(), *version));
    if stored.is_some() || folder.record().what == DEMO_NAME {
        return Ok(stored);
    }
    Err(LaunchError::NoConfig { run: folder.name() })
}

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

impl Request {
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

/// Everything but the run's folder.
struct Prepared {
    setup: Setup,
    trainer: Trainer,
    memory: crate::link::Memory,
    /// The text of the configuration file, or of the demo.
    text: Option<String>,
}

impl Prepared {
    /// The same, noting what the configuration was read from.
    fn noting(self, text: String) -> Self {
        Self {
            text: Some(text),
            ..self
        }
    }

    /// `own` is the checkpoint that the run goes on from: its weights take the place of those of `model.init_from`.
    fn new(
        config: Config,
        own: Option<&Path>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, LaunchError> {
        interrupt.set_grace(config.shutdown.grace_s);
        let device = device::open(&config)?;
        let cache = Cache::of_user();
        #[cfg(debug_assertions)]
        crate::drill::stand("preparation", 0);
        let setup = Setup::unless(interrupt, config, own, cache.as_ref(), progress)?;
        Self::of(setup, device, own, progress)
    }

    /// The same of what is set up already.
    fn of(
        setup: Setup,
        (cpu, gpu): (Cpu, Option<Gpu>),
        own: Option<&Path>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, LaunchError> {
        let memory = match &gpu {
            Some(gpu) => estimate::memory(&setup.config, &setup.model, gpu.info()),
            None => estimate::memory(&setup.config, &setup.model, &cpu),
        };
        if gpu.is_none()
            && let Some(free) = estimate::available_bytes()
            && memory.total - memory.runtime > free
        {
            return Err(LaunchError::Memory {
                need: memory.total - memory.runtime,
                free,
            });
        }
        let model = crate::model::Model::new(&setup.config.model, setup.model.vocab_size());
        if let Some(gpu) = &gpu {
            device::check_room(&setup.config, &setup.model, gpu)?;
        }
        let mut trainer = Trainer::on(&setup.config, model, cpu, gpu)?;
        if setup.config.model.init_from.is_some() && own.is_none() {
            progress("reading the weights");
            init_from(&setup, &mut trainer.params)?;
        }
        Ok(Self {
            setup,
            trainer,
            memory,
            text: None,
        })
    }

    /// What the person should know of the data and the device before training begins.
    fn warnings(&self) -> Vec<String> {
        let skipped = self.setup.datasets.report.skipped_lines;
        let told = (skipped > 0).then(|| {
            format!("{skipped} bad lines of data.train are skipped (data.on_bad_line = \"skip\")")
        });
        let portable = self.trainer.gpu().and_then(|gpu| gpu.info().portable());
        told.into_iter().chain(portable).collect()
    }

    fn engine(
        self,
        folder: RunFolder,
        origin: &Origin,
        interrupt: &Interrupt,
    ) -> Result<Ready, LaunchError> {
        let (link, client) = link();
        let path = folder.path().to_owned();
        let config = self.setup.config.clone();
        let engine = Engine::new(
            self.setup,
            self.trainer,
            folder,
            link,
            interrupt.clone(),
            origin,
        )?;
        Ok(Ready {
            engine,
            client,
            memory: self.memory,
            folder: path,
            config,
        })
    }
}

/// An engine that has not begun.
struct Ready {
    engine: Engine,
    client: Client,
    memory: crate::link::Memory,
    folder: PathBuf,
    config: Config,
}

impl Ready {
    /// The same at the step of a checkpoint, and the checkpoint's folder relative to the run's.
    fn restored(mut self, found: &crate::checkpoint::Found) -> Result<(Self, String), LaunchError> {
        match self.engine.restore(found) {
            Ok(path) => Ok((self, path)),
            Err(Ending::Failed { message, .. }) => Err(LaunchError::Unusable(message)),
            Err(other) => Err(LaunchError::Unusable(format!("{other:?}"))),
        }
    }

    fn start(
        self,
        resumed: Option<String>,
        #[cfg_attr(not(unix), expect(unused_mut, reason = "only a socket adds to them"))]
        mut warnings: Vec<String>,
    ) -> Result<Launched, LaunchError> {
        let (engine, memory) = (self.engine, self.memory);
        let desk = engine.desk();
        #[cfg(unix)]
        let server = Server::start(&self.folder, self.client.requests.clone())
            .inspect_err(|error| {
                warnings.push(format!("attach and ctl cannot reach this run: {error}"));
            })
            .ok();
        let work = move || {
            guarded(engine, |engine| {
                let ending = engine.run(memory, resumed, &warnings);
                // While the run's lock is still held: its next process has an address of its own.
                #[cfg(unix)]
                drop(server);
                ending
            })
        };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(work)
            .map_err(|error| {
                LaunchError::Unusable(format!("the system gives no thread: {error}"))
            })?;
        Ok(Launched {
            client: self.client,
            thread,
            folder: self.folder,
            config: self.config,
            desk,
        })
    }
}

/// Runs the engine; a panic inside it becomes an event and an ending, and never tears the screen.
fn guarded(mut engine: Engine, run: impl FnOnce(&mut Engine) -> Ending) -> Ending {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut engine)));
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "unknown".to_owned());
        let message = format!("the engine failed: {text}");
        engine.report(Event {
            body: Body::Failed {
                step: 0,
                message: message.clone(),
            },
            time: now(),
        });
        Ending::Failed { message, code: 1 }
    })
}
