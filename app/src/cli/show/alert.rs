//! `zerollm show RUN --alert STEP`: the rows that a bad step was made from.

use crate::cli::Failure;
use crate::kept_rows;
use crate::out;
use crate::text;
use engine::watch::batch::{KeptBatch, steps};
use serde_json::json;
use std::io::ErrorKind;
use std::path::Path;

/// Prints the batch that was kept of `step`.
///
/// # Errors
/// If none was kept, or it cannot be read.
pub(super) fn print(run: &Path, step: u64, as_json: bool) -> Result<(), Failure> {
    let kept = KeptBatch::read(run, step).map_err(|error| missing(run, step, &error))?;
    if as_json {
        return out::json(&json!(kept));
    }
    out::line(&text::escape(&format!("{}: {}", kept.rule, kept.message)))?;
    for row in &kept.rows {
        out::line("")?;
        out::line(&kept_rows::heading(row).to_string())?;
        for line in kept_rows::body(row) {
            out::line(&format!("  {line}"))?;
        }
    }
    Ok(())
}

fn missing(run: &Path, step: u64, error: &std::io::Error) -> Failure {
    if error.kind() != ErrorKind::NotFound {
        return Failure::new(
            1,
            format!("the rows of step {step} cannot be read: {error}"),
        );
    }
    let known: Vec<String> = steps(run).iter().map(u64::to_string).collect();
    let there = match known.as_slice() {
        [] => "the run has kept none".to_owned(),
        known => format!("it has those of {}", known.join(", ")),
    };
    Failure::new(
        2,
        format!("no alert has kept the rows of step {step}; {there}"),
    )
}
