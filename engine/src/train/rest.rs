//! Standing still: with the memory kept, or given back to the machine until training goes on.
//!
//! A hard pause writes a checkpoint, reads it back against its hashes, and only then frees parameters, gradients, optimizer
//! state, plans, arena, loader and data. The scalars of the run stay with the engine, so that going on is filling the same
//! memory with the same values: the same bits as without the pause.

use super::run::{Ending, Engine};
use super::saving::init_from;
use crate::checkpoint::{self, folder_name};
use crate::data::{self, Cache, Datasets};
use crate::device;
use crate::estimate;
use crate::launch::LaunchError;
use crate::link::{Body, Command};

impl Engine {
    /// Obeys a pause. Returns whether it was refused, and a line.
    pub(super) fn pause(&mut self, hard: bool) -> Result<(bool, String), Ending> {
        if self.released || (self.paused && !hard) {
            return Ok((true, "training is paused already".to_owned()));
        }
        if hard && let Some(reason) = self.give_back()? {
            return Ok((true, reason));
        }
        self.paused = true;
        self.tell_pause();
        let memory = if hard {
            ", and the memory is given back"
        } else {
            ""
        };
        Ok((false, format!("paused after step {}{memory}", self.step)))
    }

    /// Obeys the end of a pause. Returns whether it was refused, and a line.
    pub(super) fn go_on(&mut self) -> (bool, String) {
        if !self.paused {
            return (true, "training is not paused".to_owned());
        }
        // Asked for in this pause, and not yet applied where both requests came at once.
        self.apply_waiting_config();
        if self.released
            && let Err(reason) = self.take_back()
        {
            return (
                true,
                format!("training cannot go on yet, and stays paused: {reason}"),
            );
        }
        self.paused = false;
        self.emit(Body::ResumedFromPause { step: self.step });
        (false, format!("goes on with step {}", self.step + 1))
    }

    pub(super) fn tell_pause(&mut self) {
        self.emit(Body::Paused {
            step: self.step,
            reason: None,
            hard: self.released,
        });
    }

    /// Why a command cannot be obeyed now: it needs the memory that a hard pause has given back.
    pub(super) fn lacks_memory_for(&self, command: &Command) -> Option<String> {
        let needs = matches!(
            command,
            Command::Eval
                | Command::Sample
                | Command::Attention { .. }
                | Command::Weights
                | Command::Checkpoint { .. }
        );
        let reason = match command {
            Command::Checkpoint { .. } if self.step > 0 => {
                "the checkpoint of this step is on the disk already"
            }
            _ => "the memory of the run is given back while it is paused; resume it first",
        };
        (self.released && needs).then(|| reason.to_owned())
    }

    /// Writes a checkpoint and frees what it holds. `Some` says why not; then nothing was freed.
    fn give_back(&mut self) -> Result<Option<String>, Ending> {
        // Before the first step there is nothing to save: what is drawn from the seed can be drawn again.
        if self.step > 0 {
            let kept = |why: &dyn std::fmt::Display| {
                format!("the memory is kept, as there is no checkpoint to go on from: {why}")
            };
            if let Err(why) = self.checkpoint("pause", None)? {
                return Ok(Some(kept(&why)));
            }
            let path = self.folder.checkpoints().join(folder_name(self.step));
            if let Err(error) = checkpoint::verify(&path) {
                return Ok(Some(kept(&error)));
            }
        }
        self.loader = None;
        self.session = None;
        self.datasets_are_given_back();
        self.released = true;
        self.trainer.release(&self.setup.config);
        Ok(None)
    }

    fn datasets_are_given_back(&mut self) {
        let datasets = std::mem::replace(&mut self.setup.datasets, Datasets::none());
        datasets
            .train
            .fingerprint()
            .clone_into(&mut self.fingerprint);
    }

    /// Takes memory and data again and fills them from the checkpoint. After an error everything is as before.
    fn take_back(&mut self) -> Result<(), String> {
        let config = &self.setup.config;
        let (cpu, gpu) = device::open(config).map_err(|error| error.to_string())?;
        let memory = estimate::memory(config, &self.setup.model, &cpu);
        let need = memory.total - memory.runtime;
        if let Some(gpu) = &gpu {
            device::check_room(config, &self.setup.model, gpu)
                .map_err(|error| error.to_string())?;
        } else if let Some(free) = estimate::available_bytes()
            && need > free
        {
            return Err(LaunchError::Memory { need, free }.to_string());
        }
        let datasets = data::open_unless(
            config,
            self.setup.tokenizer.as_ref(),
            self.setup.model.vocab_size(),
            Cache::of_user().as_ref(),
            &self.interrupt,
        )
        .map_err(|error| error.to_string())?;
        if datasets.train.fingerprint() != self.fingerprint {
            return Err(LaunchError::OtherData {
                run: self.folder.name(),
            }
            .to_string());
        }
        let rebuilt = self.trainer.rebuild(&self.setup.config, cpu, gpu);
        let rebuilt = rebuilt.map_err(|error| error.to_string());
        if let Err(reason) = rebuilt.and_then(|()| self.fill()) {
            self.trainer.release(&self.setup.config);
            return Err(reason);
        }
        self.setup.datasets = datasets;
        self.released = false;
        Ok(())
    }

    /// Loads what the trainer held when it was freed.
    fn fill(&mut self) -> Result<(), String> {
        if self.step == 0 {
            return init_from(&self.setup, &mut self.trainer.params)
                .map_err(|error| format!("model.init_from: {error}"));
        }
        let path = self.folder.checkpoints().join(folder_name(self.step));
        let found = checkpoint::verify(&path).map_err(|error| error.to_string())?;
        self.load_arrays(&found).map_err(|ending| match ending {
            Ending::Failed { message, .. } => message,
            other => format!("{other:?}"),
        })
    }
}
