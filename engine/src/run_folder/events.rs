//! events.jsonl: one event a line, written through at once, read tolerantly.
//!
//! A run that is resumed from step S trains the steps after S again; their old lines stay in the file. [`EventReader`]
//! leaves those out: it first looks for the places where an attempt begins, then streams.

use super::{IndexWriter, RunError};
use crate::link::{Body, Event};
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A longer line is no event.
const MAX_LINE: usize = 16 << 20;

/// What an event is appended to: a file, or in tests a disk that fills up.
pub(super) trait Append: Write + Send {
    /// Cuts the file back to a length.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Waits until the contents are on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Append for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Writes events, a line and a `write` call each.
pub struct EventWriter {
    path: PathBuf,
    file: Box<dyn Append>,
    length: u64,
    index: Option<IndexWriter>,
}

impl std::fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWriter")
            .field("path", &self.path)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl EventWriter {
    /// Opens the file at its end. A last line that a killed process did not finish is completed if it is a whole event,
    /// else cut off.
    ///
    /// # Errors
    /// If the file cannot be opened or mended.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let fault = |action| move |error| RunError::disk(path, action, error);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(fault("open"))?;
        let length = mend(&mut file).map_err(fault("mend the last line"))?;
        Ok(Self::on(path, Box::new(file), length))
    }

    pub(super) fn on(path: &Path, file: Box<dyn Append>, length: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            length,
            index: None,
        }
    }

    /// Keeps an index of what is written from here on.
    pub(super) fn keep(&mut self, index: IndexWriter) {
        self.index = Some(index);
    }

    /// Bytes of the file: where the next event's line begins.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends an event and returns its line, without the line feed. After an error the file is as before, and the same
    /// event can be tried again.
    ///
    /// # Errors
    /// [`RunError::DiskFull`] if there is no room, [`RunError::Io`] if the disk refuses otherwise.
    pub fn append(&mut self, event: &Event) -> Result<String, RunError> {
        let mut line = serde_json::to_string(event)
            .map_err(|error| RunError::disk(&self.path, "write", error.into()))?;
        line.push('\n');
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            // A part of the line may be there.
            drop(self.file.cut(self.length));
            return Err(RunError::disk(&self.path, "write", error));
        }
        let start = self.length;
        self.length += line.len() as u64;
        line.pop();
        if let Some(index) = &mut self.index
            && index.take(start, &line, event).is_err()
        {
            // It follows from the record: readers do without, and the next attempt makes it anew.
            self.index = None;
        }
        Ok(line)
    }

    /// Waits until all events are on the disk: before a checkpoint, so that none is newer than the record.
    ///
    /// # Errors
    /// If the disk could not take them.
    pub fn sync(&mut self) -> Result<(), RunError> {
        self.file
            .sync()
            .map_err(|error| RunError::disk(&self.path, "sync", error))
    }
}

/// Makes a file end with a line feed; returns its length.
fn mend(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 1 << 16;
    let length = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    let mut start = length;
    // From the end backward to the last line feed.
    let end_of_whole = loop {
        let Some(at) = tail.iter().rposition(|&byte| byte == b'\n') else {
            if start == 0 {
                break 0;
            }
            let from = start.saturating_sub(STEP);
            let mut piece = vec![0; (start - from) as usize];
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut piece)?;
            piece.append(&mut tail);
            (tail, start) = (piece, from);
            continue;
        };
        break start + at as u64 + 1;
    };
    let rest = &tail[(end_of_whole - start) as usize..];
    if rest.is_empty() {
        return Ok(length);
    }
    if serde_json::from_slice::<Event>(rest).is_ok() {
        file.write_all(b"\n")?;
        return Ok(length + 1);
    }
    file.set_len(end_of_whole)?;
    Ok(end_of_whole)
}

/// Reads the events of a file in order, whatever attempt they are of, and goes on where the file grows.
#[derive(Debug)]
pub struct EventTail {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Where the last returned event's line began.
    start: u64,
    position: u64,
    skipped: u64,
}

