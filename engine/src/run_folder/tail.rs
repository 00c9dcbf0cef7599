//! Following a run's record while somebody else writes it: for readers in other processes, on other machines, and of
//! runs that are dead.
//!
//! Nothing but the files is needed: `events.jsonl` is read by whole lines, and whether more may come is told by the lock
//! that a run's process holds. A last line without its end is read again later, from its beginning: a process that was
//! killed leaves half a line, which the next attempt cuts off. Asking a running engine for something is
//! [`crate::link::socket`].

use super::lock::Lock;
use super::record::host;
use super::{EVENTS, LOCK, RunError, RunRecord};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Pause after the first look that found nothing; it doubles with each further one.
const SHORTEST: Duration = Duration::from_millis(20);
/// Longest pause between two looks.
const LONGEST: Duration = Duration::from_millis(200);
/// Bytes that are read at first.
const BLOCK: usize = 1 << 16;
/// A longer line is no event.
const MAX_LINE: usize = 16 << 20;
/// A run of another machine, whose lock may not be seen from here, is taken for dead if its record stood still for this
/// long.
const SILENCE: Duration = Duration::from_mins(10);

/// Who has a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process that holds the run's lock, with its id if that can be told.
    Process(Option<u32>),
    /// Perhaps a process of this machine: the lock of another machine is not seen over every network disk.
    Elsewhere(String),
    /// Nobody: the run has ended, or its process died.
    Nobody,
}

/// Who has the run in this folder.
pub fn holder(run: &Path) -> Holder {
    let (held, process) = Lock::holder(&run.join(LOCK));
    if held {
        return Holder::Process(process);
    }
    let other = RunRecord::read(run)
        .map(|record| record.host)
        .filter(|name| !name.is_empty() && *name != host());
    let changed = fs::metadata(run.join(EVENTS)).and_then(|found| found.modified());
    // A clock that runs behind the other machine's gives no age: the change is recent.
    let recent = changed.is_ok_and(|time| time.elapsed().unwrap_or_default() < SILENCE);
    match other {
        Some(name) if recent => Holder::Elsewhere(name),
        _ => Holder::Nobody,
    }
}

/// Whether a run's record is no longer in its folder, as the folder was moved or deleted. Where that cannot be told, as on a
/// network disk that does not answer, it is not.
pub fn is_gone(run: &Path) -> bool {
    matches!(run.join(EVENTS).try_exists(), Ok(false))
}

/// What [`Tail::wait`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its line feed.
    Line(String),
    /// Nothing in this time; more may come.
    Quiet,
    /// Nothing more will come: all is read, and nobody has the run.
    Over,
}

/// A reader that stays at the end of a growing record.
#[derive(Debug)]
pub struct Tail {
    run: PathBuf,
    file: File,
    /// Where `block` begins in the file.
    offset: u64,
    block: Vec<u8>,
    /// Bytes of `block` that were handed out.
    given: usize,
    /// Whether the line that begins at `offset` is too long to be one.
    overlong: bool,
    pause: Duration,
    /// Whether the last line says that the run has ended.
    ended: bool,
    dead: bool,
}

