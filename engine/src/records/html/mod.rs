//! One page that holds a whole run, to be opened, sent and kept: no script, nothing loaded from elsewhere.
//!
//! Everything that a run, its data or its model said is escaped, and the page's own policy forbids scripts and requests.

mod svg;
mod words;

use super::{ExportError, Format, Place, Source};
use crate::link::{Body, Event, Started};
use crate::run_folder::index::LineKind;
use std::fmt::Write as _;
use std::io::Write;
use svg::{Chart, short};
pub use words::{ENGLISH, Words};

/// See the module's page.
pub(super) static FORMAT: Format = Format {
    name: "html",
    doc: "one page with curves, samples, configuration; opens offline",
    place: Place::File("html"),
    write,
};

/// Rows of a table that are shown.
const ROWS: usize = 200;
/// Samples that are shown.
const SAMPLES: usize = 40;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1a1a;--dim:#667;--rule:#dde;--line:#1558b0;--band:#9dc1ee;--point:#c2410c;--bad:#c00}\
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--fg:#e6e6e6;--dim:#99a;--rule:#333842;--line:#7db4ff;--band:#2d4a70;--point:#ff9d5c;--bad:#ff6b6b}}\
body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid var(--rule)}h3{font-size:1em;margin-bottom:.3em}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{color:var(--dim);font-weight:normal}pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--rule);padding-left:.8em}\
svg{width:100%;height:auto}svg text{fill:var(--dim);font-size:11px}.axis{stroke:var(--dim);fill:none}.grid{stroke:var(--rule);fill:none}\
.band{stroke:var(--band);stroke-width:1.6;fill:none}.line{stroke:var(--line);stroke-width:1.6;fill:none}.alert{stroke:var(--bad);stroke-width:3;fill:none}\
.point{fill:var(--point)}.dim{color:var(--dim)}.bad{color:var(--bad)}input.axis-choice{margin-left:1em}\
#linear:checked~.log,#log:checked~.linear{display:none}";

/// Text made fit for HTML, in an element or in a quoted attribute. Control characters but line feed and tab become the
/// replacement character: a page must not hold them.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn write(source: &Source, out: &mut dyn Write) -> Result<(), ExportError> {
    let words = &source.words;
    let events = source.events(|kind| matches!(kind, LineKind::Other | LineKind::Checkpoint))?;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
        </head>\n<body>\n<h1>{}</h1>\n",
        words.language,
        escape(&source.name),
        escape(&source.name),
    );
    let started = events.iter().rev().find_map(|event| match &event.body {
        Body::Started(started) => Some(&**started),
        _ => None,
    });
    page += &environment(source, started, &events, words);
    page += &curves(source, words);
    page += &evaluations(source, words);
    page += &layers(source, words)?;
    page += &samples(source, words)?;
    page += &checkpoints(&events, words);
    page += &messages(&events, words);
    page += &configuration(started, &events, words);
    page += "</body>\n</html>\n";
    out.write_all(page.as_bytes())?;
    Ok(())
}

