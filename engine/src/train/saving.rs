//! Checkpoints of a run: writing, keeping, and going on from them.

use super::alerts::Wishes;
use super::run::{Ending, Engine};
use crate::checkpoint::{
    self, CheckpointError, Contents, DataPosition, Found, TrainerState, load_tensors, newest_valid,
    read_trainer,
};
use crate::config::{Config, model_record};
use crate::data::Dataset;
use crate::link::{Body, Doing};
use crate::model::store::{Export, OptimizerSink, OptimizerSource, load_weights, source};
use crate::run_folder::RunFolder;
use crate::setup::Setup;
use crate::watch::Watch;
use kernels::gpu::GpuError;
use std::path::PathBuf;

/// What every checkpoint of a run has in common.
#[derive(Debug)]
pub(super) struct Saver {
    checkpoints: PathBuf,
    export: Export,
    tokenizer: Option<Vec<u8>>,
    /// Whether it was told that a checkpoint takes long.
    told_slow: bool,
}

impl Saver {
    pub(super) fn new(folder: &RunFolder, setup: &Setup) -> Self {
        let eos: Vec<u32> = setup.end_of_text().into_iter().collect();
        let record = model_record(&setup.config, setup.model.vocab_size());
        Self {
            checkpoints: folder.checkpoints(),
            export: Export::new(&setup.model, &eos, &record),
            tokenizer: setup
                .tokenizer
                .as_ref()
                .map(|tokenizer| tokenizer.to_hf_json().into_bytes()),
            told_slow: false,
        }
    }
}

/// Counter of a checkpoint that tells its training data from others.
const DATA: &str = "data fingerprint";

/// Counter that is 1 where a signal cut the evaluation or samples after the step short.
const OWING: &str = "owing";

/// Counter of the last step before the optimizer's state began: not 0 where a fork changed the optimizer's kind.
const OPTIMIZER_START: &str = "optimizer start";

/// The data's fingerprint as a whole number that an f64 holds.
fn fingerprint(data: &Dataset) -> f64 {
    let hash = blake3::hash(data.fingerprint().as_bytes());
    let bytes = hash.as_bytes().iter().take(6);
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte)) as f64
}

/// Whether a checkpoint was trained on these data. Older ones know only the number of rows.
pub fn same_data(state: &TrainerState, data: &Dataset) -> bool {
    state.data.rows == data.rows().max(1)
        && state
            .counter(DATA)
            .is_none_or(|number| number == fingerprint(data))
}

/// The state that a fork begins with: its parent's, under the fork's configuration and with its data. What was best on other
/// data says nothing here.
pub fn forked(
    parent: &TrainerState,
    setup: &Setup,
    fresh_optimizer: bool,
    other_data: bool,
) -> TrainerState {
    let config = &setup.config;
    let data = &setup.datasets.train;
    let mut state = TrainerState {
        attempt: 1,
        config_version: 1,
        config: stored(config),
        data: position(parent.step, config, data),
        seed: config.run.seed,
        ..parent.clone()
    };
    if other_data {
        (state.best_loss, state.best_step) = (None, 0);
    }
    let mut set = |name: &str, value: f64| {
        state.counters.retain(|(known, _)| known != name);
        state.counters.push((name.to_owned(), value));
    };
    set(DATA, fingerprint(data));
    if fresh_optimizer {
        set(OPTIMIZER_START, parent.step as f64);
    }
    state
}

/// A configuration as checkpoints hold it.
fn stored(config: &Config) -> Vec<(String, String)> {
    let values = config.effective().into_iter();
    values.map(|value| (value.key, value.value)).collect()
}

/// Where the data stands after a step.
fn position(step: u64, config: &Config, data: &Dataset) -> DataPosition {
    let done = step * config.train.batch_size as u64;
    let rows = data.rows().max(1);
    DataPosition {
        epoch: done / rows,
        row: done % rows,
        rows,
        seed: config.run.seed,
    }
}

pub(super) fn failed(error: &CheckpointError) -> Ending {
    Ending::Failed {
        message: error.to_string(),
        code: 5,
    }
}

/// What the device's failure means for the run: what is saved stays as it is.
pub(super) fn device_failed(error: &GpuError) -> Ending {
    let message = match error {
        // The plan fitted when the run began.
        GpuError::OutOfMemory { .. } => format!(
            "{error}: end what else uses the device, or lower train.micro_batch, and go on with --resume"
        ),
        _ => error.to_string(),
    };
    Ending::Failed { message, code: 4 }
}

