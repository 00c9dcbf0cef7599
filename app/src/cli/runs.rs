//! `zerollm runs`: the run folders, a line each; and what is done to them as wholes.

use super::{Failure, RunsFlag, number};
use crate::book::{self, Entry, Known, Sort, query};
use crate::out::{self, Table};
use crate::text;
use clap::{Args, Subcommand};
use engine::run_folder::{Meta, find, shelf};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Flags of `zerollm runs`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "List the runs, search them, tag, archive or delete them",
    long_about = "List the runs of a folder, the newest first.\n\n\
        --where takes tests joined by and, or, not and brackets. A test is KEY OP VALUE, with ==, !=, <, <=, >, >=, or ~ \
        (contains; with * or ? matches). KEY is name, status, step, loss, val_loss (the lowest), bits_per_byte, tokens, \
        seconds, tag, note, parent, created, attempt, or any key of the configuration.",
    after_help = "Examples:\n  zerollm runs --tree\n  \
        zerollm runs --where 'optimizer.lr>=1e-3 and val_loss<2 or tag==\"good\"' --sort val_loss\n  \
        zerollm runs tag play good\n  zerollm runs delete play --yes\n\n\
        JSON: runs, each with name, path, state (running, paused, finished, stopped, failed, interrupted, new), step, max_steps, \
        loss, validation_loss, checkpoints, best, parameters, tokens, attempt, created, started, what, process, parent, \
        best_validation_loss, best_validation_step, bits_per_byte, seconds, tags, note, and depth (in the tree).",
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    runs: RunsFlag,
    /// Only runs for which this holds
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// Order by this key; with - before it the greatest first
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Show forks below the runs that they come from
    #[arg(long)]
    tree: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is done to a run as a whole.
#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Give a run tags to find it by
    Tag(Tags),
    /// Take tags away
    Untag(Tags),
    /// Write a note about a run; without TEXT the note is removed
    Note {
        #[command(flatten)]
        which: Which,
        /// The note
        text: Option<String>,
    },
    /// Set a run aside: move it to archive/ in the folder of runs
    Archive(Which),
    /// Delete a run with its checkpoints
    Delete {
        #[command(flatten)]
        which: Which,
        /// Delete without asking; without it, what would go is told
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Debug, Args)]
struct Which {
    /// Name of the run, or its folder
    run: String,
    #[command(flatten)]
    runs: RunsFlag,
}

#[derive(Clone, Debug, Args)]
struct Tags {
    #[command(flatten)]
    which: Which,
    /// The tags
    #[arg(required = true, value_name = "TAG")]
    tags: Vec<String>,
}

impl Which {
    fn folder(&self) -> Result<PathBuf, Failure> {
        Ok(find(&self.runs.dir(), &self.run)?)
    }
}

/// Runs it.
///
/// # Errors
/// If the folder cannot be read, or an expression or key is wrong.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    if let Some(action) = &arguments.action {
        return act(action);
    }
    let folder = arguments.runs.dir();
    if let Some(named) = &arguments.runs.runs
        && !named.is_dir()
    {
        return Err(Failure::new(
            2,
            format!("{}: there is no such folder", named.display()),
        ));
    }
    let wrong =
        |flag: &str, error: &str| Failure::new(2, text::escape(&format!("{flag}: {error}")));
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let filter = query::parse(filter).map_err(|error| wrong("--where", &error.to_string()))?;
    let sort = arguments.sort.as_deref().map(Sort::parse).transpose();
    let sort = sort.map_err(|error| wrong("--sort", &error))?;
    let entries = book::read(&folder, &mut Known::default())?;
    let shown = book::arrange(&entries, &filter, sort.as_ref(), arguments.tree);
    if arguments.json {
        let runs: Vec<Value> = shown
            .iter()
            .map(|(index, depth)| {
                let mut run = as_json(&entries[*index]);
                run["depth"] = json!(depth);
                run
            })
            .collect();
        out::json(&json!({ "runs": runs }))?;
    } else if entries.is_empty() {
        let folder = text::escape(&folder.display().to_string());
        out::line(&format!("no runs in {folder}; `zerollm train` starts one"))?;
    } else if shown.is_empty() {
        out::line("no run fits --where")?;
    } else {
        out::text(&table(&entries, &shown))?;
    }
    Ok(0)
}

