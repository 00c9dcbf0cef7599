//! TensorBoard event files: scalars of steps, evaluations and layers, histograms of and over the layers, samples as text.
//!
//! Written by hand ([`wire`]); what reads event files (TensorBoard, and the importers of other dashboards) reads these.

mod wire;

use super::{EVAL_FIGURES, ExportError, Format, Place, STEP_FIGURES, Source, seconds};
use crate::link::{Body, Event, Layers, Started};
use crate::run_folder::index::LineKind;
use crate::sketch::Sketch;
use std::io::{self, Write};
use wire::{Message, record};

#[cfg(test)]
pub(super) use wire::{crc32c, masked};

/// See the module's page.
pub(super) static FORMAT: Format = Format {
    name: "tensorboard",
    doc: "an event file, for TensorBoard and dashboards that import its files",
    place: Place::Folder("tensorboard"),
    write,
};

/// Name of an event file: TensorBoard knows it by `tfevents`, and sorts files by their names.
pub fn file_name(created: u64, attempt: u32) -> String {
    format!("events.out.tfevents.{created:010}.{attempt:04}.zerollm")
}

/// An event file being written.
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a file. Rows behind step `after` in earlier files of the folder are superseded by it.
    pub(super) fn new(mut out: W, time: f64, after: u64) -> io::Result<Self> {
        // Event: wall_time = 1, file_version = 3.
        let version = Message::default()
            .double(1, time)
            .bytes(3, b"brain.Event:2");
        record(&mut out, &version.0)?;
        let mut writer = Self { out };
        writer.start(time, after)?;
        Ok(writer)
    }

    /// From here on, rows behind step `after` are superseded.
    fn start(&mut self, time: f64, after: u64) -> io::Result<()> {
        // Event: step = 2, session_log = 7; SessionLog: status = 1, START = 1.
        let start = Message::default().int(1, 1);
        let start = Message::default()
            .double(1, time)
            .int(2, after + 1)
            .message(7, &start);
        record(&mut self.out, &start.0)
    }

    fn summary(&mut self, time: f64, step: u64, values: &[Message]) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        // Summary: value = 1. Event: summary = 5.
        let summary = values
            .iter()
            .fold(Message::default(), |all, value| all.message(1, value));
        let event = Message::default()
            .double(1, time)
            .int(2, step)
            .message(5, &summary);
        record(&mut self.out, &event.0)
    }

    /// Writes what an event has to show, if anything.
    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        let time = seconds(&event.time);
        match &event.body {
            Body::Started(started) => {
                self.summary(time, started.step, &[text("config", &config(started))])
            }
            Body::Resumed { step, .. } => self.start(time, *step),
            Body::Step(step) => self.step(time, step.step, step.tokens, step.figures()),
            Body::Eval(eval) => {
                let figures = [Some(eval.loss), Some(eval.perplexity), eval.bits_per_byte];
                let values: Vec<Message> = EVAL_FIGURES
                    .iter()
                    .zip(figures)
                    .filter_map(|(name, x)| Some(scalar(&format!("{}/{name}", eval.split), x?)))
                    .collect();
                self.summary(time, eval.step, &values)
            }
            Body::Layers(layers) => self.summary(time, layers.step, &of_layers(layers)),
            Body::Sample {
                step,
                prompt,
                text: written,
                ..
            } => {
                let begun: String = prompt.chars().take(40).collect();
                let tag = match begun.trim() {
                    "" => "samples/beginning of a document".to_owned(),
                    begun => format!("samples/{begun}"),
                };
                let whole = verbatim(&format!("{prompt}{written}"));
                self.summary(time, *step, &[text(&tag, &whole)])
            }
            _ => Ok(()),
        }
    }

    fn step(
        &mut self,
        time: f64,
        step: u64,
        tokens: u64,
        figures: [f64; STEP_FIGURES.len()],
    ) -> io::Result<()> {
        let mut values: Vec<Message> = STEP_FIGURES
            .iter()
            .zip(figures)
            .map(|(name, x)| scalar(&format!("train/{name}"), x))
            .collect();
        values.push(scalar("train/tokens", tokens as f64));
        self.summary(time, step, &values)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Summary.Value: tag = 1, simple_value = 2.
fn scalar(tag: &str, x: f64) -> Message {
    Message::default()
        .bytes(1, tag.as_bytes())
        .float(2, x as f32)
}

/// Summary.Value: tag = 1, tensor = 8, metadata = 9, of the text plugin. TensorBoard takes the text for Markdown.
fn text(tag: &str, markdown: &str) -> Message {
    // TensorProto: dtype = 1 (DT_STRING = 7), tensor_shape = 2 (a scalar's is empty), string_val = 8.
    let tensor = Message::default()
        .int(1, 7)
        .message(2, &Message::default())
        .bytes(8, markdown.as_bytes());
    // SummaryMetadata: plugin_data = 1 { plugin_name = 1 }.
    let plugin = Message::default().bytes(1, b"text");
    let metadata = Message::default().message(1, &plugin);
    Message::default()
        .bytes(1, tag.as_bytes())
        .message(8, &tensor)
        .message(9, &metadata)
}

/// Text that Markdown shows as it is: every line indented by four blanks.
fn verbatim(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| {
        all + "    " + line.trim_end_matches('\r') + "\n"
    })
}

