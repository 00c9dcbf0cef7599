//! Watches the configuration file and asks the engine to read it again when it has changed.
//!
//! Editors write in many ways (in place, rename over it, delete and create, swap a symbolic link), so the folder is watched
//! and what counts is whether the file's content has changed and then stood still for a moment.

use engine::link::{Command, Request};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel};
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

/// Watches `file`; each change from what it held when the run read it (`known`) becomes a `reload`.
pub fn watch(file: &Path, mut known: Option<Vec<u8>>, requests: SyncSender<Request>) -> Watch {
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
            if now.is_some() && now != known {
                loop {
                    sleep(DEBOUNCE);
                    let later = contents(&file);
                    if now == later {
                        break;
                    }
                    now = later;
                }
                if now.is_some() && now != known {
                    known = now;
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
