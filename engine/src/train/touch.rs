//! Files that ask for something by being there: `ctl/checkpoint`, `ctl/pause`, `ctl/resume` and `ctl/stop` in the run's
//! folder.
//!
//! They work where no socket does: for other users, over network disks, and for a run that is not on, as `stop` is also
//! honoured at its start. A file is removed before it is obeyed, so that it is obeyed once.

use super::run::{Ending, Engine};
use crate::link::{Command, Request};
use crate::run_folder::CTL;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Least time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// The files' names and what they ask for, in the order in which they are obeyed.
const FILES: [(&str, Command); 4] = [
    ("checkpoint", Command::Checkpoint { tag: None }),
    ("pause", Command::Pause { hard: false }),
    ("resume", Command::Resume),
    ("stop", Command::Stop { checkpoint: true }),
];

/// When the files were looked for.
#[derive(Debug, Default)]
pub(super) struct TouchFiles {
    looked: Option<Instant>,
    /// Whether the person was told of a file that cannot be removed.
    told: bool,
}

impl Engine {
    /// Obeys the files that are there, at most twice a second.
    pub(super) fn obey_touch_files(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let looked = self.touch.looked;
        if looked.is_some_and(|looked| now.duration_since(looked) < INTERVAL) {
            return Ok(());
        }
        self.touch.looked = Some(now);
        for (name, command) in FILES {
            let path = self.folder.path().join(CTL).join(name);
            match fs::remove_file(&path) {
                // No answer is waited for: such requests share the number 0.
                Ok(()) => self.obey(Request { id: 0, command })?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.touch.told, true) {
                        self.warn(format!(
                            "{CTL}/{name} is not obeyed, as it cannot be removed: {error}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
