//! What comes of an alarm: an event, the rows that it is about, word to programs outside, and the action that was asked for.
//!
//! `skip` and `rollback` of a loss act before its update. Rules that see a step when it is done can only wish: the wish is
//! granted when the step has ended ([`Engine::settle`]).

use super::run::{Engine, StepEnd};
use crate::checkpoint;
use crate::data::StepData;
use crate::link::{Alert, AlertBatch, Body, Event, Urgency};
use crate::watch::batch::KeptBatch;
use crate::watch::disk::free_bytes;
use crate::watch::hooks::Job;
use crate::watch::{Action, Alarm, Finding, NONFINITE, Seen};
use serde_json::Value;

/// Rollbacks of a run in one process.
pub(super) const ROLLBACKS: u32 = 3;

/// What is to be done when the step has ended.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Stand still, and why.
    pause: Option<String>,
    /// Go back.
    pub(super) rollback: bool,
}

impl Engine {
    /// Looks at a finite loss before its update. `Some` is how the step ends at once.
    pub(super) fn watch_loss(&mut self, step: u64, loss: f64, data: &StepData) -> Option<StepEnd> {
        let config = &self.setup.config.watch;
        let alarms = self.watch.look(config, &Seen::Loss { step, loss });
        let mut end = None;
        for alarm in alarms {
            match self.raise(alarm, step, Some(data)) {
                Action::Rollback => end = Some(StepEnd::Rollback),
                Action::Skip => end = end.or(Some(StepEnd::Skipped)),
                Action::Off | Action::Warn | Action::Pause => {}
            }
        }
        end
    }

    /// Looks at what the run has just recorded.
    pub(super) fn watch_event(&mut self, body: &Body) -> Vec<Alarm> {
        let disk = |step, checkpoint| {
            let free = free_bytes(self.folder.path())?;
            Some(Seen::Disk {
                step,
                free,
                checkpoint,
            })
        };
        let seen = match body {
            Body::Step(step) => Some(Seen::Step(step)),
            Body::Layers(layers) => Some(Seen::Layers(layers)),
            Body::Eval(eval) => Some(Seen::Eval(eval)),
            Body::Checkpoint { step, bytes, .. } => disk(*step, *bytes),
            // What the first checkpoint will take.
            Body::Started(started) if self.setup.config.train.checkpoint_interval > 0 => {
                let memory = &started.memory;
                disk(started.step, memory.parameters + memory.optimizer)
            }
            _ => None,
        };
        let config = &self.setup.config.watch;
        seen.map_or_else(Vec::new, |seen| self.watch.look(config, &seen))
    }

    /// Tells of alarms about what is recorded already, and notes what they wish.
    pub(super) fn raise_all(&mut self, alarms: Vec<Alarm>) {
        for alarm in alarms {
            if self.raise(alarm, self.step, None) == Action::Rollback {
                self.wishes.rollback = true;
            }
        }
    }

    /// Tells that a value is not finite, beside the event of its own.
    pub(super) fn alert_nonfinite(
        &mut self,
        place: &str,
        value: f64,
        action: &str,
        data: &StepData,
    ) {
        if !self.watch.nonfinite() {
            return;
        }
        let finding = Finding {
            message: format!("{place} of step {} is not finite", data.step),
            layer: None,
            value,
            threshold: f64::INFINITY,
        };
        let path = self.keep_batch(NONFINITE, &finding, data);
        self.tell(NONFINITE, "error", finding, data.step, action, path, true);
    }

    /// Tells of an alarm. Returns what is really done about it.
    fn raise(&mut self, alarm: Alarm, step: u64, data: Option<&StepData>) -> Action {
        let Alarm {
            rule,
            mut action,
            mut finding,
            fresh,
        } = alarm;
        if action == Action::Rollback
            && let Some(reason) = self.no_way_back(data.is_some())
        {
            finding.message = format!("{}; no rollback: {reason}", finding.message);
            action = Action::Warn;
        }
        let path = match data {
            Some(data) if fresh => self.keep_batch(rule, &finding, data),
            _ => None,
        };
        if action == Action::Pause {
            self.wishes.pause = Some(finding.message.clone());
        }
        self.tell(rule, "warning", finding, step, action.word(), path, fresh);
        action
    }

