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

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Instant;

    const OLD: &str = "optimizer.lr = 1.0\n";
    const NEW: &str = "optimizer.lr = 0.5 # a longer line than before\ntrain.clip_norm = 0.25\n";
    /// How long a change may take to be noticed on a machine that has other work.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// How long nothing must happen.
    const QUIET: Duration = Duration::from_millis(700);

    /// A way of saving: `file` holds [`OLD`] before and [`NEW`] afterwards.
    type Save = fn(folder: &Path, file: &Path);

    fn write(file: &Path) {
        fs::write(file, NEW).unwrap();
    }

    /// Writes in pieces, as slowly as given.
    fn in_pieces(file: &Path, pause: u64) {
        let mut open = fs::File::create(file).unwrap();
        for piece in NEW.as_bytes().chunks(11) {
            open.write_all(piece).unwrap();
            open.flush().unwrap();
            sleep(Duration::from_millis(pause));
        }
    }

    /// Every way in which editors and people save; each is one change.
    const WAYS: [(&str, Save); 14] = [
        ("truncate and write", |_, file| write(file)),
        ("truncate, then pieces", |_, file| in_pieces(file, 5)),
        ("partial write, then the rest", |_, file| {
            in_pieces(file, 60)
        }),
        ("rename over, from another folder", |folder, file| {
            let place = folder.join("elsewhere");
            fs::create_dir(&place).unwrap();
            write(&place.join("new"));
            fs::rename(place.join("new"), file).unwrap();
        }),
        (
            "write beside and rename (sed -i, vscode)",
            |folder, file| {
                write(&folder.join("sedXY12"));
                fs::rename(folder.join("sedXY12"), file).unwrap();
            },
        ),
        ("backup, new file, backup removed (vim)", |folder, file| {
            fs::write(folder.join("4913"), "").unwrap();
            fs::remove_file(folder.join("4913")).unwrap();
            fs::rename(file, folder.join("c.toml~")).unwrap();
            write(file);
            fs::remove_file(folder.join("c.toml~")).unwrap();
        }),
        (
            "copy as backup, in place (vim, backupcopy)",
            |folder, file| {
                fs::copy(file, folder.join("c.toml~")).unwrap();
                write(file);
            },
        ),
        ("lock, backup, new file (emacs)", |folder, file| {
            symlink("somebody@somewhere.1", folder.join(".#c.toml")).unwrap();
            fs::rename(file, folder.join("c.toml~")).unwrap();
            write(file);
            fs::remove_file(folder.join(".#c.toml")).unwrap();
        }),
        ("delete and create", |_, file| {
            fs::remove_file(file).unwrap();
            write(file);
        }),
        ("delete, and create much later", |_, file| {
            fs::remove_file(file).unwrap();
            sleep(Duration::from_millis(600));
            write(file);
        }),
        ("symbolic link swapped", |folder, file| {
            write(&folder.join("new.toml"));
            symlink("new.toml", folder.join("link")).unwrap();
            fs::rename(folder.join("link"), file).unwrap();
        }),
        ("moved away and back changed", |folder, file| {
            let aside = folder.join("aside");
            fs::rename(file, &aside).unwrap();
            write(&aside);
            fs::rename(&aside, file).unwrap();
        }),
        ("hard link in its place", |folder, file| {
            write(&folder.join("other"));
            fs::remove_file(file).unwrap();
            fs::hard_link(folder.join("other"), file).unwrap();
        }),
        ("emptied for a moment", |_, file| {
            fs::write(file, "").unwrap();
            sleep(Duration::from_millis(50));
            write(file);
        }),
    ];

    /// What changes nothing.
    const NOTHING: [(&str, Save); 5] = [
        ("touched", |_, file| {
            let open = fs::File::options().append(true).open(file).unwrap();
            open.set_modified(std::time::SystemTime::now()).unwrap();
        }),
        ("the same written again", |_, file| {
            fs::write(file, OLD).unwrap();
        }),
        ("the same renamed over", |folder, file| {
            fs::write(folder.join("same"), OLD).unwrap();
            fs::rename(folder.join("same"), file).unwrap();
        }),
        ("gone", |_, file| fs::remove_file(file).unwrap()),
        ("others in the folder", |folder, _| {
            for number in 0..30 {
                fs::write(folder.join(format!("{number}.log")), NEW).unwrap();
                sleep(Duration::from_millis(5));
            }
        }),
    ];

    /// A file that holds [`OLD`], watched.
    fn watched(folder: &Path) -> (PathBuf, Watch, Receiver<Request>) {
        let file = folder.join("c.toml");
        fs::write(&file, OLD).unwrap();
        let (sender, requests) = sync_channel(8);
        let watch = watch(&file, Known::of(&file), sender);
        // The system's word counts from here on; what it says too late is found by the poll.
        sleep(Duration::from_millis(100));
        (file, watch, requests)
    }

    fn in_turn(ways: &'static [(&str, Save)], check: fn(&str, &Path, &Receiver<Request>)) {
        std::thread::scope(|scope| {
            for (name, save) in ways {
                scope.spawn(move || {
                    let folder = tempfile::tempdir().unwrap();
                    let (file, _watch, requests) = watched(folder.path());
                    save(folder.path(), &file);
                    check(name, &file, &requests);
                });
            }
        });
    }

    #[test]
    fn every_way_of_saving_is_one_reload_of_the_whole_file() {
        in_turn(&WAYS, |name, file, requests| {
            let begin = Instant::now();
            let request = requests.recv_timeout(PATIENCE);
            let request = request.unwrap_or_else(|_| panic!("{name}: not noticed"));
            assert_eq!(request.command, Command::Reload, "{name}");
            assert!(begin.elapsed() >= DEBOUNCE / 2, "{name}: it did not wait");
            assert_eq!(contents(file).as_deref(), Some(NEW.as_bytes()), "{name}");
            assert!(requests.recv_timeout(QUIET).is_err(), "{name}: told twice");
        });
    }

    #[test]
    fn what_changes_nothing_is_no_reload() {
        in_turn(&NOTHING, |name, _, requests| {
            assert!(requests.recv_timeout(QUIET).is_err(), "{name}");
        });
    }

    #[test]
    fn every_change_is_told_also_after_the_file_was_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _watch, requests) = watched(folder.path());
        for text in ["a = 1\n", "a = 2\n", "a = 1\n"] {
            fs::remove_file(&file).unwrap();
            sleep(Duration::from_millis(50));
            fs::write(&file, text).unwrap();
            let request = requests.recv_timeout(PATIENCE).expect("a reload");
            assert_eq!(request.command, Command::Reload);
        }
    }
}
