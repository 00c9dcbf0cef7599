//! `zerollm metric`: one figure of a run, step by step.

use super::{Failure, RunsFlag, number};
use crate::out;
use clap::Args;
use engine::link::{Body, Layers};
use engine::run_folder::index::{Column, LineKind};
use engine::run_folder::{Index, find};
use serde_json::{Value, json};

/// Flags of `zerollm metric`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Print a figure of a run, step by step",
    long_about = "Print a figure of a run, a row a step: the step and its value. Of a step that was trained twice, what the \
        last attempt measured.\n\n\
        Names: loss, lr, grad_norm, clipped, tokens, tokens_per_second, step_seconds, data_wait_seconds; of evaluations \
        validation_loss, validation_perplexity, validation_bits_per_byte; of layers activation_rms.LAYER, \
        gradient_rms.LAYER, weight_rms.LAYER, update_ratio.LAYER, dead_share.LAYER, activation_max.LAYER, \
        activation_nonfinite.LAYER (such as gradient_rms.blocks.0.mixer), and as JSON the histograms activation_sketch.LAYER, \
        gradient_sketch.LAYER.",
    after_help = "Example:\n  zerollm metric demo loss\n  zerollm metric demo grad_norm --around 1200 --window 20\n  \
        zerollm metric demo validation_loss --json\n\nJSON: run, metric, steps, values."
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    /// Name of the figure
    name: String,
    /// Only steps near this one
    #[arg(long, value_name = "STEP")]
    around: Option<u64>,
    /// How near: this many steps before and behind
    #[arg(long, value_name = "N", default_value_t = 10, requires = "around")]
    window: u64,
    #[command(flatten)]
    runs: RunsFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Figures of steps.
const STEP: [&str; 8] = [
    "loss",
    "lr",
    "grad_norm",
    "clipped",
    "tokens",
    "tokens_per_second",
    "step_seconds",
    "data_wait_seconds",
];
/// Figures of evaluations.
const EVAL: [&str; 3] = [
    "validation_loss",
    "validation_perplexity",
    "validation_bits_per_byte",
];
/// Histograms of layers, as they stand in the record.
const SKETCHES: [&str; 2] = ["activation_sketch", "gradient_sketch"];

/// Runs it.
///
/// # Errors
/// If there is no such run or figure.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = find(&arguments.runs.dir(), &arguments.run)?;
    let name = arguments.name.as_str();
    let layer = name
        .split_once('.')
        .filter(|(kind, _)| Layers::FIGURES.contains(kind) || SKETCHES.contains(kind))
        .map(|(_, layer)| layer);
    if !STEP.contains(&name) && !EVAL.contains(&name) && layer.is_none() {
        let names: Vec<&str> = STEP.iter().chain(&EVAL).copied().collect();
        return Err(Failure::new(
            2,
            format!(
                "no figure `{}`; there are {}, and {} with .LAYER behind",
                crate::text::escape(name),
                names.join(", "),
                [&Layers::FIGURES[..], &SKETCHES].concat().join(", ")
            ),
        ));
    }
    let (from, to) = match arguments.around {
        Some(around) => (
            around.saturating_sub(arguments.window),
            around.saturating_add(arguments.window),
        ),
        None => (0, u64::MAX),
    };
    let index = Index::open(&folder)?;
    let mut layers: Vec<String> = Vec::new();
    let (mut steps, mut values) = (Vec::new(), Vec::new());
    if let Some(column) = index.column(name).filter(|_| layer.is_none()) {
        let table = column.table();
        let rows = index.rows_of_steps(table, from, to);
        let step = index.column(table.step()).expect("every table has steps");
        for (row, step) in rows.clone().zip(step.counts(rows)) {
            if column.is_present(row) {
                steps.push(step);
                values.push(cell(column, row));
            }
        }
    } else {
        let mut lines = index.lines();
        lines.retain(|line| line.kind == LineKind::Layers);
        // The last one too, as it knows the names.
        let last = lines.last().copied();
        lines.retain(|line| (from..=to).contains(&line.step) || Some(*line) == last);
        for event in index.events(&lines)? {
            let Body::Layers(of) = event.body else {
                continue;
            };
            if let Some(value) = of_layer(&of, name).filter(|_| (from..=to).contains(&of.step)) {
                steps.push(of.step);
                values.push(value);
            }
            layers = of.names;
        }
    }
    if let Some(layer) = layer
        && !layers.is_empty()
        && !layers.iter().any(|known| known == layer)
    {
        return Err(Failure::new(
            2,
            format!(
                "no layer `{}` in this run; there are {}",
                crate::text::escape(layer),
                layers.join(", ")
            ),
        ));
    }
    if arguments.json {
        out::json(&json!({
            "run": arguments.run,
            "metric": name,
            "steps": steps,
            "values": values,
        }))?;
        return Ok(0);
    }
    let is_count = Layers::is_count(name.split_once('.').map_or(name, |(kind, _)| kind));
    let mut rows = String::new();
    for (step, value) in steps.iter().zip(&values) {
        let value = shown(value, is_count);
        rows.extend([&step.to_string(), "\t", &value, "\n"]);
        // In pieces, so that a reader who has seen enough ends it.
        if rows.len() > 1 << 15 {
            out::text(&std::mem::take(&mut rows))?;
        }
    }
    out::text(&rows)?;
    Ok(0)
}

/// A value as a word: a count, which a layer's statistics hold as they hold the others, is a whole number.
fn shown(value: &Value, is_count: bool) -> String {
    match (value, value.as_f64()) {
        (_, Some(count)) if is_count => (count as u64).to_string(),
        (Value::String(text), _) => text.clone(),
        (value, _) => value.to_string(),
    }
}

/// A cell as the event had it; true is 1.
fn cell(column: Column<'_>, row: usize) -> Value {
    match column.name() {
        _ if column.is_count() => column.count(row).into(),
        "clipped" => json!(column.get(row) as u8),
        _ => number(column.get(row)),
    }
}

fn of_layer(layers: &Layers, name: &str) -> Option<Value> {
    let (kind, layer) = name.split_once('.')?;
    let at = layers.names.iter().position(|known| known == layer)?;
    let sketches = match kind {
        "activation_sketch" => &layers.activation_sketch,
        "gradient_sketch" => &layers.gradient_sketch,
        _ => {
            let mut figures = layers.figures().into_iter();
            let (_, values) = figures.find(|(known, _)| *known == kind)?;
            return values.get(at).copied().map(number);
        }
    };
    sketches.get(at).map(|sketch| json!(sketch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_and_other_figures_are_as_they_were() {
        assert_eq!(shown(&json!(0.0), true), "0");
        assert_eq!(shown(&json!(12.0), true), "12");
        assert_eq!(shown(&json!(0.0), false), "0.0");
        assert_eq!(shown(&number(f64::NAN), false), "NaN");
        assert_eq!(shown(&number(f64::NAN), true), "NaN");
    }
}