    /// Why a rollback that is wished for cannot be.
    fn no_way_back(&self, before_update: bool) -> Option<&'static str> {
        let there = checkpoint::list(&self.folder.checkpoints());
        if self.rollbacks >= ROLLBACKS {
            Some("there were three already")
        } else if there.is_ok_and(|list| list.is_empty()) {
            Some("there is no checkpoint yet")
        } else if !before_update && self.step >= self.config().train.max_steps {
            Some("this was the last step")
        } else {
            None
        }
    }

    fn tell(
        &mut self,
        rule: &str,
        level: &str,
        finding: Finding,
        step: u64,
        action: &str,
        path: Option<String>,
        fresh: bool,
    ) {
        let rows = self.config().train.batch_size as u64;
        let batch = (rule != "disk" && step > 0).then(|| AlertBatch {
            first_row: (step - 1) * rows,
            rows,
            path,
        });
        let alert = Alert {
            step,
            rule: rule.to_owned(),
            level: level.to_owned(),
            message: finding.message,
            layer: finding.layer,
            value: finding.value,
            threshold: finding.threshold,
            action: action.to_owned(),
            batch,
        };
        let event = Event {
            body: Body::Alert(Box::new(alert)),
            time: super::run::now(),
        };
        if fresh {
            let config = &self.setup.config.watch;
            self.hooks.tell(&Job {
                json: with_run(&event, &self.folder.name()),
                run: std::path::absolute(self.folder.path())
                    .unwrap_or_else(|_| self.folder.path().to_owned()),
                step,
                rule: rule.to_owned(),
                command: config.command.clone(),
                webhook: config.webhook.clone(),
            });
        }
        self.emit_event(event);
    }

    /// Writes the rows of a step to the run's folder, with the loss of each. Returns the file's path, relative to the run's.
    fn keep_batch(&mut self, rule: &str, finding: &Finding, data: &StepData) -> Option<String> {
        let dataset = self.setup.datasets.train.clone();
        let tokenizer = self.setup.tokenizer.clone();
        let (trainer, interrupt) = (&mut self.trainer, &self.interrupt);
        let measure = |row| {
            if interrupt.urgency() != Urgency::None {
                return f64::NAN;
            }
            let batch = dataset.batch(row, 1, 1);
            let summed = trainer.evaluate(&batch).unwrap_or(f64::NAN);
            summed / batch.valid_targets.max(1) as f64
        };
        let message = &finding.message;
        let kept = KeptBatch::new(rule, message, data, &dataset, tokenizer.as_deref(), measure);
        match kept.write(self.folder.path()) {
            Ok(path) => Some(self.folder.relative(&path)),
            Err(error) => {
                self.warn(format!(
                    "the rows of step {} are not kept: {error}",
                    data.step
                ));
                None
            }
        }
    }

    /// Whether the step that was done is to be taken back.
    pub(super) fn rollback_is_due(&self) -> bool {
        self.wishes.rollback
    }

    /// Grants the wishes of a step that has ended.
    pub(super) fn settle(&mut self) -> StepEnd {
        let wishes = std::mem::take(&mut self.wishes);
        if wishes.rollback {
            return StepEnd::Rollback;
        }
        if let Some(reason) = wishes.pause {
            self.paused = true;
            self.emit(Body::Paused {
                step: self.step,
                reason: Some(reason),
                hard: false,
            });
        }
        StepEnd::Done
    }
}

/// The event as JSON on one line, with the run's name.
fn with_run(event: &Event, run: &str) -> String {
    let mut json = serde_json::to_value(event).unwrap_or(Value::Null);
    if let Some(object) = json.as_object_mut() {
        object.insert("run".to_owned(), Value::from(run));
    }
    json.to_string()
}
