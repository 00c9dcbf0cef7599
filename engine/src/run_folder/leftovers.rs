//! The folder of runs before and after others: whether it can be written, and what dead processes left in it.
//!
//! A run's folder is filled under `.tmp-NAME-PROCESS` and renamed ([`super::RunFolder::create_with`]); a process that is
//! killed in between leaves it behind. [`sweep`] removes those, and only those: never one whose lock is held, or whose
//! process lives.

use super::{LOCK, Lock, RunError};
use crate::checkpoint::TEMPORARY;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How old a folder without a lock must be: between its making and its lock lies a moment.
const UNLOCKED: Duration = Duration::from_mins(1);

/// Removes the unfinished folders of dead processes. What cannot be read or removed is left: it is in nobody's way.
pub(super) fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(process_of) else {
            continue;
        };
        let path = entry.path();
        if path.is_dir() && is_dead(&path, process) {
            drop(fs::remove_dir_all(path));
        }
    }
}

/// The process that a folder's name says, if it is the name of an unfinished run.
fn process_of(name: &str) -> Option<u32> {
    let (run, process) = name.strip_prefix(TEMPORARY)?.rsplit_once('-')?;
    let process = process.parse().ok()?;
    (!run.is_empty()).then_some(process)
}

fn is_dead(path: &Path, process: u32) -> bool {
    if process == std::process::id() || lives(process) {
        return false;
    }
    let lock = path.join(LOCK);
    if lock.is_file() {
        return !Lock::holder(&lock).0;
    }
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNLOCKED))
}

/// Whether a process of this number is on this machine, where the system tells; where it does not, the lock decides.
fn lives(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Whether a run's folder could be made in `runs`: told before a tokenizer is trained for minutes. Nothing is left there.
///
/// # Errors
/// [`RunError::Unwritable`] if not.
pub fn check_writable(runs: &Path) -> Result<(), RunError> {
    let unwritable = |source| RunError::place(runs, source);
    // The nearest folder above that is there is where the first new one would be made.
    let mut there = runs;
    loop {
        match there.symlink_metadata() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && there != Path::new(".") => {}
            Err(error) => return Err(unwritable(error)),
        }
        there = match there.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
    }
    let probe = there.join(format!("{TEMPORARY}probe-{}", std::process::id()));
    fs::create_dir(&probe).map_err(unwritable)?;
    fs::remove_dir(&probe).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    /// No process has this number: Linux gives at most 2^22.
    const NOBODY: u32 = 99_999_999;

    #[test]
    fn only_what_dead_processes_left_is_removed() {
        let runs = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = runs.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        let dead = make(&format!(".tmp-a-b-{NOBODY}"));
        fs::write(dead.join(LOCK), format!("{NOBODY}\n")).unwrap();
        let never_locked = make(&format!(".tmp-old-{NOBODY}"));
        fs::File::open(&never_locked)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        let just_made = make(&format!(".tmp-new-{NOBODY}"));
        let own = make(&format!(".tmp-own-{}", std::process::id()));
        let held = make(&format!(".tmp-held-{}", NOBODY - 1));
        let lock = Lock::take(&held.join(LOCK), "held").unwrap();
        let alive = make(".tmp-init-1");
        let (other, run) = (make(".tmp-nothing"), make(&format!("run-{NOBODY}")));
        sweep(runs.path());
        for (path, stays) in [
            (&dead, false),
            (&never_locked, false),
            (&just_made, true),
            (&own, true),
            (&held, true),
            (&other, true),
            (&run, true),
        ] {
            assert_eq!(path.exists(), stays, "{}", path.display());
        }
        if Path::new("/proc/1").exists() {
            assert!(alive.exists());
        }
        drop(lock);
        sweep(runs.path());
        assert!(!held.exists());
    }

    #[test]
    fn a_place_is_tried_without_leaving_anything() {
        let folder = tempfile::tempdir().unwrap();
        for place in ["", "new", "new/deeper/runs"] {
            check_writable(&folder.path().join(place)).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{place}");
        }
        fs::write(folder.path().join("file"), "").unwrap();
        for place in ["file", "file/runs"] {
            let refused = check_writable(&folder.path().join(place)).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{place}: {refused}");
            assert!(refused.to_string().contains("--runs"), "{refused}");
        }
    }
}
