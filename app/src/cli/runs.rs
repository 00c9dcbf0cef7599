//! `zerollm runs`: the run folders, a line each.

use super::{Failure, RunsFlag};
use crate::out::{self, Table};
use crate::text;
use clap::Args;
use engine::run_folder::{State, Summary, list};
use serde_json::json;

/// Flags of `zerollm runs`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "List the runs",
    long_about = "List the runs of a folder, the newest first.",
    after_help = "Example:\n  zerollm runs\n  zerollm runs --runs /data/runs --json\n\n\
        JSON: runs, each with name, path, state (running, finished, stopped, failed, interrupted, new), step, max_steps, \
        loss, validation_loss, checkpoints, best, parameters, tokens, attempt, created, started, what, process, parent."
)]
pub struct Arguments {
    #[command(flatten)]
    runs: RunsFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// If the folder cannot be read.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = arguments.runs.dir();
    if let Some(named) = &arguments.runs.runs
        && !named.is_dir()
    {
        return Err(Failure::new(
            2,
            format!("{}: there is no such folder", named.display()),
        ));
    }
    let runs = list(&folder)?;
    if arguments.json {
        out::json(&json!({ "runs": runs }))?;
    } else if runs.is_empty() {
        let folder = text::escape(&folder.display().to_string());
        out::line(&format!("no runs in {folder}; `zerollm train` starts one"))?;
    } else {
        out::text(&table(&runs))?;
    }
    Ok(0)
}

fn table(runs: &[Summary]) -> String {
    let mut table = Table::new(&[
        "run",
        "state",
        "step",
        "loss",
        "validation",
        "parameters",
        "checkpoints",
        "started",
    ]);
    for run in runs {
        let step = match run.max_steps {
            Some(max) => format!("{}/{max}", run.step),
            None => run.step.to_string(),
        };
        let loss = |loss: Option<f64>| loss.map_or("-".to_owned(), |x| text::value(x, 4));
        let count = |count: Option<u64>| count.map_or("-".to_owned(), text::count);
        table.row(&[
            run.name.clone(),
            word(&run.state).to_owned(),
            step,
            loss(run.loss),
            loss(run.validation_loss),
            count(run.parameters),
            run.checkpoints.len().to_string(),
            run.started.get(..16).unwrap_or("-").replace('T', " "),
        ]);
    }
    table.lines()
}

/// The word for how a run stands.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Running => "running",
        State::Finished => "finished",
        State::Stopped => "stopped",
        State::Failed => "failed",
        State::Interrupted => "interrupted",
        State::New => "new",
    }
}
