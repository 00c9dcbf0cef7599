//! `zerollm ctl RUN fork`: the folder of a fork of a run that is on.
//!
//! The engine is asked for nothing: this process reads the run's checkpoint, as `zerollm fork` does, but trains nothing
//! that would take the machine from the run.

use super::Failure;
use crate::cli::fork::lines;
use crate::{out, signals, text};
use clap::Args;
use engine::launch::{Fork, MadeFork, Request, make_fork};
use engine::link::socket::{Control, Role};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags of `zerollm ctl RUN fork`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Make the folder of a fork, and leave the run alone; train --resume begins the fork",
    long_about = "Make the folder of a fork from a checkpoint of the run, with changed settings, and leave the run alone: \
        the fork is not trained yet. zerollm train --run NAME --resume begins it. What may change is what zerollm fork \
        may change.",
    after_help = "Example:\n  zerollm ctl demo checkpoint\n  zerollm ctl demo fork --set optimizer.lr=1e-4 --run demo-slow\n  \
        zerollm train --run demo-slow --resume"
)]
pub struct Arguments {
    /// Step of the checkpoint [default: the newest]
    #[arg(long, value_name = "STEP")]
    at: Option<u64>,
    /// Name of the fork: its folder [default: the run's, with a number behind it]
    #[arg(long = "run", value_name = "NAME")]
    name: Option<String>,
    /// Set a key of the configuration, such as optimizer.lr=1e-3 (a TOML value; other text is a string)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Makes the fork of the run in `folder` among `runs`, whose process may take `patience` to say that it is on.
///
/// # Errors
/// If the run is not on, has no such checkpoint, or a change is not a fork's to make.
pub fn run(
    arguments: &Arguments,
    runs: PathBuf,
    folder: &Path,
    patience: Duration,
    json: bool,
) -> Result<u8, Failure> {
    // Like every word of ctl, for a run that is on.
    drop(Control::connect_within(folder, Role::Ctl, patience)?);
    let request = Request {
        flags: arguments.set.clone(),
        runs,
        name: arguments.name.clone(),
        command: std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        commit: crate::COMMIT.to_owned(),
        ..Request::default()
    };
    // By its path: a name could be that of another folder's.
    let folder = folder
        .to_str()
        .ok_or_else(|| Failure::new(2, format!("{}: a path that is no text", folder.display())))?;
    let origin = Fork {
        run: folder.to_owned(),
        step: arguments.at,
    };
    let signals =
        signals::install(None).map_err(|error| Failure::new(1, format!("signals: {error}")))?;
    let MadeFork { folder, plan } = make_fork(&request, &origin, &signals.interrupt, &mut |_| {})?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if json {
        out::json(&json!({
            "run": name,
            "folder": folder,
            "parent": plan.parent,
            "step": plan.step,
        }))?;
        return Ok(0);
    }
    for line in lines(&plan) {
        out::line(&text::escape(&line))?;
    }
    out::line(&format!(
        "it is in {}; zerollm train --run {} --resume begins it",
        text::escape(&folder.display().to_string()),
        text::escape(&name)
    ))?;
    Ok(0)
}
