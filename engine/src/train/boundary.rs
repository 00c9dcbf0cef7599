//! Commands and signals, obeyed between two steps.

use super::look::NO_TOKENIZER;
use super::run::{Ending, Engine};
use crate::link::{Body, Command, Doing, Request, Urgency};
use std::time::Duration;

impl Engine {
    /// Commands and signals, obeyed between two steps. `Some` ends the run.
    pub(super) fn boundary(&mut self) -> Result<Option<Ending>, Ending> {
        loop {
            self.interrupt.tell(Doing::Between, self.step);
            if self.interrupt.take_checkpoint() {
                // What went wrong is told.
                drop(self.checkpoint("command", None)?);
            }
            match self.interrupt.urgency() {
                Urgency::None => {}
                Urgency::Stop => {
                    return self.stop_with_checkpoint().map(Some);
                }
                Urgency::Preempt => {
                    // Only before the first step is there none.
                    drop(self.checkpoint("preempted", None)?);
                    return Ok(Some(Ending::Preempted));
                }
            }
            self.tell_verified();
            self.obey_touch_files()?;
            while let Some(request) = self
                .kept_requests
                .pop_front()
                .or_else(|| self.link.requests.try_recv().ok())
            {
                self.obey(request)?;
            }
            if let Some(checkpoint) = self.stop.take() {
                return if checkpoint {
                    self.stop_with_checkpoint().map(Some)
                } else {
                    Ok(Some(Ending::Done))
                };
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

    fn stop_with_checkpoint(&mut self) -> Result<Ending, Ending> {
        drop(self.checkpoint("stop", None)?);
        Ok(if self.step == 0 {
            Ending::Untrained
        } else {
            Ending::Done
        })
    }

    pub(super) fn obey(&mut self, request: Request) -> Result<(), Ending> {
        let Request { id, command } = request;
        let word = command.word().to_owned();
        let (refused, message) = match command {
            command if let Some(reason) = self.lacks_memory_for(&command) => (true, reason),
            Command::Pause { hard } => self.pause(hard)?,
            Command::Resume => self.go_on(),
            Command::Rollback { step, lr_scale } => self.roll_back_to(step, lr_scale)?,
            Command::Checkpoint { tag } => match self.checkpoint("command", tag.as_deref())? {
                Ok(path) => (false, format!("{path} is written")),
                Err(why) => (true, why),
            },
            Command::Tag { step, name } => self.tag(step, Some(name)),
            Command::Untag { step } => self.tag(step, None),
            Command::Delete { step } => self.delete(step),
            Command::Verify { step } => match self.begin_to_verify(id, step) {
                // The answer comes when it is done.
                None => return Ok(()),
                Some(why) => (true, why),
            },
            Command::Eval => {
                if self.evaluate()? {
                    (false, "evaluated".to_owned())
                } else {
                    let keys = "data.validation, data.validation_fraction";
                    (true, format!("there is no validation data ({keys})"))
                }
            }
            Command::Sample if self.setup.tokenizer.is_none() => (true, NO_TOKENIZER.to_owned()),
            Command::Sample => {
                self.sample();
                (false, "sampled".to_owned())
            }
            Command::Attention {
                prompt,
                layer,
                head,
            } => self.attention(&prompt, layer, head),
            Command::Weights => self.lend(),
            Command::Stop { checkpoint } => {
                self.stop = Some(checkpoint);
                (false, format!("stops after step {}", self.step))
            }
            Command::Set { key, value } => self.apply_edit(&format!("{key}={value}")),
            Command::Reload => self.reload(),
            Command::Profile if self.begin_profile() => {
                (false, "the next steps are timed".to_owned())
            }
            Command::Profile => (true, "steps are being timed already".to_owned()),
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
}
