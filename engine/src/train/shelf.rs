//! The checkpoints that a run has: marking, deleting and verifying them because somebody asks.
//!
//! Marks and deletions are done at once, between two steps. Hashing gigabytes would keep training waiting, so a thread of its
//! own reads them; the answer comes at the first boundary after it is done.

use super::run::Engine;
use crate::checkpoint::{self, CheckpointError, Removed, Stamp, folder_name};
use crate::link::{Body, Command};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Instant;

/// The files of a checkpoint, as [`checkpoint::stamps`] gives them.
type Stamps = Vec<Option<Stamp>>;

/// What is known of the checkpoints beyond what their folders say.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Steps whose checkpoints were found not to be what was written, with the files of which that was found.
    damaged: BTreeMap<u64, Stamps>,
    verifying: Option<Verifying>,
}

/// A checkpoint that is being read.
#[derive(Debug)]
struct Verifying {
    /// The request's number.
    id: u64,
    step: u64,
    begin: Instant,
    /// Its files when reading began, and what was found of them.
    found: Receiver<(Stamps, Result<(), CheckpointError>)>,
    /// Whether another stands in its place by now: what is found says nothing of that.
    replaced: bool,
}

impl Shelf {
    /// Steps whose checkpoints were found not to be what was written, and whose files nobody has changed since.
    pub(super) fn damaged(&self, checkpoints: &Path) -> BTreeSet<u64> {
        let known = self.damaged.iter();
        let still = known.filter(|(step, then)| {
            let place = checkpoints.join(folder_name(**step));
            checkpoint::stamps(&place) == **then
        });
        still.map(|(step, _)| *step).collect()
    }

    /// Notes that the checkpoint of a step was just written.
    pub(super) fn is_written_anew(&mut self, step: u64) {
        self.damaged.remove(&step);
        if let Some(verifying) = self.verifying.as_mut().filter(|it| it.step == step) {
            verifying.replaced = true;
        }
    }
}

/// What came of a wish to delete a checkpoint.
#[derive(Debug)]
pub(super) struct Deletion {
    /// The request's number.
    id: u64,
    outcome: Result<Removed, String>,
}

impl Engine {
    fn place_of(&self, step: u64) -> PathBuf {
        self.folder.checkpoints().join(folder_name(step))
    }

    /// Says that a checkpoint was marked.
    pub(super) fn tell_tag(&mut self, step: u64, tag: Option<String>) {
        let path = self.folder.relative(&self.place_of(step));
        self.emit(Body::CheckpointTagged { step, path, tag });
    }

    /// Obeys the wish for a mark, or (without a name) for none. Returns whether it was refused, and a line.
    pub(super) fn tag(&mut self, step: u64, name: Option<String>) -> (bool, String) {
        let path = self.place_of(step);
        if !path.exists() {
            return (true, self.no_checkpoint_of(step));
        }
        if let Some(why) = name.as_deref().and_then(checkpoint::refuse_tag) {
            return (true, why);
        }
        let tag = name.map(|name| name.trim().to_owned());
        let relative = self.folder.relative(&path);
        let (done, message) = match &tag {
            Some(name) => (
                checkpoint::tag(&path, name),
                format!("{relative} is tagged {name}: keep_last never deletes it"),
            ),
            None if checkpoint::tag_of(&path).is_none() => {
                return (true, format!("{relative} has no tag"));
            }
            None => (
                checkpoint::untag(&path),
                format!("{relative} has no tag any more: keep_last may delete it"),
            ),
        };
        if let Err(error) = done {
            return (true, error.to_string());
        }
        self.tell_tag(step, tag);
        (false, message)
    }

    /// Obeys the wish to delete a checkpoint. Returns whether it was refused, and a line.
    pub(super) fn delete(&mut self, step: u64) -> (bool, String) {
        match self.remove(step) {
            Ok(removed) => (false, self.tell_command(&removed)),
            Err(why) => (true, why),
        }
    }

    /// Deletes a checkpoint and tells nobody. `Err` says why not.
    fn remove(&self, step: u64) -> Result<Removed, String> {
        let path = self.place_of(step);
        if !path.exists() {
            return Err(self.no_checkpoint_of(step));
        }
        if self.released && step == self.step {
            let why = "the paused run takes its memory from it again; resume it first";
            return Err(format!("the checkpoint of step {step} stays: {why}"));
        }
        let checkpoints = self.folder.checkpoints();
        let damaged = self.shelf.damaged(&checkpoints);
        let removed = checkpoint::delete(self.folder.path(), &checkpoints, step, &damaged);
        removed.map_err(|error| self.within(error))
    }

    /// What is wrong with a checkpoint, which is named as in every other answer: a whole path leaves no room for the reason
    /// on a screen.
    fn within(&self, mut error: CheckpointError) -> String {
        if let CheckpointError::Newest { path }
        | CheckpointError::Invalid { path, .. }
        | CheckpointError::Newer { path, .. }
        | CheckpointError::Unreadable { path, .. } = &mut error
        {
            *path = self.folder.relative(path).into();
        }
        error.to_string()
    }

    /// Says that a checkpoint was deleted because somebody asked. Returns a line for who did.
    fn tell_command(&mut self, removed: &Removed) -> String {
        let path = self.folder.relative(&removed.path);
        self.tell_removed(removed, "command");
        let mut line = format!("{path} is deleted ({} bytes)", removed.bytes);
        if let Some(leftover) = &removed.leftover {
            line += "; ";
            line += leftover;
        }
        line
    }

