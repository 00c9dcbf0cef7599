//! The engine: the thread that owns a run.
//!
//! It prepares nothing (that is [`crate::setup`]) and draws nothing: it trains, obeys commands and signals at boundaries,
//! evaluates, writes samples and checkpoints, and writes every event to the run's folder before anybody else sees it.

use super::saving::Saver;
use super::stats;
use super::step::Trainer;
use crate::config::{Config, OnNonfinite};
use crate::data::Loader;
use crate::infer::sample::{Sampler, SamplerConfig};
use crate::infer::session::Session;
use crate::link::{
    Body, Command, EngineLink, Eval, Event, Interrupt, Memory, Request, Started, Step, Urgency,
};
use crate::run_folder::{EventWriter, RunError, RunFolder};
use crate::setup::Setup;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How a run ended: what the process's exit code is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Done, or stopped on request.
    Done,
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
    events: EventWriter,
    pub(super) link: EngineLink,
    pub(super) interrupt: Interrupt,
    pub(super) source: ConfigSource,
    pub(super) saver: Saver,
    /// Last step done.
    pub(super) step: u64,
    pub(super) tokens: u64,
    /// Seconds spent training, pauses left out.
    pub(super) seconds: f64,
    pub(super) attempt: u32,
    pub(super) config_version: u32,
    /// An edit with keys of class `boundary`, waiting for the next pause or checkpoint.
    pub(super) waiting_config: Option<Config>,
    pub(super) best: Option<(f64, u64)>,
    last_loss: f64,
    paused: bool,
    stop: Option<bool>,
    /// The last step of the run, once it was evaluated and saved as such.
    pub(super) finished: Option<u64>,
    rollbacks: u32,
    /// Requests that came in while the disk was full.
    kept_requests: VecDeque<Request>,
    pub(super) session: Option<Session>,
}

