//! What a run is made of before it has a folder, and the engine's thread that it becomes.
//!
//! [`Prepared`] has all that can be refused: device, tokenizer, data, memory, weights. With a folder it is [`Ready`], which a
//! checkpoint may set to its step; then it starts. Next: [`crate::train::run`].

use super::{LaunchError, Launched};
use crate::checkpoint::Found;
use crate::config::Config;
use crate::data::Cache;
#[cfg(unix)]
use crate::link::socket::Server;
use crate::link::{Body, Client, Event, Interrupt, Memory, link};
use crate::model::Model;
use crate::run_folder::RunFolder;
use crate::setup::Setup;
use crate::train::run::{Ending, Engine, Origin, now};
use crate::train::saving::init_from;
use crate::train::step::Trainer;
use crate::{device, estimate};
use kernels::Cpu;
use kernels::gpu::Gpu;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Everything but the run's folder.
pub(super) struct Prepared {
    pub(super) setup: Setup,
    pub(super) trainer: Trainer,
    memory: Memory,
    /// The text of the configuration file, or of the demo.
    pub(super) text: Option<String>,
}

impl Prepared {
    /// The same, noting what the configuration was read from.
    pub(super) fn noting(self, text: String) -> Self {
        Self {
            text: Some(text),
            ..self
        }
    }

    /// `own` is the checkpoint that the run goes on from: its weights take the place of those of `model.init_from`.
    pub(super) fn new(
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
    pub(super) fn of(
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
        let model = Model::new(&setup.config.model, setup.model.vocab_size());
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
    pub(super) fn warnings(&self) -> Vec<String> {
        let skipped = self.setup.datasets.report.skipped_lines;
        let told = (skipped > 0).then(|| {
            format!("{skipped} bad lines of data.train are skipped (data.on_bad_line = \"skip\")")
        });
        let portable = self.trainer.gpu().and_then(|gpu| gpu.info().portable());
        told.into_iter().chain(portable).collect()
    }

    pub(super) fn engine(
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
pub(super) struct Ready {
    engine: Engine,
    client: Client,
    memory: Memory,
    folder: PathBuf,
    config: Config,
}

impl Ready {
    /// The same at the step of a checkpoint, and the checkpoint's folder relative to the run's.
    pub(super) fn restored(mut self, found: &Found) -> Result<(Self, String), LaunchError> {
        match self.engine.restore(found) {
            Ok(path) => Ok((self, path)),
            Err(Ending::Failed { message, .. }) => Err(LaunchError::Unusable(message)),
            Err(other) => Err(LaunchError::Unusable(format!("{other:?}"))),
        }
    }

    pub(super) fn start(
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