impl Engine {
    /// Writes a checkpoint of the last step done, unless it has one already. Returns its folder, relative to the run's, or
    /// why there is none. A disk that is full or refuses is told and does not end the run, except where the run ends with
    /// this checkpoint.
    pub(super) fn checkpoint(
        &mut self,
        reason: &str,
        tag: Option<&str>,
    ) -> Result<Result<String, String>, Ending> {
        self.apply_waiting_config();
        let path = self
            .saver
            .checkpoints
            .join(checkpoint::folder_name(self.step));
        let relative = self.folder.relative(&path);
        if let Some(why) = tag.and_then(checkpoint::refuse_tag) {
            return Ok(Err(why));
        }
        if self.step == 0 {
            return Ok(Err(
                "there is nothing to save: no step is done yet".to_owned()
            ));
        }
        self.interrupt.tell(Doing::Saving, self.step);
        if let Err(damage) = checkpoint::verify(&path) {
            let written = if self.released {
                // What it would be written from is freed.
                Err(damage)
            } else {
                self.trainer
                    .fetch()
                    .map_err(|error| device_failed(&error))?;
                self.write_checkpoint(reason)
            };
            match written {
                Ok(written) => {
                    self.shelf.is_written_anew(self.step);
                    self.interrupt.tell_saved(self.step);
                    self.emit(Body::Checkpoint {
                        step: self.step,
                        path: relative.clone(),
                        seconds: written.seconds,
                        bytes: written.bytes,
                        reason: reason.to_owned(),
                    });
                    self.warn_if_slow(written.seconds);
                }
                Err(error) if matches!(reason, "stop" | "preempted" | "finished") => {
                    return Err(failed(&error));
                }
                Err(error) => {
                    let message = format!("no checkpoint of step {}: {error}", self.step);
                    self.warn(message.clone());
                    return Ok(Err(message));
                }
            }
        }
        if let Some(tag) = tag.map(str::trim) {
            if let Err(error) = checkpoint::tag(&path, tag) {
                let message = format!("{relative} is written, and could not be tagged: {error}");
                self.warn(message.clone());
                return Ok(Err(message));
            }
            self.tell_tag(self.step, Some(tag.to_owned()));
        }
        let keep = self.config().train.keep_last;
        #[cfg(debug_assertions)]
        crate::drill::stand("pruning", self.step);
        let mut removed = Vec::new();
        let pruned = checkpoint::prune(
            self.folder.path(),
            &self.saver.checkpoints,
            keep,
            &self.shelf.damaged(&self.saver.checkpoints),
            &mut |gone| removed.push(gone),
        );
        for gone in &removed {
            self.tell_removed(gone, "keep_last");
        }
        if let Err(error) = pruned {
            self.warn(format!("old checkpoints could not be deleted: {error}"));
        }
        Ok(Ok(relative))
    }

    /// Says once that the checkpoint of a signal may be cut by the hard timer.
    fn warn_if_slow(&mut self, seconds: f64) {
        let grace = self.config().shutdown.grace_s;
        if grace > 0 && 2.0 * seconds > grace as f64 && !self.saver.told_slow {
            self.saver.told_slow = true;
            self.warn(format!(
                "a checkpoint took {seconds:.0} s, and after a signal the process ends within {grace} s: raise shutdown.grace_s"
            ));
        }
    }

    fn write_checkpoint(&self, reason: &str) -> Result<checkpoint::Written, CheckpointError> {
        let params = &self.trainer.params;
        let values = |name: &str| params.id(name).map(|id| params.value(id));
        let model = source(&self.saver.export, &values);
        let config = self.config();
        let train = &self.setup.datasets.train;
        let state = TrainerState {
            step: self.step,
            tokens: self.tokens,
            seconds: self.seconds,
            attempt: self.attempt,
            config_version: self.config_version,
            config: stored(config),
            data: position(self.step, config, train),
            seed: config.run.seed,
            best_loss: self.best.map(|(loss, _)| loss),
            best_step: self.best.map_or(0, |(_, step)| step),
            counters: [
                (DATA.to_owned(), fingerprint(train)),
                (TrainerState::LOSS.to_owned(), self.last_loss),
                (OWING.to_owned(), f64::from(u8::from(self.owing))),
                (OPTIMIZER_START.to_owned(), self.optimizer_start as f64),
            ]
            .into_iter()
            .chain(self.watch.save())
            .collect(),
            ..TrainerState::default()
        };
        let contents = Contents {
            model: &model,
            optimizer: &OptimizerSource(&*self.trainer.optimizer),
            config: &self.saver.export.config,
            generation_config: &self.saver.export.generation_config,
            tokenizer: self.saver.tokenizer.as_deref(),
            trainer: &state,
        };
        checkpoint::write(&self.saver.checkpoints, &contents, reason)
    }

