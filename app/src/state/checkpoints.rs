//! The checkpoints of the run, as its record tells of them and as its folder shows them.
//!
//! The record says what the engine did: written, marked, deleted, verified. Older records do not tell of deletions, and
//! a folder can be changed by hand, so a look at the disk ([`State::survey`]) has the last word, unless the engine has said
//! something of its checkpoints since.

use std::sync::Arc;

use engine::checkpoint::{Stamp, Surveyed, folder_name};
use engine::link::{Body, Event};

use super::{Level, Mark, State};
use crate::lang::{Phrase, Text, term};
use crate::text;

/// One checkpoint on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// After this step.
    pub step: u64,
    /// Its folder, relative to the run's.
    pub path: String,
    /// Time that writing took, where the record says it.
    pub seconds: Option<f64>,
    /// Size on disk.
    pub bytes: u64,
    /// Why it was written.
    pub reason: String,
    /// Smoothed loss of that step.
    pub loss: Option<f32>,
    /// The name that it is marked with.
    pub tag: Option<String>,
    /// When it was last compared with its hashes, and what came of it. See [`Self::damage`].
    pub checked: Checked,
    /// What was wrong with it when its folder was last looked at, as far as sizes tell.
    pub fault: Option<String>,
    /// Its files then; none where it was compared with its hashes since.
    pub stamps: Option<Vec<Option<Stamp>>>,
    /// Version of the configuration in force when it was written; 0 where nobody knows.
    pub config_version: u32,
    /// That configuration, once its folder was looked at: dotted key and TOML value.
    pub config: Option<Arc<Vec<(String, String)>>>,
}

impl Checkpoint {
    /// What is wrong with it, as far as is known.
    pub fn damage(&self) -> Option<&str> {
        match (&self.fault, &self.checked) {
            (Some(why), _) | (None, Checked::Damaged(why)) => Some(why),
            (None, Checked::Never | Checked::Good(_)) => None,
        }
    }

    /// Its size, and the time that writing it took, as far as that is known.
    pub fn cost(&self) -> String {
        let bytes = text::bytes(self.bytes);
        match self.seconds {
            Some(seconds) => format!("{bytes}, {}", text::duration(seconds)),
            None => bytes,
        }
    }
}

/// Whether a checkpoint is known to be what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Checked {
    /// Nobody has compared it since it was written, or since somebody has changed its files.
    #[default]
    Never,
    /// It was then: month, day, hour and minute, UTC.
    Good(String),
    /// It is not, with what is wrong.
    Damaged(String),
}

/// Why a checkpoint stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<'a> {
    /// It is marked with a name.
    Tag(&'a str),
    /// It has the lowest validation loss.
    Best,
    /// It is one of the last `train.keep_last`.
    Last,
    /// Nothing deletes old ones.
    All,
    /// It is damaged: nothing counts or deletes it.
    Damaged,
    /// It goes with the next one.
    Not,
}

impl State {
    /// Folds in an event about checkpoints.
    pub(super) fn shelve(&mut self, event: &Event) {
        let time = &event.time;
        self.num_shelved += 1;
        match &event.body {
            Body::Checkpoint {
                step,
                path,
                seconds,
                bytes,
                reason,
            } => {
                if reason == "command" {
                    self.answered("checkpoint");
                }
                self.knows_best = false;
                self.checkpoints.retain(|c| c.path != *path);
                self.checkpoints.push(Checkpoint {
                    step: *step,
                    path: path.clone(),
                    seconds: Some(*seconds),
                    bytes: *bytes,
                    reason: reason.clone(),
                    loss: self.loss.ema.last(),
                    tag: None,
                    checked: Checked::Never,
                    fault: None,
                    stamps: None,
                    config_version: self.config_version,
                    config: None,
                });
                self.mark(*step, Mark::Checkpoint);
                // The folder's own name says it all; the screen of checkpoints has the path.
                let figures = format!(
                    "{}  {}  {}  ",
                    name(path),
                    text::bytes(*bytes),
                    text::duration(*seconds)
                );
                let line = Phrase::verbatim(figures).and(&term(reason));
                self.log(time, *step, Level::Good, "ckpt", line);
            }
            Body::CheckpointTagged { step, path, tag } => {
                if let Some(known) = self.checkpoint_at(path) {
                    known.tag.clone_from(tag);
                }
                const TAGGED: Text = Text::new("{0} is tagged {1}", "{0} 的标签: {1}");
                const UNTAGGED: Text = Text::new("{0} has no tag any more", "{0} 不再有标签");
                let line = match tag {
                    Some(tag) => TAGGED.fill(&[&name(path), tag]),
                    None => UNTAGGED.fill(&[&name(path)]),
                };
                self.log(time, *step, Level::Good, "shelf", line);
            }
            Body::CheckpointDeleted {
                step,
                path,
                bytes,
                reason,
                leftover,
            } => {
                self.checkpoints.retain(|c| c.path != *path);
                const DELETED: Text = Text::new("{0} is deleted  {1}", "{0} 已删除  {1}");
                const LEFT: Text = Text::new("{0} is deleted; {1}", "{0} 已删除; {1}");
                let told = if let Some(leftover) = leftover {
                    let leftover = Phrase::from(leftover);
                    Some((Level::Warn, LEFT.fill(&[&name(path), &leftover])))
                } else if reason == "keep_last" {
                    // What it does with every checkpoint is no news.
                    None
                } else {
                    let line = DELETED.fill(&[&name(path), &text::bytes(*bytes)]);
                    Some((Level::Info, line))
                };
                if let Some((level, line)) = told {
                    self.log(time, *step, level, "shelf", line);
                }
            }
            Body::CheckpointVerified {
                step,
                path,
                seconds,
                message,
                ..
            } => {
                const WHOLE: Text =
                    Text::new("{0} is what was written  {1}", "{0} 与写入时一致  {1}");
                const DAMAGED: Text = Text::new("{0} is damaged: {1}", "{0} 已损坏: {1}");
                let (level, line) = match message {
                    None => {
                        let took = text::duration(*seconds);
                        (Level::Good, WHOLE.fill(&[&name(path), &took]))
                    }
                    Some(why) => {
                        let why = Phrase::from(why);
                        (Level::Bad, DAMAGED.fill(&[&name(path), &why]))
                    }
                };
                self.checked(*step, time, message.as_deref().map_or(Ok(()), Err));
                self.log(time, *step, level, "shelf", line);
            }
            _ => {}
        }
    }

