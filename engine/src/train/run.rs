//! The engine: the thread that owns a run.
//!
//! It prepares nothing (that is [`crate::setup`]) and draws nothing: it trains, obeys commands and signals at boundaries,
//! evaluates, writes samples and checkpoints, and writes every event to the run's folder before anybody else sees it.

use super::ahead::{Ahead, Planned};
use super::alerts::{ROLLBACKS, Wishes};
use super::patience::Patience;
use super::saving::{Saver, device_failed};
use super::shelf::Shelf;
use super::stats;
use super::step::{Gradients, Trainer};
use super::telemetry::Telemetry;
use super::touch::TouchFiles;
use crate::config::{Config, OnNonfinite};
use crate::data::{Loader, StepData};
use crate::infer::chat::Desk;
use crate::infer::session::Session;
use crate::link::{Body, Doing, EngineLink, Interrupt, Memory, Request, Step, Urgency};
use crate::records::live::Live;
use crate::run_folder::{EventWriter, RunError, RunFolder};
use crate::setup::Setup;
use crate::watch::Watch;
use crate::watch::hooks::Hooks;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long the end of a run waits for programs that are told of its last alert.
pub const HOOKS_PATIENCE: Duration = Duration::from_secs(10);

/// How a run ended: what the process's exit code is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done, or stopped on request.
    Done,
    /// Stopped on request before the first step was done: there is nothing that a checkpoint could hold.
    Untrained,
    /// A loss or gradient was not finite.
    Diverged,
    /// A signal asked for the machine; a checkpoint is written.
    Preempted,
    /// An error.
    Failed {
        /// A line.
        message: String,
        /// 1, or 5 where checkpoints are unusable or unwritable.
        code: u8,
    },
}

/// Where edits of the configuration come from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file that the person edits, if there is one.
    pub file: Option<PathBuf>,
    /// What that file said when it was last taken. An edit needs no more: the file may be gone, half written, or wrong.
    pub text: Option<String>,
    /// Flags that are stronger than the file.
    pub flags: Vec<String>,
    /// Edits made while the run was on.
    pub edits: Vec<String>,
    /// The configuration of the checkpoint that the run went on from: where nobody else speaks, its live keys count.
    pub checkpoint: Option<String>,
}

/// A run in training.
pub struct Engine {
    pub(super) setup: Setup,
    pub(super) trainer: Trainer,
    pub(super) folder: RunFolder,
    pub(super) events: EventWriter,
    pub(super) link: EngineLink,
    pub(super) interrupt: Interrupt,
    pub(super) source: ConfigSource,
    pub(super) saver: Saver,
    pub(super) shelf: Shelf,
    /// Last step done.
    pub(super) step: u64,
    pub(super) tokens: u64,
    /// Seconds spent training, pauses left out.
    pub(super) seconds: f64,
    pub(super) attempt: u32,
    pub(super) config_version: u32,
    /// An edit with keys of class `boundary`, waiting for the next pause or checkpoint.
    pub(super) waiting_config: Option<Config>,
    /// Last step before the optimizer's state began.
    pub(super) optimizer_start: u64,
    pub(super) best: Option<(f64, u64)>,
    pub(super) last_loss: f64,
    pub(super) paused: bool,
    pub(super) stop: Option<bool>,
    /// The last step of the run, once it was evaluated and saved as such.
    pub(super) finished: Option<u64>,
    /// Whether the evaluation or samples that are due after the last step done may be missing.
    pub(super) owing: bool,
    pub(super) rollbacks: u32,
    /// Requests that came in while the disk was full.
    pub(super) kept_requests: VecDeque<Request>,
    pub(super) session: Option<Session>,
    /// Where chats in this process order copies of the weights.
    pub(super) desk: Desk,
    pub(super) telemetry: Telemetry,
    /// The next steps' data; none where the loader must begin anew.
    pub(super) loader: Option<Loader>,
    /// Whether the run is paused with its memory given back.
    pub(super) released: bool,
    /// Fingerprint of the training data while they are given back.
    pub(super) fingerprint: String,
    pub(super) touch: TouchFiles,
    /// Byte of the record at which this attempt begins.
    pub(super) record_start: u64,
    pub(super) live: Live,
    pub(super) watch: Watch,
    pub(super) wishes: Wishes,
    pub(super) hooks: Hooks,
    /// What the record's head shall say besides.
    pub(super) notes: Vec<String>,
}

/// What [`Engine::new`] needs besides the setup.
#[derive(Debug)]
pub struct Origin {
    /// Where edits come from.
    pub source: ConfigSource,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// What the person asked for that a reader of the record should know.
    pub notes: Vec<String>,
    /// What preparation had to say.
    pub warnings: Vec<String>,
    /// Version of the configuration in force.
    pub config_version: u32,
}

/// The time now, as events carry it.
pub fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}

