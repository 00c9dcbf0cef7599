//! `zerollm compare`: runs beside each other; and what the commands about runs read from a folder.

use super::{Failure, RunsFlag, number};
use crate::book::stats::{self, Group};
use crate::book::{Entry, Figures, differences, stands_still, status};
use crate::out::{self, Table};
use crate::plain::Plain;
use crate::text;
use clap::Args;
use engine::link::{Body, ConfigValue, Eval, Started};
use engine::run_folder::index::LineKind;
use engine::run_folder::{Index, Meta, Summary, find, summary};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Flags of `zerollm compare`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Compare runs",
    long_about = "Compare runs: the loss of the last step, the best evaluation, speed, and every configuration key in which \
        they differ.",
    after_help = "Example:\n  zerollm compare demo demo-2\n  zerollm compare a b c --json\n\n\
        JSON: runs (name, step, loss, best_validation_loss, best_validation_step, tokens, tokens_per_second, parameters), \
        differences (key to the value of each run in order, as TOML; null where a run has no such key), groups (runs that \
        differ only in the seed: runs, seeds, last_loss and best_validation_loss with mean, standard_deviation, n), pairs \
        (two groups by the seeds that they share: first, second, metric, mean_difference of second minus first, its 95 % \
        interval, n)."
)]
pub struct Arguments {
    /// Names of runs, or their folders
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    names: Vec<String>,
    #[command(flatten)]
    runs: RunsFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a run's folder tells. Of a step that was trained twice, what the last attempt measured.
pub struct Record {
    /// How it stands.
    pub summary: Summary,
    /// The head of its last attempt.
    pub started: Option<Box<Started>>,
    /// Its steps, as columns.
    pub index: Index,
    /// Its evaluations.
    pub evaluations: Vec<Eval>,
    /// Its checkpoint events.
    pub checkpoints: Vec<Body>,
    /// Its samples.
    pub samples: Vec<Body>,
    /// What went wrong or was changed, a line each.
    pub messages: Vec<String>,
    /// The configuration in force at the end.
    pub config: Vec<ConfigValue>,
    /// Whether its engine last said that it stands still.
    is_paused: bool,
}

impl Record {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// If its events cannot be opened.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let index = Index::open(folder)?;
        let mut lines = index.lines();
        lines.retain(|line| !matches!(line.kind, LineKind::Eval | LineKind::Layers));
        let events = index.events(&lines)?;
        let mut record = Self {
            summary: summary(folder),
            started: None,
            evaluations: index.evals().collect(),
            index,
            checkpoints: Vec::new(),
            samples: Vec::new(),
            messages: Vec::new(),
            config: Vec::new(),
            is_paused: false,
        };
        let mut plain = Plain::default();
        for event in events {
            match &event.body {
                Body::Started(_)
                | Body::Sample { .. }
                | Body::Checkpoint { .. }
                | Body::Reply { .. } => {}
                _ => record.messages.extend(plain.line(&event)),
            }
            record.take(event.body);
        }
        Ok(record)
    }

    /// The word for how it stands.
    pub fn status(&self) -> &'static str {
        status(&self.summary.state, self.is_paused)
    }

    fn take(&mut self, body: Body) {
        self.is_paused = stands_still(&body).unwrap_or(self.is_paused);
        match body {
            Body::Started(started) => {
                self.config.clone_from(&started.config);
                self.started = Some(started);
            }
            Body::ConfigApplied { changes, .. } => {
                for change in changes {
                    let known = self.config.iter_mut().find(|value| value.key == change.key);
                    if let Some(value) = known {
                        value.value = change.to;
                        "edit".clone_into(&mut value.source);
                    }
                }
            }
            Body::ConfigSources { sources, .. } => {
                for value in &mut self.config {
                    if let Some(source) = sources.get(&value.key) {
                        value.source.clone_from(source);
                    }
                }
            }
            body @ Body::Sample { .. } => self.samples.push(body),
            body @ Body::Checkpoint { .. } => self.checkpoints.push(body),
            _ => {}
        }
    }

    /// The evaluation of the lowest loss.
    fn best(&self) -> Option<&Eval> {
        let finite = self.evaluations.iter().filter(|eval| eval.loss.is_finite());
        finite.min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// Tokens a second, the median of all steps: the first steps are slow, and pauses do not count.
    fn speed(&self) -> Option<f64> {
        let column = self.index.column("tokens_per_second")?;
        let mut all: Vec<f64> = column.values(0..column.len()).collect();
        let middle = all.len() / 2;
        if all.is_empty() {
            return None;
        }
        Some(*all.select_nth_unstable_by(middle, f64::total_cmp).1)
    }

    /// Loss of the last step.
    fn last_loss(&self) -> Option<f64> {
        let column = self.index.column("loss")?;
        column.len().checked_sub(1).map(|row| column.get(row))
    }

    /// What groups of runs are made from.
    fn entry(&self) -> Entry {
        let best = self.best();
        Entry {
            summary: self.summary.clone(),
            meta: Meta::default(),
            figures: Figures {
                config: self.config.clone(),
                best: best.map(|eval| (eval.loss, eval.step)),
                bits_per_byte: best.and_then(|eval| eval.bits_per_byte),
                seconds: 0.0,
                is_paused: self.is_paused,
            },
            age: None,
        }
    }
}

