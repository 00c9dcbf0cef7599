//! `zerollm train --detach`: a run in the background.
//!
//! The program starts itself anew, so that nothing is forked with threads in it. That process prepares the run in the
//! foreground's process group, where Ctrl-C still ends it and refusals are seen; once the run has started it leaves for a
//! session of its own, says so on the pipe to its parent, and the parent ends.

use super::Failure;
use crate::out;
use crate::text;
use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdout};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// The flag by which the program knows that it is the one in the background.
pub const FLAG: &str = "--detached";

/// What the process in the background says once.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// Name of the run's folder. Not its path, which need not be a text.
    run: String,
    process: u32,
}

/// Starts the command line anew in the background and waits until its run has started.
///
/// # Errors
/// If it does not start; why stands on stderr already.
pub fn start(runs: Option<&Path>) -> Result<u8, Failure> {
    let failed = |error: io::Error| Failure::new(1, format!("--detach: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg(FLAG)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line).map_err(failed)?;
    }
    let Ok(report) = serde_json::from_str::<Report>(&line) else {
        let code = child.wait().map_err(failed)?.code();
        let code = code.and_then(|code| u8::try_from(code).ok());
        return match code {
            Some(code) => Err(Failure::new(code, "")),
            None => Err(Failure::new(
                1,
                "--detach: the run was killed while it started",
            )),
        };
    };
    let name = text::escape(&report.run);
    let runs = runs.map_or_else(String::new, |runs| format!(" --runs {}", runs.display()));
    out::text(&format!(
        "run {name} trains in the background (process {})\nattach: zerollm attach {name}{runs}\nstop: zerollm ctl {name} stop{runs}\n",
        report.process
    ))?;
    Ok(0)
}

/// Leaves the terminal for good, and tells the parent: for the process in the background, once its run has started. What
/// it writes to stderr from now on goes to engine.log.
pub fn settle(folder: &Path) {
    // It fails for the leader of a process group, which nobody started in the background.
    let _ = setsid();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("engine.log"));
    let nothing = || File::options().write(true).open("/dev/null");
    if let Ok(log) = log.or_else(|_| nothing()) {
        let _ = dup2_stderr(&log);
    }
    let report = Report {
        run: folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        process: std::process::id(),
    };
    if let Ok(text) = serde_json::to_string(&report) {
        // A parent that is gone has nobody to tell.
        drop(writeln!(io::stdout(), "{text}"));
    }
    if let Ok(nothing) = nothing() {
        let _ = dup2_stdout(&nothing);
    }
}
