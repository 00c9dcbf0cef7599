//! Comma-separated values (RFC 4180): a row a step, with the evaluation of that step where there is one.

use super::{EVAL_FIGURES, ExportError, Format, Place, STEP_FIGURES, Source, figure};
use crate::run_folder::index::clock;
use std::io::Write;

/// See the module's page.
pub(super) static FORMAT: Format = Format {
    name: "csv",
    doc: "a row a step, for spreadsheets and data frames",
    place: Place::Output,
    write,
};

fn write(source: &Source, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut head: Vec<String> = ["step", "attempt", "time", "tokens", "seconds"]
        .iter()
        .chain(&STEP_FIGURES)
        .map(|name| (*name).to_owned())
        .collect();
    let of_evals = EVAL_FIGURES.map(|name| format!("validation_{name}"));
    head.extend(of_evals.iter().cloned());
    line(out, &head)?;
    let (step, attempt) = (source.column("step"), source.column("attempt"));
    let (time, tokens) = (source.column("time"), source.column("tokens"));
    let seconds = source.column("seconds");
    let figures = STEP_FIGURES.map(|name| source.column(name));
    let evals = of_evals.each_ref().map(|name| source.column(name));
    let eval_step = source.column("validation_step");
    let (mut row, mut eval) = (0, 0);
    while row < step.len() || eval < eval_step.len() {
        let of_row = (row < step.len()).then(|| step.count(row));
        let of_eval = (eval < eval_step.len()).then(|| eval_step.count(eval));
        let here = of_row.into_iter().chain(of_eval).min().unwrap_or(0);
        let mut cells = vec![here.to_string()];
        if of_row == Some(here) {
            cells.push(attempt.count(row).to_string());
            cells.push(clock(time.count(row)));
            cells.push(tokens.count(row).to_string());
            cells.push(figure(seconds.get(row)));
            cells.extend(figures.iter().map(|column| match column.name() {
                "clipped" => (column.get(row) as u8).to_string(),
                _ => figure(column.get(row)),
            }));
            row += 1;
        } else {
            // An evaluation of a step that was not trained: before the first, or one that was skipped.
            cells.resize(5 + STEP_FIGURES.len(), String::new());
        }
        // Of several evaluations of a step the last counts.
        let last = (eval..eval_step.len())
            .take_while(|&at| eval_step.count(at) <= here)
            .last();
        cells.extend(evals.iter().map(|column| {
            let at = last.filter(|&at| column.is_present(at));
            at.map_or(String::new(), |at| figure(column.get(at)))
        }));
        eval = last.map_or(eval, |last| last + 1);
        line(out, &cells)?;
    }
    Ok(())
}

/// Writes a record.
pub(super) fn line(out: &mut dyn Write, cells: &[String]) -> Result<(), ExportError> {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    out.write_all(cells.join(",").as_bytes())?;
    out.write_all(b"\r\n")?;
    Ok(())
}

/// A field: in quotes where it holds what would end it.
pub(super) fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
