//! Checkpoints of a run: writing, keeping, and going on from them.

use super::run::{Ending, Engine};
use crate::checkpoint::{
    self, CheckpointError, Contents, DataPosition, Found, TrainerState, load_tensors, newest_valid,
    read_trainer,
};
use crate::config::model_record;
use crate::data::Dataset;
use crate::link::Body;
use crate::model::Model;
use crate::model::store::{Export, OptimizerSink, OptimizerSource, load_weights, source};
use crate::run_folder::RunFolder;
use crate::setup::Setup;
use crate::watch::Watch;
use std::path::PathBuf;

/// What every checkpoint of a run has in common.
#[derive(Debug)]
pub(super) struct Saver {
    checkpoints: PathBuf,
    export: Export,
    tokenizer: Option<Vec<u8>>,
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
        }
    }
}

/// Counter of a checkpoint that tells its training data from others.
const DATA: &str = "data fingerprint";

/// Counter of the last step's loss.
const LOSS: &str = "loss";
/// Counter that is 1 where a signal cut the evaluation or samples after the step short.
const OWING: &str = "owing";

fn counter(state: &TrainerState, name: &str) -> Option<f64> {
    let mut counters = state.counters.iter();
    counters.find(|(known, _)| known == name).map(|pair| pair.1)
}

/// The data's fingerprint as a whole number that an f64 holds.
fn fingerprint(data: &Dataset) -> f64 {
    let hash = blake3::hash(data.fingerprint().as_bytes());
    let bytes = hash.as_bytes().iter().take(6);
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte)) as f64
}

/// Whether a checkpoint was trained on these data. Older ones know only the number of rows.
pub fn same_data(state: &TrainerState, data: &Dataset) -> bool {
    state.data.rows == data.rows().max(1)
        && counter(state, DATA).is_none_or(|number| number == fingerprint(data))
}

fn failed(error: &CheckpointError) -> Ending {
    Ending::Failed {
        message: error.to_string(),
        code: 5,
    }
}

impl Engine {
    /// Writes a checkpoint of the last step done, unless it has one already. Returns its folder, relative to the run's.
    /// A disk that is full or refuses is told and does not end the run, except where the run ends with this checkpoint.
    pub(super) fn checkpoint(&mut self, reason: &str, tag: Option<&str>) -> Result<String, Ending> {
        self.apply_waiting_config();
        let path = self
            .saver
            .checkpoints
            .join(checkpoint::folder_name(self.step));
        let relative = self.folder.relative(&path);
        if self.step == 0 {
            return Ok("nothing (no step is done yet)".to_owned());
        }
        if checkpoint::verify(&path).is_err() {
            match self.write_checkpoint(reason) {
                Ok(written) => self.emit(Body::Checkpoint {
                    step: self.step,
                    path: relative.clone(),
                    seconds: written.seconds,
                    bytes: written.bytes,
                    reason: reason.to_owned(),
                }),
                Err(error) if matches!(reason, "stop" | "preempted" | "finished") => {
                    return Err(failed(&error));
                }
                Err(error) => {
                    self.warn(format!("no checkpoint of step {}: {error}", self.step));
                    return Ok(relative);
                }
            }
        }
        if let Some(tag) = tag
            && let Err(error) = checkpoint::tag(&path, tag)
        {
            self.warn(format!("the checkpoint could not be tagged: {error}"));
        }
        let keep = self.config().train.keep_last;
        if let Err(error) = checkpoint::prune(self.folder.path(), &self.saver.checkpoints, keep) {
            self.warn(format!("old checkpoints could not be deleted: {error}"));
        }
        Ok(relative)
    }

    fn write_checkpoint(&self, reason: &str) -> Result<checkpoint::Written, CheckpointError> {
        let params = &self.trainer.params;
        let values = |name: &str| params.id(name).map(|id| params.value(id));
        let model = source(&self.saver.export, &values);
        let config = self.config();
        let train = &self.setup.datasets.train;
        let done = self.step * config.train.batch_size as u64;
        let rows = train.rows().max(1);
        let own = [
            (DATA.to_owned(), fingerprint(train)),
            (LOSS.to_owned(), self.last_loss),
            (OWING.to_owned(), f64::from(u8::from(self.owing))),
        ];
        let state = TrainerState {
            step: self.step,
            tokens: self.tokens,
            seconds: self.seconds,
            attempt: self.attempt,
            config_version: self.config_version,
            config: config
                .effective()
                .into_iter()
                .map(|value| (value.key, value.value))
                .collect(),
            data: DataPosition {
                epoch: done / rows,
                row: done % rows,
                rows,
                seed: config.run.seed,
            },
            seed: config.run.seed,
            best_loss: self.best.map(|(loss, _)| loss),
            best_step: self.best.map_or(0, |(_, step)| step),
            counters: own.into_iter().chain(self.watch.save()).collect(),
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

    /// Notes the checkpoint of the last step as the best.
    pub(super) fn note_best(&mut self) -> Result<(), Ending> {
        checkpoint::set_best(self.folder.path(), self.step).map_err(|error| failed(&error))
    }

    /// Takes weights, optimizer state and scalars from a checkpoint.
    ///
    /// # Errors
    /// If it does not fit the model or cannot be read.
    pub fn restore(&mut self, found: &Found) -> Result<String, Ending> {
        let fail = |message: String| Ending::Failed { message, code: 5 };
        let state = read_trainer(&found.path).map_err(|error| failed(&error))?;
        load_weights(&found.path, &self.trainer.model, &mut self.trainer.params)
            .map_err(|error| fail(error.to_string()))?;
        let optimizer = found.path.join(checkpoint::OPTIMIZER);
        load_tensors(&optimizer, &mut OptimizerSink(&mut *self.trainer.optimizer))
            .map_err(|error| fail(error.to_string()))?;
        self.step = state.step;
        self.tokens = state.tokens;
        self.seconds = state.seconds;
        self.best = state.best_loss.map(|loss| (loss, state.best_step));
        // The best checkpoint of a last step stands for both.
        let finished = matches!(&*found.manifest.reason, "finished" | "best");
        self.finished = finished.then_some(state.step);
        self.last_loss = counter(&state, LOSS).unwrap_or(f64::NAN);
        self.owing = counter(&state, OWING) == Some(1.0);
        self.watch = Watch::load(&state.counters);
        checkpoint::set_aside(&self.saver.checkpoints, self.step)
            .map_err(|error| failed(&error))?;
        Ok(self.folder.relative(&found.path))
    }

    /// Goes back to the newest valid checkpoint, or to the start where there is none.
    pub(super) fn restore_newest(&mut self) -> Result<String, Ending> {
        let mut warnings = Vec::new();
        let found = newest_valid(&self.saver.checkpoints, &mut |warning| {
            warnings.push(warning)
        })
        .map_err(|error| failed(&error))?;
        for warning in warnings {
            self.warn(warning);
        }
        match found {
            Some(found) => self.restore(&found),
            None => Err(Ending::Failed {
                message: "there is no checkpoint to go back to".to_owned(),
                code: 3,
            }),
        }
    }
}

/// The weights of `model.init_from`, if the configuration asks for them.
///
/// # Errors
/// If they cannot be read or do not fit.
pub fn init_from(
    setup: &Setup,
    model: &Model,
    params: &mut crate::param::Params,
) -> Result<(), crate::hf::HfError> {
    match &setup.config.model.init_from {
        Some(folder) => load_weights(folder, model, params),
        None => Ok(()),
    }
}