    /// Notes what came of comparing the checkpoint of a step with its hashes at `time` (RFC 3339).
    pub fn checked(&mut self, step: u64, time: &str, found: Result<(), &str>) {
        let found = match found {
            Ok(()) => Checked::Good(minute(time)),
            Err(why) => Checked::Damaged(why.to_owned()),
        };
        if let Some(known) = self.checkpoints.iter_mut().find(|c| c.step == step) {
            known.checked = found;
            // Its sizes, too, were compared; what is found in the folder next is what that was found of.
            (known.fault, known.stamps) = (None, None);
        }
    }

    /// Takes what lies in the run's folder, as it was when the engine had told of `num_shelved` changes; if it has told of
    /// more since, that counts and not this.
    pub fn survey(&mut self, num_shelved: u64, found: &[Surveyed]) {
        if num_shelved != self.num_shelved {
            return;
        }
        let there = |c: &Checkpoint| found.iter().any(|it| it.step == c.step);
        self.checkpoints.retain(there);
        for it in found {
            let known = self.checkpoints.iter().position(|c| c.step == it.step);
            let at = known.unwrap_or_else(|| {
                let at = self.checkpoints.partition_point(|c| c.step < it.step);
                self.checkpoints.insert(
                    at,
                    Checkpoint {
                        step: it.step,
                        path: format!("checkpoints/{}", folder_name(it.step)),
                        seconds: None,
                        bytes: it.bytes,
                        reason: it.reason.clone(),
                        loss: self.loss_at(it.step),
                        tag: None,
                        checked: Checked::Never,
                        fault: None,
                        stamps: None,
                        config_version: 0,
                        config: None,
                    },
                );
                at
            });
            let known = &mut self.checkpoints[at];
            known.tag.clone_from(&it.tag);
            known.fault.clone_from(&it.fault);
            // What was found of files says nothing of those that are in their place by now.
            if known
                .stamps
                .as_ref()
                .is_some_and(|it_was| *it_was != it.stamps)
            {
                known.checked = Checked::Never;
            }
            known.stamps = Some(it.stamps.clone());
            if let Some(version) = it.config_version {
                known.config_version = version;
                known.config = Some(Arc::clone(&it.config));
            }
        }
        self.noted_best = found.iter().find(|it| it.best).map(|it| it.step);
        self.knows_best = true;
    }

    /// The smoothed loss at a step, where it is finite.
    pub(super) fn loss_at(&self, step: u64) -> Option<f32> {
        let rows = self.track.rows_before_step(step.saturating_add(1));
        let loss = rows.checked_sub(1).and_then(|row| self.loss.ema.at(row));
        loss.filter(|loss| loss.is_finite())
    }

    /// The validation loss that was measured at a step.
    pub fn validation_at(&self, step: u64) -> Option<f64> {
        let eval = self.evals.iter().rev().find(|eval| eval.step == step);
        eval.map(|eval| eval.loss)
    }

    /// The step of the best checkpoint: as the run's folder notes it, else that of the lowest validation loss.
    pub fn best_checkpoint(&self) -> Option<u64> {
        if self.knows_best {
            self.noted_best
        } else {
            self.best_eval().map(|eval| eval.step)
        }
    }

    /// The checkpoint that a resume would go on from, as far as is known.
    pub fn newest_good(&self) -> Option<u64> {
        let good = self.checkpoints.iter().filter(|c| c.damage().is_none());
        good.map(|c| c.step).max()
    }

    /// Why a checkpoint stays on the disk: at least one reason.
    pub fn kept<'a>(&self, checkpoint: &'a Checkpoint) -> Vec<Kept<'a>> {
        let mut kept: Vec<Kept<'a>> = Vec::new();
        kept.extend(checkpoint.tag.as_deref().map(Kept::Tag));
        if self.best_checkpoint() == Some(checkpoint.step) {
            kept.push(Kept::Best);
        }
        if kept.is_empty() {
            let keep_last = self.config.iter().find(|v| v.key == "train.keep_last");
            let keep_last = keep_last.and_then(|value| value.value.parse().ok());
            let good = self.checkpoints.iter().filter(|c| c.damage().is_none());
            let later = good.filter(|c| c.step > checkpoint.step);
            kept.push(match keep_last {
                Some(0) => Kept::All,
                _ if checkpoint.damage().is_some() => Kept::Damaged,
                Some(last) if later.count() >= last => Kept::Not,
                _ => Kept::Last,
            });
        }
        kept
    }

    fn checkpoint_at(&mut self, path: &str) -> Option<&mut Checkpoint> {
        self.checkpoints.iter_mut().find(|c| c.path == path)
    }
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Month, day, hour and minute of an RFC 3339 time.
fn minute(time: &str) -> String {
    match (time.get(5..10), time.get(11..16)) {
        (Some(day), Some(clock)) => text::escape(&format!("{day} {clock}")),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests;