fn act(action: &Action) -> Result<u8, Failure> {
    match action {
        Action::Tag(Tags { which, tags }) => {
            let folder = which.folder()?;
            let mut meta = Meta::read(&folder);
            for tag in tags {
                if tag.trim().is_empty() || tag.chars().any(char::is_control) {
                    return Err(Failure::new(2, "a tag is a word that can be seen"));
                }
                meta.tags.insert(tag.trim().to_owned());
            }
            meta.write(&folder)?;
        }
        Action::Untag(Tags { which, tags }) => {
            let folder = which.folder()?;
            let mut meta = Meta::read(&folder);
            for tag in tags {
                if !meta.tags.remove(tag) {
                    let (run, tag) = (text::escape(&which.run), text::escape(tag));
                    return Err(Failure::new(2, format!("run {run} has no tag {tag}")));
                }
            }
            meta.write(&folder)?;
        }
        Action::Note { which, text } => {
            let folder = which.folder()?;
            let mut meta = Meta::read(&folder);
            meta.note = text.clone().unwrap_or_default();
            meta.write(&folder)?;
        }
        Action::Archive(which) => {
            let place = shelf::archive(&which.folder()?)?;
            let place = text::escape(&place.display().to_string());
            out::line(&format!("moved to {place}; its folder can still be named"))?;
        }
        Action::Delete { which, yes } => {
            let folder = which.folder()?;
            let holds = shelf::contents(&folder);
            let goes = format!(
                "{} ({}, {} checkpoints)",
                text::escape(&folder.display().to_string()),
                text::bytes(holds.bytes),
                holds.checkpoints
            );
            if !yes {
                let message = format!("{goes} would be deleted for good; --yes does it");
                return Err(Failure::new(2, message));
            }
            shelf::delete(&folder)?;
            out::line(&format!("deleted {goes}"))?;
        }
    }
    Ok(0)
}

/// The fields of a run, as `runs` and `show` print them.
pub(super) fn as_json(entry: &Entry) -> Value {
    let mut object = json!(entry.summary);
    object["state"] = json!(entry.status());
    let figures = &entry.figures;
    object["best_validation_loss"] = json!(figures.best.map(|best| number(best.0)));
    object["best_validation_step"] = json!(figures.best.map(|best| best.1));
    object["bits_per_byte"] = json!(figures.bits_per_byte.map(number));
    object["seconds"] = number(figures.seconds);
    object["tags"] = json!(entry.meta.tags);
    object["note"] = json!(entry.meta.note);
    object
}

fn table(entries: &[Entry], shown: &[(usize, usize)]) -> String {
    let has_tags = shown
        .iter()
        .any(|(run, _)| !entries[*run].meta.tags.is_empty());
    let mut head = vec![
        "run",
        "state",
        "step",
        "loss",
        "best val",
        "parameters",
        "checkpoints",
        "started",
    ];
    head.extend(has_tags.then_some("tags"));
    let mut table = Table::new(&head);
    for (index, depth) in shown {
        let entry = &entries[*index];
        let run = &entry.summary;
        let step = match run.max_steps {
            Some(max) => format!("{}/{max}", run.step),
            None => run.step.to_string(),
        };
        let loss = |loss: Option<f64>| loss.map_or("-".to_owned(), |x| text::value(x, 4));
        let count = |count: Option<u64>| count.map_or("-".to_owned(), text::count);
        let mut row = vec![
            format!("{}{}", "  ".repeat(*depth), run.name),
            entry.status().to_owned(),
            step,
            loss(run.loss),
            loss(entry.figures.best.map(|best| best.0)),
            count(run.parameters),
            run.checkpoints.len().to_string(),
            run.started.get(..16).unwrap_or("-").replace('T', " "),
        ];
        if has_tags {
            let tags: Vec<&str> = entry.meta.tags.iter().map(String::as_str).collect();
            row.push(tags.join(" "));
        }
        table.row(&row);
    }
    table.lines()
}