impl Engine {
    /// An engine for a run's folder that is locked by this process.
    ///
    /// # Errors
    /// If the record of events cannot be opened.
    pub fn new(
        setup: Setup,
        trainer: Trainer,
        folder: RunFolder,
        link: EngineLink,
        interrupt: Interrupt,
        origin: &Origin,
    ) -> Result<Self, RunError> {
        let events = folder.events()?;
        let record_start = events.length();
        let saver = Saver::new(&folder, &setup);
        interrupt.tell_run(&folder.name());
        interrupt.set_grace(setup.config.shutdown.grace_s);
        Ok(Self {
            setup,
            trainer,
            folder,
            events,
            link,
            interrupt,
            source: origin.source.clone(),
            saver,
            shelf: Shelf::default(),
            step: 0,
            tokens: 0,
            seconds: 0.0,
            attempt: origin.attempt,
            config_version: origin.config_version,
            waiting_config: None,
            optimizer_start: 0,
            best: None,
            last_loss: f64::NAN,
            paused: false,
            stop: None,
            finished: None,
            owing: false,
            rollbacks: 0,
            kept_requests: VecDeque::new(),
            session: None,
            desk: Desk::default(),
            telemetry: Telemetry::default(),
            loader: None,
            released: false,
            fingerprint: String::new(),
            touch: TouchFiles::default(),
            record_start,
            live: Live::default(),
            watch: Watch::default(),
            wishes: Wishes::default(),
            hooks: Hooks::default(),
            notes: origin.notes.clone(),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.setup.config
    }

    /// Trains until the end, a stop, or an error.
    pub fn run(
        &mut self,
        memory: Memory,
        resumed_from: Option<String>,
        warnings: &[String],
    ) -> Ending {
        self.announce(memory, resumed_from, warnings);
        self.tell_plan();
        let ending = self.train().unwrap_or_else(|failure| failure);
        self.leave_verification();
        match &ending {
            Ending::Failed { message, .. } => {
                self.emit(Body::Failed {
                    step: self.step,
                    message: message.clone(),
                });
            }
            _ => self.emit(Body::Finished {
                step: self.step,
                loss: self.last_loss,
                seconds: self.seconds,
                reason: self.reason(&ending).to_owned(),
            }),
        }
        self.interrupt.tell(Doing::Ended, self.step);
        drop(self.events.sync());
        // They read to the end.
        self.live = Live::default();
        self.link.flush();
        self.hooks.finish(HOOKS_PATIENCE);
        ending
    }

    fn reason(&self, ending: &Ending) -> &'static str {
        match ending {
            Ending::Preempted => "preempted",
            Ending::Diverged => "diverged",
            _ if self.step >= self.config().train.max_steps => "max_steps",
            _ => "stopped",
        }
    }

    fn train(&mut self) -> Result<Ending, Ending> {
        loop {
            if let Some(ending) = self.boundary()? {
                return Ok(ending);
            }
            if self.owing {
                // A checkpoint's, which a signal cut short. If another does, the boundary ends the run.
                self.after_step()?;
                continue;
            }
            if self.step >= self.config().train.max_steps {
                self.finish()?;
                return Ok(Ending::Done);
            }
            match self.one_step()? {
                StepEnd::Done => {}
                StepEnd::GivenUp => {
                    // Its data will be read again, and what was timed of it is no step's.
                    self.loader = None;
                    self.time_anew();
                }
                StepEnd::Skipped => {
                    self.step += 1;
                    self.after_step()?;
                }
                StepEnd::Rollback => self.roll_back()?,
                StepEnd::Diverged => return Ok(Ending::Diverged),
            }
        }
    }

    /// The data of the next step; waits until they are ready.
    fn next_data(&mut self) -> StepData {
        let train = &self.setup.config.train;
        let loader = self.loader.get_or_insert_with(|| {
            let dataset = self.setup.datasets.train.clone();
            Loader::new(dataset, train.batch_size, train.micro_batch, self.step + 1)
        });
        loader.next_step()
    }

    /// One step in the order of ARCHITECTURE.md: data, learning rate, gradients, check, update, event.
    fn one_step(&mut self) -> Result<StepEnd, Ending> {
        let step = self.step + 1;
        self.interrupt.tell(Doing::Step, step);
        #[cfg(debug_assertions)]
        crate::drill::fail(step);
        let start = Instant::now();
        let data = self.next_data();
        #[cfg(debug_assertions)]
        crate::drill::stand("step", step);
        let waited = start.elapsed().as_secs_f64();
        let statistics = due(self.setup.config.telemetry.layer_interval, step);
        let patience = Patience::new(&self.interrupt, &self.link.requests);
        let stop = || patience.is_over();
        let config = &self.setup.config;
        let lr = config
            .schedule
            .lr(step, config.optimizer.lr, config.train.max_steps);
        let clip_norm = config.train.clip_norm;
        let own_step = step - self.optimizer_start;
        let next = self.loader.as_mut().and_then(Loader::peek);
        let ahead = Ahead {
            update: Some(Planned {
                lr,
                step: own_step,
                clip_norm,
                most_loss: self.watch.most_loss(&config.watch),
            }),
            next: next.and_then(|next| next.micro_batches.first()),
        };
        let gradients =
            self.trainer
                .gradients_ahead(&data.micro_batches, step, statistics, &ahead, &stop);
        self.kept_requests.extend(patience.into_requests());
        let Some(gradients) = gradients.map_err(|error| device_failed(&error))? else {
            return Ok(StepEnd::GivenUp);
        };
        self.last_loss = gradients.loss;
        if !(gradients.loss.is_finite() && gradients.norm.is_finite()) {
            return Ok(self.nonfinite(&gradients, &data));
        }
        if let Some(end) = self.watch_loss(step, gradients.loss, &data) {
            return Ok(end);
        }
        let config = &self.setup.config;
        let (update, clipped) = self
            .trainer
            .update(&gradients, lr, own_step, clip_norm)
            .map_err(|error| device_failed(&error))?;
        let seconds = start.elapsed().as_secs_f64();
        let tokens = (config.train.batch_size * config.data.sequence_length) as u64;
        self.step = step;
        self.tokens += tokens;
        self.seconds += seconds;
        self.emit(Body::Step(Step {
            step,
            attempt: self.attempt,
            loss: gradients.loss,
            lr,
            grad_norm: gradients.norm,
            clipped,
            tokens: self.tokens,
            tokens_per_second: tokens as f64 / seconds,
            step_seconds: seconds,
            data_wait_seconds: waited,
        }));
        self.measure(seconds);
        if statistics {
            let fetched = self
                .trainer
                .fetch()
                .and_then(|()| self.trainer.fetch_gradients());
            fetched.map_err(|error| device_failed(&error))?;
            let names = self.trainer.model.layer_names();
            let trainer = &self.trainer;
            let config = &self.setup.config;
            let sketches = stats::sketches_are_due(
                step,
                config.telemetry.layer_interval,
                config.train.max_steps,
            );
            let layers = stats::layers(
                step,
                &names,
                &trainer.statistics,
                &trainer.params,
                &*trainer.optimizer,
                &update,
                sketches,
            );
            self.emit(Body::Layers(layers));
        }
        if !self.rollback_is_due() {
            self.after_step()?;
        }
        Ok(self.settle())
    }

    /// Evaluation, samples and checkpoints that are due; all of them at the last step.
    fn after_step(&mut self) -> Result<(), Ending> {
        let config = self.config();
        let last = self.step >= config.train.max_steps;
        let at = |interval: u64| interval > 0 && (due(interval, self.step) || last);
        let (eval, sample, checkpoint) = (
            at(config.train.eval_interval),
            at(config.sample.interval),
            at(config.train.checkpoint_interval),
        );
        self.owing = true;
        if eval {
            self.evaluate()?;
        }
        if sample {
            self.sample();
        }
        if (eval || sample) && self.interrupt.urgency() != Urgency::None {
            // Perhaps cut short: the checkpoint of the stop says so, and a resume does it.
            return Ok(());
        }
        self.owing = false;
        if self.rollback_is_due() && !last {
            return Ok(());
        }
        if checkpoint {
            // What went wrong is told.
            drop(self.checkpoint(if last { "finished" } else { "interval" }, None)?);
        }
        if last {
            self.finished = Some(self.step);
        }
        Ok(())
    }

    /// What is due at the last step, where the step was not known to be the last when it was made: `max_steps` was
    /// lowered, or a run that is already there is resumed. A signal during it ends the run at once.
    fn finish(&mut self) -> Result<(), Ending> {
        if self.step > 0 && self.finished != Some(self.step) {
            self.after_step()?;
        }
        Ok(())
    }

    /// What to do about a loss or gradient that is not finite; no weight has been touched.
    fn nonfinite(&mut self, gradients: &Gradients, data: &StepData) -> StepEnd {
        let step = data.step;
        let (place, value) = if gradients.loss.is_finite() {
            ("grad_norm", gradients.norm)
        } else {
            ("loss", gradients.loss)
        };
        let (action, end) = match self.config().train.on_nonfinite {
            OnNonfinite::Pause => ("pause", StepEnd::Skipped),
            OnNonfinite::Skip => ("skip", StepEnd::Skipped),
            OnNonfinite::Rollback if self.rollbacks < ROLLBACKS => ("rollback", StepEnd::Rollback),
            OnNonfinite::Stop | OnNonfinite::Rollback => ("stop", StepEnd::Diverged),
        };
        self.emit(Body::Nonfinite {
            step,
            r#where: place.to_owned(),
            action: action.to_owned(),
        });
        self.alert_nonfinite(place, value, action, data);
        if action == "pause" {
            self.paused = true;
            self.emit(Body::Paused {
                step: self.step,
                reason: Some(format!("{place} of step {step} is not finite")),
                hard: false,
            });
        }
        end
    }
}

/// How a step ended.
pub(super) enum StepEnd {
    Done,
    /// A signal, or a command that waits for no step, came between two micro-batches: nothing has changed.
    GivenUp,
    /// The step's update is left out.
    Skipped,
    Rollback,
    Diverged,
}

/// Whether something that happens every `interval` steps (0: never) happens after `step`.
fn due(interval: u64, step: u64) -> bool {
    interval > 0 && step.is_multiple_of(interval)
}
