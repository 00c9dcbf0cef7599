//! The book of runs: what the folder of runs tells of each, to be searched, sorted, grouped and compared.
//!
//! [`read`] looks through the folders; the screen of runs and the commands `runs` and `compare` show the same entries.
//! Which ones is said in the language of [`query`]; what several runs of one configuration say together is in [`stats`].

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use engine::checkpoint::{folder_name, read_trainer};
use engine::link::{Body, ConfigValue};
use engine::run_folder::index::{LineKind, Table};
use engine::run_folder::{Index, Meta, RunError, RunRecord, State, Summary, list, tree};

pub mod course;
pub mod family;
#[cfg(test)]
pub mod fixture;
pub mod query;
pub mod samples;
pub mod stats;
#[cfg(test)]
mod tests;

use query::Query;

/// How long what was read of a run that goes on is good enough.
const FRESH: Duration = Duration::from_secs(10);

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// How it stands.
    pub summary: Summary,
    /// What people say of it.
    pub meta: Meta,
    /// What its record tells.
    pub figures: Figures,
    /// Seconds since its record last grew.
    pub age: Option<f64>,
}

/// What takes more than a look at the ends of a run's record: its index, and those of its lines that tell of changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The configuration in force at the end.
    pub config: Vec<ConfigValue>,
    /// The lowest validation loss and its step.
    pub best: Option<(f64, u64)>,
    /// Bits per byte of that evaluation.
    pub bits_per_byte: Option<f64>,
    /// Seconds spent training, pauses left out, those of a fork's past included where they are known.
    pub seconds: f64,
    /// Whether its engine last said that it stands still.
    pub is_paused: bool,
}

impl Figures {
    /// Reads a run's index and what of its record is neither a step nor a measurement. A run that cannot be read tells
    /// nothing.
    pub fn read(run: &Path) -> Self {
        let mut figures = Self {
            seconds: seconds_before(run),
            ..Self::default()
        };
        let Ok(index) = Index::open(run) else {
            return figures;
        };
        if let (Some(last), Some(seconds)) = (
            index.len(Table::Steps).checked_sub(1),
            index.column("seconds"),
        ) {
            figures.seconds += f64::from_bits(seconds.count(last));
        }
        for eval in index.evals() {
            let better = figures.best.is_none_or(|(best, _)| eval.loss < best);
            if better && eval.loss.is_finite() {
                figures.best = Some((eval.loss, eval.step));
                figures.bits_per_byte = eval.bits_per_byte;
            }
        }
        let mut lines = index.lines();
        lines.retain(|line| line.kind == LineKind::Other);
        for event in index.events(&lines).unwrap_or_default() {
            figures.take(event.body);
        }
        figures
    }

    fn take(&mut self, body: Body) {
        self.is_paused = stands_still(&body).unwrap_or(self.is_paused);
        match body {
            Body::Started(started) => self.config = started.config,
            Body::ConfigApplied { changes, .. } => {
                for change in changes {
                    let known = self.config.iter_mut().find(|value| value.key == change.key);
                    if let Some(value) = known {
                        value.value = change.to;
                    }
                }
            }
            _ => {}
        }
    }

    /// A configuration key's value as a text, without quotation marks.
    pub fn value(&self, key: &str) -> Option<String> {
        let found = self.config.iter().find(|value| value.key == key)?;
        let bare = found.value.strip_prefix('"');
        let bare = bare.and_then(|rest| rest.strip_suffix('"'));
        Some(bare.unwrap_or(&found.value).to_owned())
    }
}

/// Whether training stands still from this event on, where the event decides it.
pub fn stands_still(body: &Body) -> Option<bool> {
    match body {
        Body::Paused { .. } => Some(true),
        Body::Started(_)
        | Body::ResumedFromPause { .. }
        | Body::Finished { .. }
        | Body::Failed { .. } => Some(false),
        _ => None,
    }
}

/// Seconds that a fork's past took, as its first checkpoint says; 0 where there is none any more.
pub fn seconds_before(run: &Path) -> f64 {
    let parent = RunRecord::read(run).and_then(|record| record.parent);
    let first = parent.map(|parent| run.join("checkpoints").join(folder_name(parent.step)));
    let state = first.and_then(|first| read_trainer(&first).ok());
    state.map_or(0.0, |state| state.seconds)
}

impl Entry {
    /// The word for how it stands.
    pub fn status(&self) -> &'static str {
        status(&self.summary.state, self.figures.is_paused)
    }

    /// The parent's name, where it is a fork.
    pub fn parent(&self) -> Option<&str> {
        let parent = self.summary.parent.as_deref()?;
        Some(parent.rsplit_once('@').map_or(parent, |(name, _)| name))
    }

    /// What it has under a key of [`query::FIGURES`] or of the configuration: one text, several, or none.
    pub fn values(&self, key: &str) -> Vec<String> {
        let (summary, figures) = (&self.summary, &self.figures);
        let number = |value: Option<f64>| value.map(|value| value.to_string());
        let one = match key {
            "name" => Some(summary.name.clone()),
            "status" => Some(self.status().to_owned()),
            "step" => Some(summary.step.to_string()),
            "loss" => number(summary.loss),
            "val_loss" => number(figures.best.map(|best| best.0)),
            "bits_per_byte" => number(figures.bits_per_byte),
            "tokens" => Some(summary.tokens.to_string()),
            "seconds" => Some(figures.seconds.to_string()),
            "tag" => return self.meta.tags.iter().cloned().collect(),
            "note" => Some(self.meta.note.clone()).filter(|note| !note.is_empty()),
            "parent" => summary.parent.clone(),
            "created" => Some(summary.created.clone()).filter(|time| !time.is_empty()),
            "attempt" => Some(summary.attempt.to_string()),
            key => figures.value(key),
        };
        one.into_iter().collect()
    }
}

