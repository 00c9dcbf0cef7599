//! The runs of a folder, each in a line: for `zerollm runs`.

use super::lock::Lock;
use super::name::{is_run, name_of};
use super::{EVENTS, Index, LOCK, RunError, RunRecord, config_path, config_versions};
use crate::checkpoint::{self, folder_name, read_trainer};
use crate::link::number::optional;
use crate::link::{Body, Change, Event};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml_edit::Document;

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
    /// Last step done that counts: after going back, that of the checkpoint; of a fork that has made none, its parent's.
    pub step: u64,
    /// Where training ends, as the configuration in force says.
    pub max_steps: Option<u64>,
    /// Tokens trained on until that step.
    pub tokens: u64,
    /// Loss of that step.
    #[serde(serialize_with = "optional::serialize")]
    pub loss: Option<f64>,
    /// Loss of the last evaluation that counts.
    #[serde(serialize_with = "optional::serialize")]
    pub validation_loss: Option<f64>,
    /// Steps of the checkpoints.
    pub checkpoints: Vec<u64>,
    /// Step of the best checkpoint.
    pub best: Option<u64>,
    /// `name@step` of the run that this one was forked from.
    pub parent: Option<String>,
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
/// What these do not tell is looked for where it stands: in the newest configuration, the index, the checkpoint.
pub fn summary(path: &Path) -> Summary {
    let record = RunRecord::read(path).unwrap_or_default();
    let (running, process) = Lock::holder(&path.join(LOCK));
    let checkpoints = checkpoint::list(&path.join("checkpoints")).unwrap_or_default();
    let summary = Summary {
        name: name_of(path),
        path: path.to_owned(),
        state: State::New,
        process,
        what: record.what,
        created: record.created,
        started: record.started,
        attempt: record.attempt,
        parameters: None,
        step: record.parent.as_ref().map_or(0, |parent| parent.step),
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
    let mut fold = Fold {
        summary,
        rows: Vec::new(),
        evals: Vec::new(),
    };
    let Ends { first, last } = ends(&path.join(EVENTS)).unwrap_or_default();
    let is_cut = first.is_some();
    if let Some(first) = first {
        fold.apply(first.body);
    }
    // What changed it may lie between the ends.
    fold.summary.max_steps = configured_end(path).or(fold.summary.max_steps);
    for event in last {
        fold.apply(event.body);
    }
    let mut summary = fold.finish(is_cut);
    if running {
        summary.state = State::Running;
    }
    summary
}

/// `train.max_steps` of the newest configuration in a run's folder.
fn configured_end(run: &Path) -> Option<u64> {
    let newest = *config_versions(run).last()?;
    let text = fs::read_to_string(config_path(run, newest)).ok()?;
    let document = Document::parse(text).ok()?;
    let steps = document.get("train")?.get("max_steps")?.as_integer()?;
    u64::try_from(steps).ok()
}

/// Events on their way into a summary.
struct Fold {
    summary: Summary,
    /// Step, tokens and loss of the steps that were seen and count.
    rows: Vec<(u64, u64, f64)>,
    /// Step and loss of the evaluations that were seen and count.
    evals: Vec<(u64, f64)>,
}

impl Fold {
    fn apply(&mut self, body: Body) {
        let summary = &mut self.summary;
        match body {
            Body::Started(started) => {
                summary.state = State::Interrupted;
                summary.parameters = Some(started.parameters);
                let end = Some(started.max_steps).filter(|&steps| steps > 0);
                summary.max_steps = end.or(summary.max_steps);
                summary.attempt = summary.attempt.max(started.attempt);
                self.go_on_from(started.step);
            }
            Body::Resumed { step, attempt, .. } => {
                summary.attempt = summary.attempt.max(attempt);
                self.go_on_from(step);
            }
            Body::Step(step) => {
                summary.state = State::Interrupted;
                self.go_on_from(step.step);
                self.rows.retain(|row| row.0 < step.step);
                self.rows.push((step.step, step.tokens, step.loss));
            }
            Body::Eval(eval) => self.evals.push((eval.step, eval.loss)),
            Body::ConfigApplied { changes, .. } => {
                let end = changes.iter().find_map(Change::max_steps);
                summary.max_steps = end.or(summary.max_steps);
            }
            Body::Failed { .. } => summary.state = State::Failed,
            Body::Finished {
                step, loss, reason, ..
            } => {
                summary.state = match reason.as_str() {
                    "stopped" | "preempted" => State::Stopped,
                    "diverged" => State::Failed,
                    _ => State::Finished,
                };
                summary.step = step;
                // That of a step whose update was not made is none of a step done.
                summary.loss = Some(loss).filter(|loss| loss.is_finite());
            }
            _ => {}
        }
    }

    /// Training goes on behind `step`: what came after it is superseded.
    fn go_on_from(&mut self, step: u64) {
        self.summary.step = step;
        self.rows.retain(|row| row.0 <= step);
        self.evals.retain(|eval| eval.0 <= step);
    }

    /// The summary. `is_cut` says that not every event was seen: the index knows those that count.
    fn finish(self, is_cut: bool) -> Summary {
        let Self {
            mut summary,
            rows,
            evals,
        } = self;
        let (mut row, mut eval) = (rows.last().copied(), evals.last().map(|eval| eval.1));
        if is_cut
            && (row.is_none() || eval.is_none())
            && let Ok(index) = Index::open(&summary.path)
        {
            let last = index.last_step_event().map(|event| event.body);
            if let (None, Some(Body::Step(step))) = (row, last) {
                summary.step = summary.step.max(step.step);
                row = Some((step.step, step.tokens, step.loss));
            }
            eval = eval.or_else(|| index.evals().last().map(|eval| eval.loss));
        }
        summary.validation_loss = eval;
        match row {
            Some((_, tokens, loss)) => (summary.tokens, summary.loss) = (tokens, Some(loss)),
            // Nothing of its own yet: what it goes on from.
            None if summary.step > 0 => {
                let checkpoints = summary.path.join("checkpoints");
                let state = read_trainer(&checkpoints.join(folder_name(summary.step))).ok();
                if let Some(state) = state {
                    summary.tokens = state.tokens;
                    summary.loss = state.last_loss().or(summary.loss);
                }
            }
            None => {}
        }
        summary
    }
}

/// What of a record is looked at.
#[derive(Default)]
struct Ends {
    /// The first event, where it is not among the last.
    first: Option<Event>,
    last: Vec<Event>,
}

/// The first event and the last ones, up to a megabyte: enough for the last step and evaluation, and quick for any run.
fn ends(path: &Path) -> io::Result<Ends> {
    const TAIL: u64 = 1 << 20;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut first = None;
    if length > TAIL {
        (&mut reader).take(TAIL).read_until(b'\n', &mut text)?;
        first = serde_json::from_slice(&text).ok();
        text.clear();
        reader.seek(SeekFrom::Start(length - TAIL))?;
    }
    reader.read_to_end(&mut text)?;
    // A line cut at either end is no event.
    let lines = text.split(|&byte| byte == b'\n');
    let last = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(Ends {
        first,
        last: last.collect(),
    })
}
