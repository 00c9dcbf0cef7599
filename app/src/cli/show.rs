//! `zerollm show`: one run from its folder, in full.

mod alert;

use super::compare::Record;
use super::{Failure, RunsFlag, number, runs};
use crate::book::Known;
use crate::out::{self, Table};
use crate::text;
use clap::Args;
use engine::link::Body;
use engine::run_folder::{Index, Meta, find};
use serde_json::{Value, json};

/// Flags of `zerollm show`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Show a run in full",
    long_about = "Show a run: how it stands, its tags and note, its losses, evaluations, checkpoints and last samples, what \
        went wrong, and its configuration. Of a step that was trained twice, what the last attempt measured.",
    after_help = "Example:\n  zerollm show demo\n  zerollm show demo --json\n  zerollm show demo --alert 1200\n\n\
        JSON: the fields of `zerollm runs` but depth, and steps (at most 20, evenly spaced: step, loss, lr, grad_norm, \
        tokens_per_second), evaluations (step, loss, perplexity, bits_per_byte), checkpoint_events, samples, messages, \
        config (key, value, source). With --alert: schema, step, rule, message, rows (row, data_row, loss, ids, text)."
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    #[command(flatten)]
    runs: RunsFlag,
    /// Print the rows of the step that an alert kept
    #[arg(long, value_name = "STEP")]
    alert: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Steps that are shown.
const STEPS: usize = 20;

/// Runs it.
///
/// # Errors
/// If there is no such run.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = find(&arguments.runs.dir(), &arguments.run)?;
    if let Some(step) = arguments.alert {
        alert::print(&folder, step, arguments.json)?;
        return Ok(0);
    }
    let record = Record::read(&folder)?;
    if arguments.json {
        out::json(&as_json(&record))?;
    } else {
        head(&record)?;
        figures(&record)?;
        history(&record)?;
        configuration(&record)?;
    }
    Ok(0)
}

/// Rows of at most [`STEPS`], evenly spaced, the last one included.
fn rows(all: usize) -> impl Iterator<Item = usize> {
    let count = all.min(STEPS);
    (1..=count).map(move |i| i * all / count - 1)
}

fn thin<T>(all: &[T]) -> Vec<&T> {
    rows(all.len()).map(|row| &all[row]).collect()
}

/// Figures of a step that are shown.
const SHOWN: [&str; 4] = ["loss", "lr", "grad_norm", "tokens_per_second"];

/// A step that is shown.
struct Shown {
    step: u64,
    /// In the order of [`SHOWN`].
    figures: [f64; 4],
}

fn steps(index: &Index) -> Vec<Shown> {
    let column = |name| index.column(name).expect("a column of steps");
    rows(column("step").len())
        .map(|row| Shown {
            step: column("step").count(row),
            figures: SHOWN.map(|name| column(name).get(row)),
        })
        .collect()
}

fn head(record: &Record) -> Result<(), Failure> {
    let summary = &record.summary;
    let line = |name: &str, value: String| {
        if value.is_empty() {
            return Ok(());
        }
        out::line(&format!("{name:<12} {}", text::escape(&value)))
    };
    line("run", summary.name.clone())?;
    line("folder", summary.path.display().to_string())?;
    line("state", record.status().to_owned())?;
    line("trains", summary.what.clone())?;
    line("forked from", summary.parent.clone().unwrap_or_default())?;
    line("created", summary.created.clone())?;
    line("attempt", summary.attempt.to_string())?;
    let steps = summary
        .max_steps
        .map_or(String::new(), |max| format!(" of {max}"));
    line("step", format!("{}{steps}", summary.step))?;
    line("tokens", text::count(summary.tokens))?;
    if let Some(started) = &record.started {
        line("parameters", text::count(started.parameters))?;
        line(
            "device",
            format!(
                "{} ({}, {} threads, {})",
                started.device, started.isa, started.threads, started.precision
            ),
        )?;
        line("memory", text::bytes(started.memory.total))?;
    }
    let meta = Meta::read(&summary.path);
    let tags: Vec<String> = meta.tags.into_iter().collect();
    line("tags", tags.join(" "))?;
    line("note", meta.note)
}