/// Runs it.
///
/// # Errors
/// If there is no such run.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = arguments.runs.dir();
    let records: Result<Vec<Record>, Failure> = arguments
        .names
        .iter()
        .map(|name| Record::read(&find(&folder, name)?))
        .collect();
    let records = records?;
    let configs: Vec<&[ConfigValue]> = records.iter().map(|record| &*record.config).collect();
    let differences = differences(&configs);
    let entries: Vec<Entry> = records.iter().map(Record::entry).collect();
    let entries: Vec<&Entry> = entries.iter().collect();
    if arguments.json {
        let runs: Vec<Value> = records.iter().map(figures).collect();
        let differences: Map<String, Value> = differences
            .into_iter()
            .map(|(key, values)| (key.to_owned(), json!(values)))
            .collect();
        let (groups, pairs) = together(&entries);
        out::json(&json!({
            "runs": runs, "differences": differences, "groups": groups, "pairs": pairs,
        }))?;
        return Ok(0);
    }
    let mut head = vec![""];
    head.extend(records.iter().map(|record| record.summary.name.as_str()));
    let mut table = Table::new(&head);
    for (name, figure) in FIGURES {
        let mut row = vec![(*name).to_owned()];
        row.extend(
            records
                .iter()
                .map(|record| figure(record).unwrap_or("-".to_owned())),
        );
        table.row(&row);
    }
    for (key, values) in differences {
        let mut row = vec![key.to_owned()];
        row.extend(values.iter().map(|value| value.unwrap_or("-").to_owned()));
        table.row(&row);
    }
    out::text(&table.lines())?;
    let told = stats::lines(&entries);
    if !told.is_empty() {
        out::line("")?;
    }
    for line in told {
        out::line(&text::escape(&line.to_string()))?;
    }
    Ok(0)
}

/// Groups that differ only in the seed, and pairs of groups that share seeds.
fn together(runs: &[&Entry]) -> (Vec<Value>, Vec<Value>) {
    let groups = stats::groups(runs);
    let names = |group: &Group| -> Vec<&str> {
        let members = group.members.iter();
        members
            .map(|member| runs[*member].summary.name.as_str())
            .collect()
    };
    let mut pairs = Vec::new();
    for (place, a) in groups.iter().enumerate() {
        for b in &groups[place + 1..] {
            for (metric, figure) in stats::METRICS {
                if let Some(of) = stats::paired(&stats::pairs(runs, (a, b), figure)) {
                    pairs.push(json!({
                        "first": names(a), "second": names(b), "metric": metric, "mean_difference": of.mean,
                        "interval": [of.interval.0, of.interval.1], "n": of.count,
                    }));
                }
            }
        }
    }
    let groups = groups.iter().map(|group| {
        let mut object = json!({ "runs": names(group), "seeds": group.seeds });
        for (metric, figure) in stats::METRICS {
            let of = stats::values(runs, group, figure);
            let of = of.as_deref().and_then(stats::spread).map(
                |of| json!({ "mean": of.mean, "standard_deviation": of.deviation, "n": of.count }),
            );
            object[metric.replace(' ', "_")] = json!(of);
        }
        object
    });
    (groups.collect(), pairs)
}

/// A line of the table: its name, and its figure for a run.
type Figure = (&'static str, fn(&Record) -> Option<String>);

const FIGURES: &[Figure] = &[
    ("state", |record| Some(record.status().to_owned())),
    ("step", |record| Some(record.summary.step.to_string())),
    ("last loss", |record| {
        Some(text::value(record.last_loss()?, 4))
    }),
    ("best validation loss", |record| {
        Some(text::value(record.best()?.loss, 4))
    }),
    ("  at step", |record| Some(record.best()?.step.to_string())),
    ("bits per byte", |record| {
        Some(text::value(record.best()?.bits_per_byte?, 4))
    }),
    ("tokens", |record| Some(text::count(record.summary.tokens))),
    ("tokens/s (median)", |record| {
        Some(format!("{:.0}", record.speed()?))
    }),
    ("parameters", |record| {
        Some(text::count(record.started.as_ref()?.parameters))
    }),
];

fn figures(record: &Record) -> Value {
    json!({
        "name": record.summary.name,
        "step": record.summary.step,
        "loss": record.last_loss().map(number),
        "best_validation_loss": record.best().map(|eval| number(eval.loss)),
        "best_validation_step": record.best().map(|eval| eval.step),
        "tokens": record.summary.tokens,
        "tokens_per_second": record.speed().map(number),
        "parameters": record.started.as_ref().map(|started| started.parameters),
    })
}