impl EventTail {
    /// Opens a file at its beginning.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        Self::open_at(path, 0)
    }

    /// Opens a file at the beginning of a line.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_at(path: &Path, position: u64) -> Result<Self, RunError> {
        let fault = |error| RunError::disk(path, "open", error);
        let mut file = File::open(path).map_err(fault)?;
        file.seek(SeekFrom::Start(position)).map_err(fault)?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, file),
            line: Vec::new(),
            start: position,
            position,
            skipped: 0,
        })
    }

    /// Where the last line that was returned began.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The next event, or `None` at the end of what is written so far: a later call may find more. Lines that are no
    /// event (of a newer program, or damaged) are skipped.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            let line = self.poll_line()?;
            if let Ok(event) = serde_json::from_slice(line) {
                return Some(event);
            }
            self.skipped += 1;
        }
    }

    /// Byte up to which was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Lines that were no event.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next whole line. A line without its end stays in `self.line` until more of it is written.
    pub(super) fn poll_line(&mut self) -> Option<&[u8]> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        loop {
            if self.line.is_empty() {
                self.start = self.position;
            }
            let room = (MAX_LINE - self.line.len()) as u64;
            let read = match (&mut self.reader)
                .take(room)
                .read_until(b'\n', &mut self.line)
            {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            self.position += read as u64;
            if self.line.last() == Some(&b'\n') {
                return Some(&self.line);
            }
            if self.line.len() < MAX_LINE {
                return None;
            }
            self.line.clear();
            self.skipped += 1;
        }
    }
}

/// A place in the file where an attempt takes over.
#[derive(Clone, Copy, Debug)]
struct Takeover {
    /// Where its line begins.
    position: u64,
    /// Last step of before that still counts: the least of this and all later takeovers.
    step: u64,
}

/// The fields that tell a takeover, absent where they are.
#[derive(Deserialize)]
pub(super) struct Head {
    event: String,
    step: Option<u64>,
    attempt: Option<u32>,
}

impl Head {
    /// The last step of before that still counts. `started` of old files does not say its step; the `resumed` that follows
    /// it does.
    pub(super) fn supersedes_after(&self) -> Option<u64> {
        match (self.step, self.attempt) {
            (Some(step), _) => Some(step),
            (None, Some(0 | 1) | None) => Some(0),
            (None, Some(_)) => None,
        }
    }
}

/// The head of a line that begins an attempt.
pub(super) fn takeover(line: &[u8]) -> Option<Head> {
    // Nearly all lines are of these kinds, and the writer puts the kind first.
    for common in ["step", "layers", "eval", "sample"] {
        let rest = line.strip_prefix(b"{\"event\":\"");
        let rest = rest.and_then(|rest| rest.strip_prefix(common.as_bytes()));
        if rest.is_some_and(|rest| rest.first() == Some(&b'"')) {
            return None;
        }
    }
    let head: Head = serde_json::from_slice(line).ok()?;
    matches!(head.event.as_str(), "started" | "resumed").then_some(head)
}

/// Number of the last attempt that a file tells of; 0 where there is no file.
pub(super) fn last_attempt(path: &Path) -> Result<u32, RunError> {
    if !path.exists() {
        return Ok(0);
    }
    let mut tail = EventTail::open(path)?;
    let mut last = 0;
    while let Some(line) = tail.poll_line() {
        let attempt = takeover(line).and_then(|head| head.attempt);
        last = last.max(attempt.unwrap_or(0));
    }
    Ok(last)
}

/// Streams the events of a run. Of a step that was trained twice, what the last attempt measured (steps, layers,
/// evaluations, samples, checkpoints); everything else stays, as the run's history.
#[derive(Debug)]
pub struct EventReader {
    tail: EventTail,
    takeovers: Vec<Takeover>,
}

impl EventReader {
    /// Opens the events of a run's folder.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        let path = run.join(super::EVENTS);
        let mut first = EventTail::open(&path)?;
        let mut takeovers: Vec<Takeover> = Vec::new();
        while let Some(line) = first.poll_line() {
            let Some(head) = takeover(line) else { continue };
            let Some(step) = head.supersedes_after() else {
                continue;
            };
            takeovers.push(Takeover {
                position: first.start,
                step,
            });
        }
        let mut least = u64::MAX;
        for takeover in takeovers.iter_mut().rev() {
            least = least.min(takeover.step);
            takeover.step = least;
        }
        let tail = EventTail::open(&path)?;
        Ok(Self { tail, takeovers })
    }

    /// Lines that were no event.
    pub fn skipped(&self) -> u64 {
        self.tail.skipped()
    }

    fn superseded(&self, event: &Event) -> bool {
        let step = match &event.body {
            Body::Step(step) => step.step,
            Body::Layers(layers) => layers.step,
            Body::Eval(eval) => eval.step,
            Body::Attention(attention) => attention.step,
            Body::Sample { step, .. } | Body::Checkpoint { step, .. } => *step,
            _ => return false,
        };
        let start = self.tail.start;
        let next = self.takeovers.partition_point(|t| t.position <= start);
        self.takeovers.get(next).is_some_and(|t| step > t.step)
    }
}

impl Iterator for EventReader {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.tail.poll()?;
            if !self.superseded(&event) {
                return Some(event);
            }
        }
    }
}