/// A table of names and values, those without a value left out.
fn facts(rows: &[(&str, String)]) -> String {
    let mut out = "<table>\n".to_owned();
    for (name, value) in rows.iter().filter(|row| !row.1.is_empty()) {
        let (name, value) = (escape(name), escape(value));
        let _ = writeln!(out, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    out + "</table>\n"
}

/// A table with a head. Of very many rows evenly spaced ones, the last included.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells = cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(&cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let mut out = "<table>\n".to_owned();
    out += &row("th", &mut head.iter().map(|cell| (*cell).to_owned()));
    let count = rows.len().min(ROWS);
    for i in 1..=count {
        let cells = &rows[i * rows.len() / count - 1];
        out += &row("td", &mut cells.iter().cloned());
    }
    out + "</table>\n"
}

fn environment(
    source: &Source,
    started: Option<&Started>,
    events: &[Event],
    words: &Words,
) -> String {
    let record = &source.record;
    let ending = events.iter().rev().find_map(|event| match &event.body {
        Body::Finished { reason, .. } => Some(reason.clone()),
        Body::Failed { message, .. } => Some(message.clone()),
        Body::Started(_) => Some(words.open.to_owned()),
        _ => None,
    });
    let steps = source.column("step");
    let last = steps.len().checked_sub(1);
    let count = |name: &str| {
        last.map_or(String::new(), |row| {
            source.column(name).count(row).to_string()
        })
    };
    let mut rows = vec![
        (words.ending, ending.unwrap_or_default()),
        (words.step, count("step")),
        (words.tokens, count("tokens")),
        (
            words.loss,
            last.map_or(String::new(), |row| {
                short_or_word(source.column("loss").get(row))
            }),
        ),
        (words.trains, record.what.clone()),
        (words.created, record.created.clone()),
        (words.attempt, record.attempt.max(1).to_string()),
        (words.host, record.host.clone()),
        (
            words.version,
            format!("{} {}", record.version, record.commit),
        ),
        (words.command, record.command.join(" ")),
    ];
    if let Some(started) = started {
        let device = format!(
            "{} ({}, {} x, {})",
            started.device, started.isa, started.threads, started.precision
        );
        let memory = format!("{} MiB", started.memory.total >> 20);
        rows.push((words.parameters, started.parameters.to_string()));
        rows.push((words.device, device));
        rows.push((words.memory, memory));
    }
    facts(&rows)
}

fn short_or_word(x: f64) -> String {
    if x.is_finite() {
        short(x)
    } else {
        super::figure(x)
    }
}

fn curves(source: &Source, words: &Words) -> String {
    let evals: Vec<(u64, f64)> = source.index.evals().map(|e| (e.step, e.loss)).collect();
    let chart = |figure, label, points, logarithmic| {
        let chart = Chart {
            index: &source.index,
            figure,
            points,
            logarithmic,
            label,
        };
        chart.draw()
    };
    let linear = chart("loss", words.loss, &evals, false);
    if linear.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<h2>{}</h2>\n<p class=\"dim\">{}</p>\n",
        words.curves, words.legend
    );
    let _ = writeln!(
        out,
        "<div><b>{}</b><input class=\"axis-choice\" type=\"radio\" name=\"axis\" id=\"linear\" checked><label for=\"linear\">{}</label>\
        <input class=\"axis-choice\" type=\"radio\" name=\"axis\" id=\"log\"><label for=\"log\">{}</label>\
        <div class=\"linear\">{linear}</div><div class=\"log\">{}</div></div>",
        words.loss,
        words.linear,
        words.logarithmic,
        chart("loss", words.loss, &evals, true),
    );
    for (figure, label) in [
        ("lr", words.lr),
        ("grad_norm", words.grad_norm),
        ("tokens_per_second", words.speed),
    ] {
        let _ = writeln!(out, "<h3>{label}</h3>{}", chart(figure, label, &[], false));
    }
    out
}

fn evaluations(source: &Source, words: &Words) -> String {
    let rows: Vec<Vec<String>> = source
        .index
        .evals()
        .map(|eval| {
            vec![
                eval.step.to_string(),
                short_or_word(eval.loss),
                short_or_word(eval.perplexity),
                eval.bits_per_byte.map_or(String::new(), short_or_word),
                if eval.best {
                    words.best.to_owned()
                } else {
                    String::new()
                },
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        words.step,
        words.loss,
        words.perplexity,
        words.bits_per_byte,
        "",
    ];
    format!("<h2>{}</h2>\n{}", words.evaluations, table(&head, &rows))
}

/// The last statistics of the layers. Names of figures are those of the record.
fn layers(source: &Source, words: &Words) -> Result<String, ExportError> {
    let Some(layers) = source.last_layers()? else {
        return Ok(String::new());
    };
    let mut figures = layers.figures().to_vec();
    figures.retain(|(_, values)| !values.is_empty());
    let rows: Vec<Vec<String>> = layers
        .names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = figures.iter().map(|(_, values)| {
                let value = values.get(at);
                value.map_or_else(String::new, |value| short_or_word(*value))
            });
            std::iter::once(name.clone()).chain(cells).collect()
        })
        .collect();
    let names = figures.iter().map(|(name, _)| *name);
    let head: Vec<&str> = std::iter::once("").chain(names).collect();
    Ok(format!(
        "<h2>{}</h2>\n<p class=\"dim\">{} {}</p>\n{}",
        words.layers,
        words.step,
        layers.step,
        table(&head, &rows)
    ))
}