    /// Obeys the deletions that were asked for while the disk is full. What came of them is told when there is room.
    pub(super) fn delete_as_asked(&mut self) -> Vec<Deletion> {
        let mut deletions = Vec::new();
        for request in std::mem::take(&mut self.kept_requests) {
            match request.command {
                Command::Delete { step } => deletions.push(Deletion {
                    id: request.id,
                    outcome: self.remove(step),
                }),
                _ => self.kept_requests.push_back(request),
            }
        }
        deletions
    }

    /// Says what came of a deletion.
    pub(super) fn tell_deletion(&mut self, deletion: Deletion) {
        let (refused, message) = match deletion.outcome {
            Ok(removed) => (false, self.tell_command(&removed)),
            Err(why) => (true, why),
        };
        self.emit(Body::Reply {
            step: self.step,
            id: deletion.id,
            command: "delete".to_owned(),
            refused,
            message,
        });
    }

    /// Says that a checkpoint was deleted.
    pub(super) fn tell_removed(&mut self, removed: &Removed, reason: &str) {
        if removed.path == self.place_of(removed.step) {
            self.shelf.damaged.remove(&removed.step);
        }
        self.emit(Body::CheckpointDeleted {
            step: removed.step,
            path: self.folder.relative(&removed.path),
            bytes: removed.bytes,
            reason: reason.to_owned(),
            leftover: removed.leftover.clone(),
        });
    }

    /// Begins to verify a checkpoint. `Some` says why not.
    pub(super) fn begin_to_verify(&mut self, id: u64, step: u64) -> Option<String> {
        let path = self.place_of(step);
        if !path.exists() {
            return Some(self.no_checkpoint_of(step));
        }
        if let Some(other) = &self.shelf.verifying {
            let other = other.step;
            return Some(format!(
                "the checkpoint of step {other} is being verified; ask again when that is done"
            ));
        }
        let (sender, found) = channel();
        let started = std::thread::Builder::new()
            .name("verify".to_owned())
            .spawn(move || {
                let stamps = checkpoint::stamps(&path);
                drop(sender.send((stamps, checkpoint::verify(&path).map(drop))));
            });
        if let Err(error) = started {
            return Some(format!("the system gives no thread to read it: {error}"));
        }
        self.shelf.verifying = Some(Verifying {
            id,
            step,
            begin: Instant::now(),
            found,
            replaced: false,
        });
        None
    }

    /// Answers who asked for a checkpoint to be verified, once that is done.
    pub(super) fn tell_verified(&mut self) {
        let Some(verifying) = self.shelf.verifying.take() else {
            return;
        };
        let found = match verifying.found.try_recv() {
            Ok((stamps, found)) => Some((stamps, found.map_err(|error| self.within(error)))),
            Err(TryRecvError::Empty) => {
                self.shelf.verifying = Some(verifying);
                return;
            }
            // The thread is gone without a word, which says nothing of the checkpoint.
            Err(TryRecvError::Disconnected) => None,
        };
        let (id, step, begin) = (verifying.id, verifying.step, verifying.begin);
        let there = !verifying.replaced && self.place_of(step).exists();
        let (refused, message) = match found {
            Some((stamps, found)) if there => self.verified(step, begin, stamps, found),
            found => {
                let why = match found {
                    Some(_) => "it was deleted or set aside meanwhile",
                    None => "reading it failed",
                };
                (true, format!("the checkpoint of step {step}: {why}"))
            }
        };
        self.emit(Body::Reply {
            step: self.step,
            id,
            command: "verify".to_owned(),
            refused,
            message,
        });
    }

    /// Answers who asked for a checkpoint to be verified that is not read through when the run ends.
    pub(super) fn leave_verification(&mut self) {
        self.tell_verified();
        let Some(verifying) = self.shelf.verifying.take() else {
            return;
        };
        self.emit(Body::Reply {
            step: self.step,
            id: verifying.id,
            command: "verify".to_owned(),
            refused: true,
            message: format!(
                "the run ended before the checkpoint of step {} was read; zerollm watch verifies it without the run",
                verifying.step
            ),
        });
    }

    /// Says what came of verifying a checkpoint. Returns whether it is damaged, and a line.
    fn verified(
        &mut self,
        step: u64,
        begin: Instant,
        stamps: Stamps,
        found: Result<(), String>,
    ) -> (bool, String) {
        let path = self.folder.relative(&self.place_of(step));
        self.emit(Body::CheckpointVerified {
            step,
            path: path.clone(),
            valid: found.is_ok(),
            seconds: begin.elapsed().as_secs_f64(),
            message: found.clone().err(),
        });
        let (damaged, message) = match found {
            Ok(()) => {
                self.shelf.damaged.remove(&step);
                (false, format!("{path} is what was written"))
            }
            Err(why) => {
                self.shelf.damaged.insert(step, stamps);
                (true, why)
            }
        };
        // A run that is left now names one that it could go on from. A folder that cannot be read says nothing new.
        let checkpoints = self.folder.checkpoints();
        let newest = checkpoint::newest_good(&checkpoints, &self.shelf.damaged(&checkpoints));
        if let Ok(newest) = newest {
            self.interrupt.tell_saved(newest.unwrap_or(0));
        }
        (damaged, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_anew_is_neither_damaged_nor_what_is_being_read() {
        let (_sender, found) = channel();
        let mut shelf = Shelf {
            damaged: [(3, Vec::new()), (5, Vec::new())].into(),
            verifying: Some(Verifying {
                id: 1,
                step: 5,
                begin: Instant::now(),
                found,
                replaced: false,
            }),
        };
        let replaced = |shelf: &Shelf| shelf.verifying.as_ref().is_some_and(|it| it.replaced);
        shelf.is_written_anew(3);
        assert_eq!((replaced(&shelf), shelf.damaged.len()), (false, 1));
        shelf.is_written_anew(5);
        assert!(replaced(&shelf) && shelf.damaged.is_empty());
    }
}