/// The word for how a run stands, whose engine last said that it `is_paused` or not.
pub fn status(state: &State, is_paused: bool) -> &'static str {
    match state {
        State::Running if is_paused => "paused",
        State::Running => "running",
        State::Finished => "finished",
        State::Stopped => "stopped",
        State::Failed => "failed",
        State::Interrupted => "interrupted",
        State::New => "new",
    }
}

/// What was read of records before, so that only what has grown is read again.
#[derive(Debug, Default)]
pub struct Known {
    figures: HashMap<PathBuf, Remembered>,
}

#[derive(Debug)]
struct Remembered {
    length: u64,
    read: SystemTime,
    figures: Figures,
}

/// Looks through the folder of runs; the newest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn read(runs: &Path, known: &mut Known) -> Result<Vec<Entry>, RunError> {
    let entries = list(runs)?.into_iter();
    Ok(entries.map(|summary| known.entry(summary)).collect())
}

impl Known {
    /// The entry of a run.
    pub fn entry(&mut self, summary: Summary) -> Entry {
        let run = summary.path.clone();
        let record = fs::metadata(run.join("events.jsonl"));
        let length = record.as_ref().map_or(0, fs::Metadata::len);
        let changed = record.and_then(|record| record.modified()).ok();
        let now = SystemTime::now();
        let fresh = self.figures.get(&run).is_some_and(|old| {
            let age = now.duration_since(old.read).unwrap_or_default();
            old.length == length || (summary.state == State::Running && age < FRESH)
        });
        if !fresh {
            let figures = Figures::read(&run);
            self.figures.insert(
                run.clone(),
                Remembered {
                    length,
                    read: now,
                    figures,
                },
            );
        }
        Entry {
            meta: Meta::read(&run),
            figures: self.figures[&run].figures.clone(),
            age: changed
                .and_then(|time| now.duration_since(time).ok())
                .map(|age| age.as_secs_f64()),
            summary,
        }
    }
}

/// An order of runs: by a key of [`query::FIGURES`] or of the configuration. Runs that lack it come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The key.
    pub key: String,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl Sort {
    /// Reads `KEY`, or `-KEY` for the greatest first.
    ///
    /// # Errors
    /// If there is no such key; the nearest known one is named.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, descending) = match text.strip_prefix('-') {
            Some(key) => (key, true),
            None => (text, false),
        };
        query::known(key)?;
        Ok(Self {
            key: key.to_owned(),
            descending,
        })
    }

    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        let value = |entry: &Entry| entry.values(&self.key).into_iter().next();
        match (value(a), value(b)) {
            (Some(a), Some(b)) => {
                let order = match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(a), Ok(b)) => a.total_cmp(&b),
                    _ => a.cmp(&b),
                };
                if self.descending {
                    order.reverse()
                } else {
                    order
                }
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

/// The runs that are shown, each with its depth: those for which `query` holds, in the order of `sort` (as they are
/// without), forks below their parents if `as_tree`.
pub fn arrange(
    entries: &[Entry],
    query: &Query,
    sort: Option<&Sort>,
    as_tree: bool,
) -> Vec<(usize, usize)> {
    let mut shown: Vec<usize> = (0..entries.len())
        .filter(|index| query.holds(&entries[*index]))
        .collect();
    if let Some(sort) = sort {
        shown.sort_by(|a, b| sort.compare(&entries[*a], &entries[*b]));
    }
    if !as_tree {
        return shown.into_iter().map(|index| (index, 0)).collect();
    }
    let named: Vec<(&str, Option<&str>)> = shown
        .iter()
        .map(|index| &entries[*index])
        .map(|entry| (entry.summary.name.as_str(), entry.parent()))
        .collect();
    let order = tree(&named).into_iter();
    order.map(|(row, depth)| (shown[row], depth)).collect()
}

/// The keys in which configurations differ, in their order, with the value in each.
pub fn differences<'a>(configs: &[&'a [ConfigValue]]) -> Vec<(&'a str, Vec<Option<&'a str>>)> {
    let mut keys: Vec<&str> = Vec::new();
    for value in configs.iter().flat_map(|config| *config) {
        if !keys.contains(&value.key.as_str()) {
            keys.push(&value.key);
        }
    }
    let value = |config: &&'a [ConfigValue], key: &str| {
        let found = config.iter().find(|value| value.key == key)?;
        Some(found.value.as_str())
    };
    keys.into_iter()
        .filter(|key| *key != "run.name")
        .map(|key| {
            let values = configs.iter().map(|config| value(config, key));
            (key, values.collect())
        })
        .filter(|(_, values): &(&str, Vec<_>)| values.iter().any(|value| *value != values[0]))
        .collect()
}
