//! Going back to a checkpoint while the run is on: because a value was not finite, or on request.
//!
//! What follows is what a run that was stopped and resumed there would do, to the bit: another attempt, whose rows supersede
//! those of the steps that are trained again.

use super::run::{Ending, Engine};
use super::saving::failed;
use crate::checkpoint::{self, Found, folder_name};
use crate::link::Body;

impl Engine {
    /// Goes back to the newest checkpoint with half the learning rate; the data behind it are trained on again.
    pub(super) fn roll_back(&mut self) -> Result<(), Ending> {
        self.rollbacks += 1;
        let newest = self.newest_checkpoint().map_err(|error| failed(&error))?;
        let Some(found) = newest else {
            return Err(Ending::Failed {
                message: "there is no checkpoint to go back to".to_owned(),
                code: 3,
            });
        };
        self.go_back(&found)?;
        let scale = self.config().schedule.lr_scale * 0.5;
        self.apply_edit(&format!("schedule.lr_scale={scale:?}"));
        Ok(())
    }

    /// Obeys a request to go back to the checkpoint of `step`, or to the newest. Returns whether it was refused, and a line.
    pub(super) fn roll_back_to(
        &mut self,
        step: Option<u64>,
        lr_scale: Option<f64>,
    ) -> Result<(bool, String), Ending> {
        let edit = lr_scale.map(|scale| format!("schedule.lr_scale={scale:?}"));
        // Whatever can be refused is refused before anything has changed.
        if let Some(edit) = &edit
            && let Err(error) = self.resolve(std::slice::from_ref(edit))
        {
            return Ok((true, error.to_string()));
        }
        let found = match step {
            None => match self.newest_checkpoint() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok((true, "there is no checkpoint yet".to_owned())),
                Err(error) => return Ok((true, error.to_string())),
            },
            Some(step) => {
                let path = self.folder.checkpoints().join(folder_name(step));
                if !path.exists() {
                    return Ok((true, self.no_checkpoint_of(step)));
                }
                match checkpoint::verify(&path) {
                    Ok(found) => found,
                    Err(error) => return Ok((true, error.to_string())),
                }
            }
        };
        self.go_back(&found)?;
        if let Some(edit) = edit {
            self.apply_edit(&edit);
        }
        let message = format!("went back to the checkpoint of step {}", self.step);
        Ok((false, message))
    }

    pub(super) fn no_checkpoint_of(&self, step: u64) -> String {
        let there = checkpoint::list(&self.folder.checkpoints()).unwrap_or_default();
        let steps: Vec<String> = there.iter().map(|(step, _)| step.to_string()).collect();
        let known = match steps.as_slice() {
            [] => "there is none yet".to_owned(),
            steps => format!("there are those of {}", steps.join(", ")),
        };
        format!("there is no checkpoint of step {step}; {known}")
    }

    /// Goes back in place, as another attempt of the run.
    fn go_back(&mut self, found: &Found) -> Result<(), Ending> {
        let path = self.restore(found)?;
        self.loader = None;
        self.attempt += 1;
        if let Err(error) = self.folder.note_attempt(self.attempt) {
            // The events tell the attempt too.
            self.warn(error.to_string());
        }
        self.emit(Body::Resumed {
            step: self.step,
            path,
            attempt: self.attempt,
        });
        if self.paused {
            self.tell_pause();
        }
        Ok(())
    }
}