fn config(started: &Started) -> String {
    let lines = started
        .config
        .iter()
        .map(|value| format!("{} = {}\n", value.key, value.value));
    verbatim(&lines.collect::<String>())
}

/// Each layer's figures, how its values are spread, and how each figure is spread over the layers.
fn of_layers(layers: &Layers) -> Vec<Message> {
    let mut values = Vec::new();
    for (name, xs) in layers.figures() {
        for (layer, x) in layers.names.iter().zip(xs) {
            values.push(scalar(&format!("layers/{name}/{layer}"), *x));
        }
        let finite: Vec<f64> = xs.iter().copied().filter(|x| x.is_finite()).collect();
        if finite.len() > 1 {
            // Summary.Value: histo = 5.
            values.push(histogram(&format!("over layers/{name}"), &over(&finite)));
        }
    }
    for (name, sketches) in [
        ("activations", &layers.activation_sketch),
        ("gradients", &layers.gradient_sketch),
    ] {
        for (layer, sketch) in layers.names.iter().zip(sketches) {
            // Nothing finite has no place on an axis.
            if let Some(spread) = spread(sketch) {
                values.push(histogram(&format!("{name}/{layer}"), &spread));
            }
        }
    }
    values
}

/// Summary.Value: tag = 1, histo = 5.
fn histogram(tag: &str, histogram: &Message) -> Message {
    Message::default()
        .bytes(1, tag.as_bytes())
        .message(5, histogram)
}

/// HistogramProto: min = 1, max = 2, num = 3, sum = 4, sum_squares = 5, bucket_limit = 6 (right edges), bucket = 7. The sums
/// are those of the buckets' middles.
fn spread(sketch: &Sketch) -> Option<Message> {
    let counts = sketch.buckets(sketch.top).map(|count| count as f64);
    let limits = Sketch::bounds(sketch.top);
    let first = counts.iter().position(|count| *count > 0.0)?;
    let last = counts.iter().rposition(|count| *count > 0.0)?;
    let lower = |at: usize| match at.checked_sub(1) {
        Some(before) => limits[before],
        None => -f64::exp2(f64::from(sketch.top)),
    };
    let moment = |power: i32| -> f64 {
        let middle = |at: usize| f64::midpoint(lower(at), limits[at]).powi(power);
        (first..=last).map(|at| counts[at] * middle(at)).sum()
    };
    let proto = Message::default()
        .double(1, lower(first))
        .double(2, limits[last])
        .double(3, moment(0))
        .double(4, moment(1))
        .double(5, moment(2))
        .doubles(6, &limits[first..=last])
        .doubles(7, &counts[first..=last]);
    Some(proto)
}

/// The same of values that are known one by one.
fn over(xs: &[f64]) -> Message {
    const BUCKETS: usize = 30;
    let min = xs.iter().copied().fold(f64::INFINITY, f64::min);
    let max = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = (max - min) / BUCKETS as f64;
    let mut counts = [0.0; BUCKETS];
    for x in xs {
        let at = if width > 0.0 { (x - min) / width } else { 0.0 };
        counts[(at as usize).min(BUCKETS - 1)] += 1.0;
    }
    let limits: Vec<f64> = (1..=BUCKETS)
        .map(|i| {
            if i == BUCKETS {
                max
            } else {
                min + width * i as f64
            }
        })
        .collect();
    Message::default()
        .double(1, min)
        .double(2, max)
        .double(3, xs.len() as f64)
        .double(4, xs.iter().sum())
        .double(5, xs.iter().map(|x| x * x).sum())
        .doubles(6, &limits)
        .doubles(7, &counts)
}

fn write(source: &Source, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut writer = Writer::new(out, seconds(&source.record.created), 0)?;
    let (step, time) = (source.column("step"), source.column("time"));
    let tokens = source.column("tokens");
    let figures = STEP_FIGURES.map(|name| source.column(name));
    for row in 0..source.num_steps() {
        writer.step(
            time.count(row) as f64 / 1e3,
            step.count(row),
            tokens.count(row),
            figures.map(|column| column.get(row)),
        )?;
    }
    for event in source.index.eval_events() {
        writer.event(&event)?;
    }
    let mut lines = source.index.lines();
    lines.retain(|line| !matches!(line.kind, LineKind::Eval | LineKind::Checkpoint));
    // What a resume superseded is left out already.
    let shown = |event: &Event| !matches!(event.body, Body::Resumed { .. });
    // In pieces: a long run's statistics do not fit into memory at once.
    for piece in lines.chunks(4096) {
        for event in source
            .index
            .events(piece)?
            .iter()
            .filter(|event| shown(event))
        {
            writer.event(event)?;
        }
    }
    writer.flush()?;
    Ok(())
}