fn figures(record: &Record) -> Result<(), Failure> {
    let mut table = Table::new(&["step", "loss", "lr", "grad_norm", "tokens/s"]);
    let steps = steps(&record.index);
    for step in &steps {
        table.row(&[
            step.step.to_string(),
            text::value(step.figures[0], 4),
            text::value(step.figures[1], 6),
            text::value(step.figures[2], 3),
            format!("{:.0}", step.figures[3]),
        ]);
    }
    if !steps.is_empty() {
        out::text(&format!("\n{}", table.lines()))?;
    }
    let mut table = Table::new(&["evaluation", "loss", "perplexity", "bits per byte"]);
    for eval in thin(&record.evaluations) {
        let bits = eval.bits_per_byte;
        table.row(&[
            eval.step.to_string(),
            text::value(eval.loss, 4),
            text::value(eval.perplexity, 3),
            bits.map_or("-".to_owned(), |bits| text::value(bits, 4)),
        ]);
    }
    if !record.evaluations.is_empty() {
        out::text(&format!("\n{}", table.lines()))?;
    }
    Ok(())
}

fn history(record: &Record) -> Result<(), Failure> {
    if !record.summary.checkpoints.is_empty() {
        let best = record.summary.best;
        let steps = record.summary.checkpoints.iter().map(|step| {
            let mark = if Some(*step) == best { " (best)" } else { "" };
            format!("{step}{mark}")
        });
        let steps: Vec<String> = steps.collect();
        out::line(&format!("\ncheckpoints  {}", steps.join(", ")))?;
    }
    if let Some(Body::Sample { step, .. }) = record.samples.last() {
        let last = *step;
        out::line(&format!("\nsamples at step {last}"))?;
        for sample in &record.samples {
            if let Body::Sample {
                step, prompt, text, ..
            } = sample
                && *step == last
            {
                out::line(&format!("  {}", text::escape(&format!("{prompt}{text}"))))?;
            }
        }
    }
    if !record.messages.is_empty() {
        out::line("\nmessages")?;
        for message in &record.messages {
            out::line(&format!("  {}", text::escape(message)))?;
        }
    }
    Ok(())
}

fn configuration(record: &Record) -> Result<(), Failure> {
    if record.config.is_empty() {
        return Ok(());
    }
    out::line("\nconfiguration (source where it is not the default)")?;
    for value in &record.config {
        let source = match value.source.as_str() {
            "default" => String::new(),
            source => format!("   # {source}"),
        };
        out::line(&text::escape(&format!(
            "  {} = {}{source}",
            value.key, value.value
        )))?;
    }
    Ok(())
}

fn as_json(record: &Record) -> Value {
    let mut object = runs::as_json(&Known::default().entry(record.summary.clone()));
    let steps = steps(&record.index).into_iter().map(|step| {
        let mut row = json!({ "step": step.step });
        for (name, figure) in SHOWN.iter().zip(step.figures) {
            row[*name] = number(figure);
        }
        row
    });
    object["steps"] = steps.collect();
    let evaluations = record.evaluations.iter().map(|eval| {
        json!({
            "step": eval.step,
            "loss": number(eval.loss),
            "perplexity": number(eval.perplexity),
            "bits_per_byte": eval.bits_per_byte.map(number),
        })
    });
    object["evaluations"] = evaluations.collect();
    object["checkpoint_events"] = json!(record.checkpoints);
    object["samples"] = json!(record.samples);
    object["messages"] = json!(record.messages);
    let config = record
        .config
        .iter()
        .map(|value| json!({ "key": value.key, "value": value.value, "source": value.source }));
    object["config"] = config.collect();
    object
}

#[cfg(test)]
mod tests {
    use super::thin;

    #[test]
    fn thinning_keeps_the_last() {
        let all: Vec<usize> = (1..=1000).collect();
        let thinned: Vec<usize> = thin(&all).into_iter().copied().collect();
        assert_eq!((thinned.len(), thinned[0], thinned[19]), (20, 50, 1000));
        assert_eq!(thin(&[1, 2, 3]), [&1, &2, &3]);
        assert!(thin::<u8>(&[]).is_empty());
    }
}