fn samples(source: &Source, words: &Words) -> Result<String, ExportError> {
    let mut lines = source.index.lines();
    lines.retain(|line| line.kind == LineKind::Sample);
    let shown = lines.len().saturating_sub(SAMPLES);
    let events = source.index.events(&lines[shown..])?;
    let mut out = String::new();
    for event in events.iter().rev() {
        let Body::Sample {
            step, prompt, text, ..
        } = &event.body
        else {
            continue;
        };
        let _ = writeln!(
            out,
            "<h3>{} {step}</h3><pre><b>{}</b>{}</pre>",
            words.step,
            escape(prompt),
            escape(text)
        );
    }
    if out.is_empty() {
        return Ok(out);
    }
    Ok(format!("<h2>{}</h2>\n{out}", words.samples))
}

fn checkpoints(events: &[Event], words: &Words) -> String {
    let rows: Vec<Vec<String>> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Checkpoint {
                step,
                path,
                bytes,
                reason,
                ..
            } => Some(vec![
                step.to_string(),
                path.clone(),
                format!("{:.1} MiB", *bytes as f64 / 1024.0 / 1024.0),
                reason.clone(),
                event.time.clone(),
            ]),
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        words.step,
        words.folder,
        words.size,
        words.reason,
        words.time,
    ];
    format!("<h2>{}</h2>\n{}", words.checkpoints, table(&head, &rows))
}

fn messages(events: &[Event], words: &Words) -> String {
    let rows: Vec<Vec<String>> = events
        .iter()
        .filter_map(|event| {
            let said = match &event.body {
                Body::Warning { step, message, .. } | Body::Failed { step, message } => {
                    (*step, message.clone())
                }
                Body::Nonfinite {
                    step,
                    r#where,
                    action,
                } => (*step, format!("{where}: {action}")),
                Body::Resumed { step, attempt, .. } => {
                    (*step, format!("{} {attempt}", words.attempt))
                }
                Body::Paused { step, reason, .. } => (
                    *step,
                    format!("{} {}", words.paused, reason.as_deref().unwrap_or("")),
                ),
                Body::ConfigApplied { step, changes, .. } => {
                    let changes = changes.iter().map(|c| format!("{} = {} ", c.key, c.to));
                    (*step, changes.collect())
                }
                _ => return None,
            };
            Some(vec![said.0.to_string(), said.1, event.time.clone()])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [words.step, words.message, words.time];
    format!("<h2>{}</h2>\n{}", words.messages, table(&head, &rows))
}

/// The configuration in force at the end.
fn configuration(started: Option<&Started>, events: &[Event], words: &Words) -> String {
    let Some(started) = started.filter(|started| !started.config.is_empty()) else {
        return String::new();
    };
    let mut config = started.config.clone();
    let begin = events
        .iter()
        .rposition(|event| matches!(event.body, Body::Started(_)))
        .unwrap_or(0);
    for event in &events[begin..] {
        if let Body::ConfigApplied { changes, .. } = &event.body {
            for change in changes {
                if let Some(value) = config.iter_mut().find(|value| value.key == change.key) {
                    value.value.clone_from(&change.to);
                    "edit".clone_into(&mut value.source);
                }
            }
        }
    }
    let rows: Vec<Vec<String>> = config
        .into_iter()
        .map(|value| vec![value.key, value.value, value.source])
        .collect();
    let head = [words.key, words.value, words.source];
    format!("<h2>{}</h2>\n{}", words.configuration, table(&head, &rows))
}