impl Tail {
    /// Opens a run's record at its beginning.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        let path = run.join(EVENTS);
        let file = File::open(&path).map_err(|error| RunError::disk(&path, "open", error))?;
        Ok(Self {
            run: run.to_owned(),
            file,
            offset: 0,
            block: Vec::new(),
            given: 0,
            overlong: false,
            pause: SHORTEST,
            ended: false,
            dead: false,
        })
    }

    /// Opens a run's record at byte `position`, where a line begins. `ended` says whether the line before it tells the end of
    /// the run.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_at(run: &Path, position: u64, ended: bool) -> Result<Self, RunError> {
        Ok(Self {
            offset: position,
            ended,
            ..Self::open(run)?
        })
    }

    /// Opens a run's record behind what is written so far.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn behind(run: &Path) -> Result<Self, RunError> {
        let mut tail = Self::open(run)?;
        let path = run.join(EVENTS);
        let fault = |error| RunError::disk(&path, "read", error);
        loop {
            tail.offset = tail.file.seek(SeekFrom::End(0)).map_err(fault)?;
            let Some(before) = tail.offset.checked_sub(1) else {
                return Ok(tail);
            };
            tail.file.seek(SeekFrom::Start(before)).map_err(fault)?;
            let mut last = [0];
            // Nothing there: the half of a line that found no room on the disk was cut off meanwhile.
            if tail.file.read(&mut last).map_err(fault)? == 1 {
                // A line that is being written now begins before what is asked from now on.
                tail.overlong = last != *b"\n";
                return Ok(tail);
            }
        }
    }

    /// Whether the last line that was handed out says that the run has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next whole line, if there is one already.
    pub fn poll(&mut self) -> Option<String> {
        loop {
            let rest = &self.block[self.given..];
            if let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..length]).into_owned();
                self.given += length + 1;
                self.pause = SHORTEST;
                if std::mem::take(&mut self.overlong) {
                    continue;
                }
                // The writer puts the kind first.
                let ends = ["{\"event\":\"finished\"", "{\"event\":\"failed\""];
                self.ended = ends.iter().any(|end| line.starts_with(end));
                return Some(line);
            }
            // What cannot be read now can perhaps be read later; a folder that is gone has no lock either.
            if !self.refill().unwrap_or(false) {
                return None;
            }
        }
    }

    /// Reads on behind the lines that were handed out; whether it is worth another look for a whole line.
    fn refill(&mut self) -> io::Result<bool> {
        self.offset += self.given as u64;
        self.given = 0;
        self.block.clear();
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut room = BLOCK;
        loop {
            let wanted = (room - self.block.len()) as u64;
            (&mut self.file).take(wanted).read_to_end(&mut self.block)?;
            if self.block.contains(&b'\n') {
                return Ok(true);
            }
            if self.block.len() < room {
                self.block.clear();
                return Ok(false);
            }
            if room == MAX_LINE {
                self.overlong = true;
                self.offset += room as u64;
                self.block.clear();
                return Ok(true);
            }
            room = MAX_LINE.min(4 * room);
        }
    }

    /// The next line, waiting for it at most so long: looks every 20 to 200 ms, the more rarely the quieter it is.
    pub fn wait(&mut self, limit: Duration) -> Next {
        let begin = Instant::now();
        loop {
            if let Some(line) = self.poll() {
                return Next::Line(line);
            }
            if self.dead {
                return Next::Over;
            }
            let left = limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Next::Quiet;
            }
            if self.pause == LONGEST {
                self.dead = match holder(&self.run) {
                    Holder::Process(_) => false,
                    // Its own word is believed; without it nobody knows.
                    Holder::Elsewhere(_) => self.ended,
                    Holder::Nobody => true,
                };
                if self.dead {
                    // One more look: the last lines were written before the lock was given back.
                    continue;
                }
            }
            sleep(self.pause.min(left));
            self.pause = (2 * self.pause).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NameFrom, Origin, RunFolder};
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn folder() -> (tempfile::TempDir, RunFolder) {
        let runs = tempfile::tempdir().unwrap();
        let folder =
            RunFolder::create(runs.path(), "r", NameFrom::Flag, &Origin::default()).unwrap();
        (runs, folder)
    }

    fn record(folder: &RunFolder) -> File {
        let path = folder.path().join(EVENTS);
        OpenOptions::new().append(true).open(path).unwrap()
    }

    #[test]
    fn only_whole_lines_are_handed_out_however_they_are_written() {
        let (_runs, folder) = folder();
        let mut file = record(&folder);
        let mut tail = Tail::open(folder.path()).unwrap();
        let text = "one\n\ntwo and \u{4e2d}\nthree\n";
        let mut seen = Vec::new();
        for byte in text.bytes() {
            file.write_all(&[byte]).unwrap();
            seen.extend(tail.poll());
        }
        assert_eq!(seen, ["one", "", "two and \u{4e2d}", "three"]);
        assert_eq!(tail.poll(), None);
    }

    #[test]
    fn half_a_line_that_is_cut_off_and_written_anew_leaves_no_trace() {
        let (_runs, folder) = folder();
        let mut file = record(&folder);
        let mut tail = Tail::open(folder.path()).unwrap();
        file.write_all(b"whole\nhalf of a li").unwrap();
        assert_eq!(tail.poll().as_deref(), Some("whole"));
        assert_eq!(tail.poll(), None);
        file.set_len(6).unwrap();
        file.write_all(b"another and longer line\n").unwrap();
        assert_eq!(tail.poll().as_deref(), Some("another and longer line"));
    }

    #[test]
    fn lines_longer_than_a_block_are_read_and_endless_ones_skipped() {
        let (_runs, folder) = folder();
        let mut file = record(&folder);
        let mut tail = Tail::open(folder.path()).unwrap();
        let long = "x".repeat(5 * BLOCK + 1);
        let endless = "y".repeat(2 * MAX_LINE + 1);
        file.write_all(format!("{long}\n{endless}\nshort\n").as_bytes())
            .unwrap();
        assert!(tail.poll().as_deref() == Some(&*long));
        assert_eq!(tail.poll().as_deref(), Some("short"));
        assert_eq!(tail.poll(), None);
    }

    #[test]
    fn a_reader_that_begins_at_the_end_sees_nothing_older() {
        let (_runs, folder) = folder();
        let mut file = record(&folder);
        file.write_all(b"old\nbeing writ").unwrap();
        let mut tail = Tail::behind(folder.path()).unwrap();
        file.write_all(b"ten\nnew\n").unwrap();
        assert_eq!(tail.poll().as_deref(), Some("new"));
        let mut tail = Tail::behind(folder.path()).unwrap();
        file.write_all(b"newer\n").unwrap();
        assert_eq!(tail.poll().as_deref(), Some("newer"));
    }

    #[test]
    fn it_is_over_once_nobody_has_the_run_and_all_is_read() {
        let (_runs, folder) = folder();
        let mut tail = Tail::open(folder.path()).unwrap();
        let moment = Duration::from_millis(450);
        assert_eq!(tail.wait(moment), Next::Quiet);
        assert_eq!(
            holder(folder.path()),
            Holder::Process(Some(std::process::id()))
        );
        let mut file = record(&folder);
        let path = folder.path().to_owned();
        assert!(!is_gone(&path));
        file.write_all(b"last\n").unwrap();
        drop(folder);
        assert_eq!(holder(&path), Holder::Nobody);
        assert_eq!(tail.wait(moment), Next::Line("last".to_owned()));
        let patience = Duration::from_secs(20);
        assert_eq!(tail.wait(patience), Next::Over);
        assert_eq!(tail.wait(patience), Next::Over);
        assert!(!tail.has_ended(), "its process died");
    }

    #[test]
    fn a_record_whose_folder_was_moved_away_is_over_and_gone() {
        let (runs, folder) = folder();
        let path = folder.path().to_owned();
        let mut tail = Tail::open(&path).unwrap();
        record(&folder)
            .write_all(b"{\"event\":\"finished\"}\n")
            .unwrap();
        fs::rename(&path, runs.path().join("elsewhere")).unwrap();
        let patience = Duration::from_secs(20);
        assert!(matches!(tail.wait(patience), Next::Line(_)));
        assert!(tail.has_ended());
        assert_eq!(tail.wait(patience), Next::Over);
        assert!(is_gone(&path));
    }

    #[test]
    fn a_run_of_another_machine_is_not_dead_for_want_of_a_lock() {
        let (_runs, folder) = folder();
        let path = folder.path().to_owned();
        drop(folder);
        let mut record = RunRecord::read(&path).unwrap();
        record.host = "another-machine".to_owned();
        fs::write(path.join("run.json"), serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(
            holder(&path),
            Holder::Elsewhere("another-machine".to_owned())
        );
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(tail.wait(Duration::from_millis(450)), Next::Quiet);
        let mut file = File::options()
            .append(true)
            .open(path.join(EVENTS))
            .unwrap();
        file.write_all(b"{\"event\":\"finished\"}\n").unwrap();
        let patience = Duration::from_secs(20);
        assert!(matches!(tail.wait(patience), Next::Line(_)));
        assert_eq!(tail.wait(patience), Next::Over, "it has said so");
        let long_ago = std::time::SystemTime::now() - 2 * SILENCE;
        file.set_modified(long_ago).unwrap();
        assert_eq!(holder(&path), Holder::Nobody);
    }

    #[test]
    fn a_line_that_is_cut_off_again_stops_nobody() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(EVENTS);
        fs::write(&path, "one\n").unwrap();
        let full = AtomicBool::new(true);
        // A writer whose disk has room for half a line only.
        let writer = || {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            while full.load(Ordering::Relaxed) {
                file.write_all(b"half").unwrap();
                file.set_len(4).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(writer);
            let failed = (0..5000).filter(|_| Tail::behind(place.path()).is_err());
            let failed = failed.count();
            full.store(false, Ordering::Relaxed);
            assert_eq!(failed, 0, "of 5000");
        });
    }
}
