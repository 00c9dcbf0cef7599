//! Watches the configuration file and asks the engine to read it again when it has changed.
//!
//! Editors write in many ways (in place, rename over it, delete and create, swap a symbolic link), so the folder is watched
//! and what counts is whether the file's content has changed and then stood still for a moment.

use engine::link::{Command, Request};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// How long a file must stand still.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Least time between two looks at it.
const BREATH: Duration = Duration::from_millis(50);
/// How often the content is looked at without word from the system (network disks give none).
const POLL: Duration = Duration::from_secs(2);

/// A watch: ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    _watcher: Option<RecommendedWatcher>,
}

/// What a file holds, if it is one that can be read twice: a pipe is not.
pub fn contents(file: &Path) -> Option<Vec<u8>> {
    let regular = std::fs::metadata(file).ok()?.is_file();
    regular.then(|| std::fs::read(file).ok()).flatten()
}

/// What a file is known to hold: what the run read, and what this program wrote into it since. Shared with who writes, so
/// that no change of one's own is taken for somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<Option<Vec<u8>>>>);

impl Known {
    /// What a file holds now.
    pub fn of(file: &Path) -> Self {
        Self(Arc::new(Mutex::new(contents(file))))
    }

    /// Changes the file by `write`, which is given what it shall hold: until that is done, nobody looks.
    ///
    /// # Errors
    /// As `write`.
    pub fn change<E>(
        &self,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        // A thread that panicked with it in its hands has left it whole.
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        write(bytes)?;
        *known = Some(bytes.to_owned());
        Ok(())
    }

    /// Whether `now` is something else; then it is what is known from here on.
    fn learn(&self, now: &[u8]) -> bool {
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let new = known.as_deref() != Some(now);
        if new {
            *known = Some(now.to_owned());
        }
        new
    }

    /// Whether that is what it is known to hold.
    pub fn is(&self, now: &[u8]) -> bool {
        let known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.as_deref() == Some(now)
    }
}

/// Watches `file`; each change from what it is known to hold becomes a `reload`.
pub fn watch(file: &Path, known: Known, requests: SyncSender<Request>) -> Watch {
    let (sender, receiver) = channel();
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let wake = sender.clone();
    let watcher = notify::recommended_watcher(move |_| {
        // The thread that reads is gone only when the program ends.
        let _ = wake.send(());
    })
    .and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    })
    .ok();
    let file = file.to_owned();
    let work = move || {
        // The sender kept here ends with the thread: without a watcher there are only polls.
        let _sender = sender;
        let mut id = 1 << 32;
        loop {
            let mut now = contents(&file);
            if now.as_deref().is_some_and(|now| !known.is(now)) {
                loop {
                    sleep(DEBOUNCE);
                    let later = contents(&file);
                    if now == later {
                        break;
                    }
                    now = later;
                }
                if now.as_deref().is_some_and(|now| known.learn(now)) {
                    id += 1;
                    let command = Command::Reload;
                    if requests.send(Request { id, command }).is_err() {
                        return;
                    }
                }
            }
            match receiver.recv_timeout(POLL) {
                Ok(()) => {
                    // Something else may be writing into the folder all the time, such as a log.
                    sleep(BREATH);
                    while receiver.try_recv().is_ok() {}
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    // Without the thread the person can still ask for a reload.
    drop(
        std::thread::Builder::new()
            .name("config".to_owned())
            .spawn(work),
    );
    Watch { _watcher: watcher }
}
