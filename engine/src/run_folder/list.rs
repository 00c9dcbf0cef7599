//! The runs of a folder, each in a line: for `zerollm runs`.

use super::lock::Lock;
use super::name::{is_run, name_of};
use super::{EVENTS, LOCK, RunError, RunRecord};
use crate::checkpoint;
use crate::link::{Body, Event};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A process has it.
    Running,
    /// It ended in good order.
    Finished,
    /// It was stopped, with a checkpoint where one was asked for.
    Stopped,
    /// It ended because of an error or a loss that was not finite.
    Failed,
    /// Its process ended without a word.
    Interrupted,
    /// Nothing has happened yet.
    New,
}

/// A run in a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its folder. In JSON, what of a name is no text is replaced: a folder of somebody else's must not hide the others.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// How it stands.
    pub state: State,
    /// The process that has it.
    pub process: Option<u32>,
    /// What run.json says of what is trained; empty where it is not whole.
    pub what: String,
    /// When it began.
    pub created: String,
    /// When its last attempt began.
    pub started: String,
    /// Number of the last attempt.
    pub attempt: u32,
    /// Trained numbers.
    pub parameters: Option<u64>,
    /// Last step done.
    pub step: u64,
    /// Where training ends.
    pub max_steps: Option<u64>,
    /// Tokens trained on.
    pub tokens: u64,
    /// Loss of the last step.
    #[serde(serialize_with = "finite")]
    pub loss: Option<f64>,
    /// Loss of the last evaluation.
    #[serde(serialize_with = "finite")]
    pub validation_loss: Option<f64>,
    /// Steps of the checkpoints.
    pub checkpoints: Vec<u64>,
    /// Step of the best checkpoint.
    pub best: Option<u64>,
    /// `name@step` of the run that this one was forked from.
    pub parent: Option<String>,
}

#[expect(clippy::ref_option, reason = "the form that serde asks for")]
fn finite<S: serde::Serializer>(x: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match x {
        Some(x) => crate::link::number::serialize(x, serializer),
        None => serializer.serialize_none(),
    }
}

fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Summaries of all runs, the newest first. None where there is no folder.
///
/// # Errors
/// If the folder cannot be read; a run that cannot be read is shown with what is known of it.
pub fn list(runs: &Path) -> Result<Vec<Summary>, RunError> {
    let mut found: Vec<(i128, Summary)> = folders(runs)?
        .iter()
        .map(|path| (age(path), summary(path)))
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.name.cmp(&a.1.name)));
    Ok(found.into_iter().map(|(_, summary)| summary).collect())
}

/// The run whose last attempt began last.
pub(super) fn newest(runs: &Path) -> Result<Option<PathBuf>, RunError> {
    Ok(folders(runs)?
        .into_iter()
        .max_by_key(|path| (age(path), path.clone())))
}

fn folders(runs: &Path) -> Result<Vec<PathBuf>, RunError> {
    let fault = |error| RunError::disk(runs, "read the folder", error);
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        if path.is_dir() && is_run(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// When a run's last attempt began, in nanoseconds since 1970: as run.json says (a copy of a folder keeps that), else as
/// the folder's own time says.
fn age(path: &Path) -> i128 {
    let said = RunRecord::read(path)
        .and_then(|record| OffsetDateTime::parse(&record.started, &Rfc3339).ok());
    if let Some(time) = said {
        return time.unix_timestamp_nanos();
    }
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = changed.map(|time| time.duration_since(UNIX_EPOCH));
    since.map_or(0, |since| since.map_or(0, |since| since.as_nanos() as i128))
}

/// What can be said of a run quickly: from its record, the first line and the end of its events, and its folders' names.
pub fn summary(path: &Path) -> Summary {
    let record = RunRecord::read(path).unwrap_or_default();
    let (running, process) = Lock::holder(&path.join(LOCK));
    let checkpoints = checkpoint::list(&path.join("checkpoints")).unwrap_or_default();
    let mut summary = Summary {
        name: name_of(path),
        path: path.to_owned(),
        state: State::New,
        process,
        what: record.what,
        created: record.created,
        started: record.started,
        attempt: record.attempt,
        parameters: None,
        step: 0,
        max_steps: None,
        tokens: 0,
        loss: None,
        validation_loss: None,
        checkpoints: checkpoints.into_iter().map(|(step, _)| step).collect(),
        best: checkpoint::best(path),
        parent: record
            .parent
            .map(|parent| format!("{}@{}", parent.run, parent.step)),
    };
    for event in ends(&path.join(EVENTS)).unwrap_or_default() {
        summary.apply(event.body);
    }
    if running {
        summary.state = State::Running;
    }
    summary
}

impl Summary {
    fn apply(&mut self, body: Body) {
        match body {
            Body::Started(started) => {
                self.state = State::Interrupted;
                self.parameters = Some(started.parameters);
                self.max_steps = Some(started.max_steps).filter(|&steps| steps > 0);
                self.attempt = self.attempt.max(started.attempt);
                self.step = started.step;
            }
            Body::Step(step) => {
                self.state = State::Interrupted;
                (self.step, self.tokens) = (step.step, step.tokens);
                self.loss = Some(step.loss);
            }
            Body::Eval(eval) => self.validation_loss = Some(eval.loss),
            Body::Failed { .. } => self.state = State::Failed,
            Body::Finished { reason, .. } => {
                self.state = match reason.as_str() {
                    "stopped" | "preempted" => State::Stopped,
                    "diverged" => State::Failed,
                    _ => State::Finished,
                };
            }
            _ => {}
        }
    }
}

/// The first event and the last ones, up to a megabyte: enough for the last step and evaluation, and quick for any run.
fn ends(path: &Path) -> io::Result<Vec<Event>> {
    const TAIL: u64 = 1 << 20;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut events = Vec::new();
    if length > TAIL {
        (&mut reader).take(TAIL).read_until(b'\n', &mut text)?;
        events.extend(serde_json::from_slice(&text));
        text.clear();
        reader.seek(SeekFrom::Start(length - TAIL))?;
    }
    reader.read_to_end(&mut text)?;
    // A line cut at either end is no event.
    let lines = text.split(|&byte| byte == b'\n');
    events.extend(lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok()));
    Ok(events)
}