/// What [`Engine::new`] needs besides the setup.
#[derive(Debug)]
pub struct Origin {
    /// Where edits come from.
    pub source: ConfigSource,
    /// Number of this attempt, from 1.
    pub attempt: u32,
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
        let saver = Saver::new(&folder, &setup);
        Ok(Self {
            setup,
            trainer,
            folder,
            events,
            link,
            interrupt,
            source: origin.source.clone(),
            saver,
            step: 0,
            tokens: 0,
            seconds: 0.0,
            attempt: origin.attempt,
            config_version: origin.config_version,
            waiting_config: None,
            best: None,
            last_loss: f64::NAN,
            paused: false,
            stop: None,
            finished: None,
            rollbacks: 0,
            kept_requests: VecDeque::new(),
            session: None,
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
        let ending = self.train().unwrap_or_else(|failure| failure);
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
        drop(self.events.sync());
        self.link.flush();
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

    fn announce(&mut self, memory: Memory, resumed_from: Option<String>, warnings: &[String]) {
        let config = self.config();
        let floor = self.setup.datasets.train.floor_bits_per_byte();
        let bytes_per_token = self.setup.datasets.train.bytes_per_token();
        let started = Started {
            schema: crate::link::SCHEMA,
            run: self.folder.name(),
            attempt: self.attempt,
            config_version: self.config_version,
            parameters: self.trainer.model.specs().count(),
            device: "cpu".to_owned(),
            isa: self.trainer.cpu.isa.name().to_owned(),
            threads: self.trainer.cpu.pool.threads(),
            precision: self.trainer.precision().name().to_owned(),
            step: self.step,
            max_steps: config.train.max_steps,
            tokens_per_step: (config.train.batch_size * config.data.sequence_length) as u64,
            floor_bits_per_byte: floor,
            floor_loss: floor
                .zip(bytes_per_token)
                .map(|(floor, bytes)| floor * bytes * std::f64::consts::LN_2),
            bytes_per_token,
            layers: self.trainer.model.layer_names(),
            memory,
            config: config.effective(),
        };
        self.emit(Body::Started(Box::new(started)));
        if let Some(path) = resumed_from {
            self.emit(Body::Resumed {
                step: self.step,
                path,
                attempt: self.attempt,
            });
        }
        for message in warnings {
            self.warn(message.clone());
        }
    }

    /// Writes an event to the run's folder, then hands it to whoever listens. A full disk pauses the run: nothing is lost,
    /// and training does not go on unrecorded.
    pub(super) fn emit(&mut self, body: Body) {
        let event = Event { body, time: now() };
        let mut told = false;
        while let Err(error) = self.events.append(&event) {
            if !matches!(error, RunError::DiskFull { .. })
                || self.interrupt.urgency() != Urgency::None
                || self.stop_is_asked()
            {
                break;
            }
            if !told {
                told = true;
                let reason = Some(format!("{error}; training waits for room on the disk"));
                self.link.emit(Event {
                    body: Body::Paused {
                        step: self.step,
                        reason,
                    },
                    time: now(),
                });
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        if told {
            self.link.emit(Event {
                body: Body::ResumedFromPause { step: self.step },
                time: now(),
            });
        }
        self.link.emit(event);
    }

    /// Whether a stop has come in while the engine waits; other requests are kept for the next boundary.
    fn stop_is_asked(&mut self) -> bool {
        while let Ok(request) = self.link.requests.try_recv() {
            self.kept_requests.push_back(request);
        }
        self.kept_requests
            .iter()
            .any(|request| matches!(request.command, Command::Stop { .. }))
    }

    /// Writes and hands over an event after the engine has failed, as far as that is possible.
    pub(crate) fn report(&mut self, event: Event) {
        drop(self.events.append(&event));
        self.link.emit(event);
        self.link.flush();
    }

    pub(super) fn warn(&mut self, message: String) {
        self.emit(Body::Warning {
            step: self.step,
            message,
        });
    }

    fn train(&mut self) -> Result<Ending, Ending> {
        let mut loader = self.loader();
        loop {
            if let Some(ending) = self.boundary()? {
                return Ok(ending);
            }
            if self.loader_is_stale(&loader) {
                loader = self.loader();
            }
            if self.step >= self.config().train.max_steps {
                self.finish()?;
                return Ok(Ending::Done);
            }
            match self.one_step(&loader)? {
                StepEnd::Done => {}
                // The step was given up for a signal; its data will be read again.
                StepEnd::Interrupted => loader = self.loader(),
                StepEnd::Skipped => {
                    self.step += 1;
                    self.after_step()?;
                }
                StepEnd::Rollback => {
                    self.roll_back()?;
                    loader = self.loader();
                }
                StepEnd::Diverged => return Ok(Ending::Diverged),
            }
        }
    }

    fn loader(&self) -> (Loader, usize, u64) {
        let train = &self.config().train;
        let next = self.step + 1;
        let dataset = self.setup.datasets.train.clone();
        (
            Loader::new(dataset, train.batch_size, train.micro_batch, next),
            train.micro_batch,
            next,
        )
    }

    fn loader_is_stale(&self, loader: &(Loader, usize, u64)) -> bool {
        loader.1 != self.config().train.micro_batch
    }

    /// One step in the order of ARCHITECTURE.md: data, gradients, check, learning rate, update, event.
    fn one_step(&mut self, loader: &(Loader, usize, u64)) -> Result<StepEnd, Ending> {
        let step = self.step + 1;
        let start = Instant::now();
        let data = loader.0.next_step();
        let waited = start.elapsed().as_secs_f64();
        let train = &self.setup.config.train;
        let statistics = due(self.setup.config.telemetry.layer_interval, step);
        let interrupt = self.interrupt.clone();
        let stop = move || interrupt.urgency() != Urgency::None;
        let Some(gradients) = self
            .trainer
            .gradients(&data.micro_batches, step, statistics, &stop)
        else {
            return Ok(StepEnd::Interrupted);
        };
        self.last_loss = gradients.loss;
        if !(gradients.loss.is_finite() && gradients.norm.is_finite()) {
            return Ok(self.nonfinite(step, gradients.loss));
        }
        let config = &self.setup.config;
        let lr = config
            .schedule
            .lr(step, config.optimizer.lr, train.max_steps);
        let (update, clipped) = self.trainer.update(&gradients, lr, step, train.clip_norm);
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
        if statistics {
            let names = self.trainer.model.layer_names();
            let trainer = &self.trainer;
            let layers = stats::layers(
                step,
                &names,
                &trainer.activation_rms,
                &trainer.params,
                &*trainer.optimizer,
                &update,
            );
            self.emit(Body::Layers(layers));
        }
        self.after_step()?;
        Ok(StepEnd::Done)
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
        if eval {
            self.evaluate()?;
        }
        if sample {
            self.sample();
        }
        if last && self.interrupt.urgency() != Urgency::None {
            // Cut short: the run is stopped, not finished, and a resume does what is left.
            return Ok(());
        }
        if checkpoint {
            self.checkpoint(if last { "finished" } else { "interval" }, None)?;
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
    fn nonfinite(&mut self, step: u64, loss: f64) -> StepEnd {
        let place = if loss.is_finite() {
            "grad_norm"
        } else {
            "loss"
        };
        let (action, end) = match self.config().train.on_nonfinite {
            OnNonfinite::Pause => ("pause", StepEnd::Skipped),
            OnNonfinite::Skip => ("skip", StepEnd::Skipped),
            OnNonfinite::Rollback if self.rollbacks < 3 => ("rollback", StepEnd::Rollback),
            OnNonfinite::Stop | OnNonfinite::Rollback => ("stop", StepEnd::Diverged),
        };
        self.emit(Body::Nonfinite {
            step,
            r#where: place.to_owned(),
            action: action.to_owned(),
        });
        if action == "pause" {
            self.paused = true;
            self.emit(Body::Paused {
                step: self.step,
                reason: Some(format!("{place} of step {step} is not finite")),
            });
        }
        end
    }

    /// Goes back to the newest checkpoint with half the learning rate; the data behind it are trained on again.
    fn roll_back(&mut self) -> Result<(), Ending> {
        self.rollbacks += 1;
        let path = self.restore_newest()?;
        let scale = self.config().schedule.lr_scale * 0.5;
        self.emit(Body::Resumed {
            step: self.step,
            path,
            attempt: self.attempt,
        });
        self.apply_edit(&format!("schedule.lr_scale={scale:?}"));
        Ok(())
    }

    /// Commands and signals, obeyed between two steps. `Some` ends the run.
    fn boundary(&mut self) -> Result<Option<Ending>, Ending> {
        loop {
            if self.interrupt.take_checkpoint() {
                self.checkpoint("command", None)?;
            }
            match self.interrupt.urgency() {
                Urgency::None => {}
                Urgency::Stop => {
                    self.checkpoint("stop", None)?;
                    return Ok(Some(Ending::Done));
                }
                Urgency::Preempt => {
                    self.checkpoint("preempted", None)?;
                    return Ok(Some(Ending::Preempted));
                }
            }
            while let Some(request) = self
                .kept_requests
                .pop_front()
                .or_else(|| self.link.requests.try_recv().ok())
            {
                self.obey(request)?;
            }
            if let Some(checkpoint) = self.stop.take() {
                if checkpoint {
                    self.checkpoint("stop", None)?;
                }
                return Ok(Some(Ending::Done));
            }
            if !self.paused {
                return Ok(None);
            }
            self.apply_waiting_config();
            // Signals set a flag that nothing waits for: look often enough that nobody notices.
            if let Ok(request) = self.link.requests.recv_timeout(Duration::from_millis(20)) {
                self.obey(request)?;
            } else if !self.paused {
                return Ok(None);
            }
        }
    }

    fn obey(&mut self, request: Request) -> Result<(), Ending> {
        let Request { id, command } = request;
        let word = command.word().to_owned();
        let (refused, message) = match command {
            Command::Pause { .. } if self.paused => (true, "training is paused already".to_owned()),
            Command::Pause { hard } => {
                if hard {
                    self.checkpoint("pause", None)?;
                }
                self.paused = true;
                self.emit(Body::Paused {
                    step: self.step,
                    reason: None,
                });
                (false, format!("paused after step {}", self.step))
            }
            Command::Resume if !self.paused => (true, "training is not paused".to_owned()),
            Command::Resume => {
                self.paused = false;
                self.emit(Body::ResumedFromPause { step: self.step });
                (false, format!("goes on with step {}", self.step + 1))
            }
            Command::Checkpoint { tag } => {
                let path = self.checkpoint("command", tag.as_deref())?;
                (false, format!("{path} is written"))
            }
            Command::Eval => {
                if self.evaluate()? {
                    (false, "evaluated".to_owned())
                } else {
                    let keys = "data.validation, data.validation_fraction";
                    (true, format!("there is no validation data ({keys})"))
                }
            }
            Command::Sample if self.setup.tokenizer.is_none() => (
                true,
                "the data came without a tokenizer, so there is no text to write".to_owned(),
            ),
            Command::Sample => {
                self.sample();
                (false, "sampled".to_owned())
            }
            Command::Stop { checkpoint } => {
                self.stop = Some(checkpoint);
                (false, format!("stops after step {}", self.step))
            }
            Command::Set { key, value } => self.apply_edit(&format!("{key}={value}")),
            Command::Reload => self.reload(),
            Command::Note { text } => (false, text),
        };
        self.emit(Body::Reply {
            step: self.step,
            id,
            command: word,
            refused,
            message,
        });
        Ok(())
    }

    /// Evaluates the validation data; false where there are none, or a signal came.
    fn evaluate(&mut self) -> Result<bool, Ending> {
        let Some(validation) = self.setup.datasets.validation.clone() else {
            return Ok(false);
        };
        let train = &self.config().train;
        let limit = train.eval_batches.map_or(usize::MAX, |n| n as usize);
        let height = train.micro_batch;
        let (mut loss, mut targets, mut bytes) = (0.0, 0u64, Some(0u64));
        for batch in validation.batches(height).take(limit) {
            if self.interrupt.urgency() != Urgency::None {
                return Ok(false);
            }
            loss += self.trainer.evaluate(&batch);
            targets += batch.valid_targets;
            bytes = bytes
                .zip(batch.target_bytes)
                .map(|(sum, bytes)| sum + bytes);
        }
        if targets == 0 {
            return Ok(false);
        }
        let mean = loss / targets as f64;
        let bits = bytes
            .filter(|bytes| *bytes > 0)
            .map(|bytes| loss / std::f64::consts::LN_2 / bytes as f64);
        let best = self.best.is_none_or(|(best, _)| mean < best);
        self.emit(Body::Eval(Eval {
            step: self.step,
            split: "validation".to_owned(),
            loss: mean,
            perplexity: mean.exp(),
            bits_per_byte: bits,
            tokens: targets,
            best,
        }));
        if best && mean.is_finite() {
            self.best = Some((mean, self.step));
            // The best checkpoint is one that is kept; without checkpoints there is none.
            if self.config().train.checkpoint_interval > 0 {
                self.checkpoint("best", None)?;
                self.note_best()?;
            }
        }
        Ok(true)
    }

    /// Lets the model write after each prompt. Its generator is its own, so that training is the same bits with or without.
    fn sample(&mut self) {
        let Some(tokenizer) = self.setup.tokenizer.clone() else {
            return;
        };
        let config = self.setup.config.sample.clone();
        let capacity = self.config().model.max_positions;
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.capacity() != capacity)
        {
            let session = Session::new(
                &self.trainer.model,
                self.trainer.precision(),
                capacity,
                &self.trainer.cpu,
            );
            self.trainer.reserve(session.arena_bytes());
            self.session = Some(session);
        }
        let Some(mut session) = self.session.take() else {
            return;
        };
        let stop = tokenizer.end_of_text();
        for (number, prompt) in config.prompts.iter().enumerate() {
            if self.interrupt.urgency() != Urgency::None {
                break;
            }
            let seed = self.setup.config.run.seed ^ (self.step << 8) ^ number as u64;
            let mut sampler = Sampler::new(SamplerConfig {
                temperature: config.temperature,
                top_k: config.top_k,
                top_p: config.top_p,
                seed,
            });
            let mut ids: Vec<i32> = tokenizer
                .encode(prompt, tokenizer::SpecialMode::AsText)
                .into_iter()
                .map(|id| id as i32)
                .collect();
            if ids.is_empty() {
                // A text begins behind the end of the one before.
                ids.push(stop.unwrap_or(b'\n'.into()) as i32);
            }
            session.truncate(0);
            let mut decoder = tokenizer.stream_decoder();
            let mut text = String::new();
            let mut next = ids;
            for _ in 0..config.max_tokens {
                let trainer = &mut self.trainer;
                let Ok(logits) =
                    session.read(&next, &mut trainer.arena, &mut trainer.params, &trainer.cpu)
                else {
                    break;
                };
                let id = sampler.next(logits, tokenizer.vocab_size());
                if Some(id) == stop || self.interrupt.urgency() != Urgency::None {
                    break;
                }
                text.push_str(&decoder.push(id));
                next = vec![id as i32];
            }
            text.push_str(&decoder.finish());
            let readable = (self.setup.config.data.source == crate::config::DataSource::Storybook)
                .then(|| crate::data::storybook::readable(format!("{prompt}{text}")).share());
            let body = Body::Sample {
                step: self.step,
                prompt: prompt.clone(),
                text,
                readable,
            };
            self.emit(body);
        }
        self.session = Some(session);
    }
}

/// How a step ended.
enum StepEnd {
    Done,
    /// A signal came between two micro-batches: nothing has changed.
    Interrupted,
    /// The step's update is left out.
    Skipped,
    Rollback,
    Diverged,
}

/// Whether something that happens every `interval` steps (0: never) happens after `step`.
fn due(interval: u64, step: u64) -> bool {
    interval > 0 && step.is_multiple_of(interval)
}