    /// Notes the checkpoint of the last step as the best. A disk that refuses the note does not end the run.
    pub(super) fn note_best(&mut self) {
        if let Err(error) = checkpoint::set_best(self.folder.path(), self.step) {
            self.warn(format!(
                "the best checkpoint is that of step {}, which keep_last may delete, as it could not be noted: {error}",
                self.step
            ));
        }
    }

    /// Takes weights, optimizer state and scalars from a checkpoint. While the memory is given back, only the scalars: the
    /// rest follows when it is taken again.
    ///
    /// # Errors
    /// If it does not fit the model or cannot be read.
    pub fn restore(&mut self, found: &Found) -> Result<String, Ending> {
        let state = read_trainer(&found.path).map_err(|error| failed(&error))?;
        if !self.released {
            self.load_arrays(found)?;
        }
        self.step = state.step;
        self.tokens = state.tokens;
        self.seconds = state.seconds;
        self.best = state.best_loss.map(|loss| (loss, state.best_step));
        // The best checkpoint of a last step stands for both.
        let finished = matches!(&*found.manifest.reason, "finished" | "best");
        self.finished = finished.then_some(state.step);
        self.last_loss = state.counter(TrainerState::LOSS).unwrap_or(f64::NAN);
        self.owing = state.counter(OWING) == Some(1.0);
        self.optimizer_start = state.counter(OPTIMIZER_START).unwrap_or(0.0) as u64;
        self.watch = Watch::load(&state.counters);
        // What was wished for belongs to the steps that are forgotten.
        self.wishes = Wishes::default();
        self.interrupt.tell_saved(self.step);
        checkpoint::set_aside(&self.saver.checkpoints, self.step)
            .and_then(|_| self.correct_best())
            .map_err(|error| failed(&error))?;
        Ok(self.folder.relative(&found.path))
    }

    /// The best checkpoint may be one that was just set aside: then that before it is the best, if it is there.
    fn correct_best(&self) -> Result<(), CheckpointError> {
        let run = self.folder.path();
        if checkpoint::best(run).is_none_or(|noted| noted <= self.step) {
            return Ok(());
        }
        let place = |step| self.saver.checkpoints.join(checkpoint::folder_name(step));
        match self.best {
            Some((_, step)) if place(step).exists() => checkpoint::set_best(run, step),
            _ => checkpoint::forget_best(run),
        }
    }

    /// Loads the weights and the optimizer's arrays of a checkpoint.
    pub(super) fn load_arrays(&mut self, found: &Found) -> Result<(), Ending> {
        let fail = |message: String| Ending::Failed { message, code: 5 };
        load_weights(&found.path, &self.trainer.model, &mut self.trainer.params)
            .map_err(|error| fail(error.to_string()))?;
        let optimizer = found.path.join(checkpoint::OPTIMIZER);
        load_tensors(&optimizer, &mut OptimizerSink(&mut *self.trainer.optimizer))
            .map_err(|error| fail(error.to_string()))
    }

    /// The valid checkpoint of the highest step.
    ///
    /// # Errors
    /// If the folder of checkpoints cannot be read.
    pub(super) fn newest_checkpoint(&mut self) -> Result<Option<Found>, CheckpointError> {
        let mut warnings = Vec::new();
        let found = newest_valid(&self.saver.checkpoints, &mut |warning| {
            warnings.push(warning)
        })?;
        for warning in warnings {
            self.warn(warning);
        }
        Ok(found)
    }
}

/// The weights of `model.init_from`, if the configuration asks for them.
///
/// # Errors
/// If they cannot be read or do not fit.
pub fn init_from(
    setup: &Setup,
    params: &mut crate::param::Params,
) -> Result<(), crate::hf::HfError> {
    match &setup.config.model.init_from {
        Some(folder) => load_weights(folder, &setup.model, params),
        None => Ok(()),
    }
}
