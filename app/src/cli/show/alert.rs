//! `zerollm show RUN --alert STEP`: the rows that a bad step was made from.

use crate::cli::Failure;
use crate::out;
use crate::text;
use engine::watch::batch::{KeptBatch, KeptRow, steps};
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
        for line in lines(row) {
            out::line(&line)?;
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

/// A row: its numbers, then its text, or its ids where there is no tokenizer.
fn lines(row: &KeptRow) -> Vec<String> {
    let mut lines = vec![format!(
        "row {} (row {} of the data)  loss {}",
        row.row,
        row.data_row,
        text::value(row.loss, 4)
    )];
    let body = if let Some(text) = &row.text {
        text::escape_lines(text)
    } else {
        let ids: Vec<String> = row.ids.iter().map(i32::to_string).collect();
        vec![ids.join(" ")]
    };
    lines.extend(body.into_iter().map(|line| format!("  {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_shown_with_its_numbers_and_without_control_characters() {
        let row = |text: Option<&str>| KeptRow {
            row: 70,
            data_row: 3,
            loss: f64::NAN,
            ids: vec![104, 27, 10],
            text: text.map(str::to_owned),
        };
        let shown = lines(&row(Some("h\x1b[31m\nx")));
        assert_eq!(
            shown,
            [
                "row 70 (row 3 of the data)  loss NaN",
                "  h\\x1b[31m",
                "  x"
            ]
        );
        assert_eq!(lines(&row(None))[1], "  104 27 10");
    }
}
