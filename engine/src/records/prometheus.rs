//! The latest figures in Prometheus' text form (version 0.0.4), all of them gauges.

use super::{ExportError, Format, Place, Source, seconds};
use crate::link::{Body, Eval, Event, Layers, Started, Step};
use crate::run_folder::index::LineKind;
use std::fmt::Write as _;
use std::io::Write;

/// See the module's page.
pub(super) static FORMAT: Format = Format {
    name: "prometheus",
    doc: "the latest figures as text, for a node exporter's textfile folder",
    place: Place::Output,
    write,
};

/// What is known of a run at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    started: Option<Started>,
    step: Option<Step>,
    eval: Option<Eval>,
    layers: Option<Layers>,
    checkpoint: Option<u64>,
    nonfinite: u64,
    paused: bool,
    over: bool,
    time: f64,
}

impl Latest {
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.body {
            Body::Started(started) => {
                self.started = Some((**started).clone());
                self.over = false;
                self.paused = false;
            }
            Body::Step(step) => self.step = Some(step.clone()),
            Body::Eval(eval) => self.eval = Some(eval.clone()),
            Body::Layers(layers) => self.layers = Some(layers.clone()),
            Body::Checkpoint { step, .. } => self.checkpoint = Some(*step),
            Body::Nonfinite { .. } => self.nonfinite += 1,
            Body::Paused { .. } => self.paused = true,
            Body::ResumedFromPause { .. } => self.paused = false,
            Body::Failed { .. } | Body::Finished { .. } => self.over = true,
            _ => {}
        }
        self.time = self.time.max(seconds(&event.time));
    }

    /// The page.
    pub(super) fn page(&self, run: &str) -> String {
        let mut page = Page {
            run: label(run),
            text: String::new(),
        };
        let yes = |it: bool| f64::from(u8::from(it));
        if let Some(started) = &self.started {
            let labels = [
                ("device", &started.device),
                ("isa", &started.isa),
                ("precision", &started.precision),
            ];
            let labels = labels.map(|(name, value)| format!(",{name}=\"{}\"", label(value)));
            page.labelled("info", "what trains, as labels", &labels.concat(), 1.0);
            page.gauge("parameters", "trained numbers", started.parameters as f64);
            page.gauge("attempt", "attempt, from 1", f64::from(started.attempt));
            page.gauge("max_steps", "where training ends", started.max_steps as f64);
        }
        if let Some(step) = &self.step {
            for (name, help, value) in [
                ("step", "last step done", step.step as f64),
                ("tokens", "tokens trained on", step.tokens as f64),
                ("loss", "training loss, nats per token", step.loss),
                ("learning_rate", "learning rate", step.lr),
                (
                    "gradient_norm",
                    "gradient norm before clipping",
                    step.grad_norm,
                ),
                (
                    "gradient_clipped",
                    "whether it was clipped",
                    yes(step.clipped),
                ),
                (
                    "tokens_per_second",
                    "training speed",
                    step.tokens_per_second,
                ),
                ("step_seconds", "time of the step", step.step_seconds),
                (
                    "data_wait_seconds",
                    "of it spent waiting for data",
                    step.data_wait_seconds,
                ),
            ] {
                page.gauge(name, help, value);
            }
        }
        if let Some(eval) = &self.eval {
            let bits = eval.bits_per_byte;
            page.gauge("validation_step", "last step evaluated", eval.step as f64);
            page.gauge("validation_loss", "nats per token", eval.loss);
            page.gauge("validation_perplexity", "e^loss", eval.perplexity);
            if let Some(bits) = bits {
                page.gauge("validation_bits_per_byte", "bits per byte of text", bits);
            }
        }
        if let Some(layers) = &self.layers {
            page.layers(layers);
        }
        if let Some(step) = self.checkpoint {
            page.gauge(
                "checkpoint_step",
                "step of the last checkpoint",
                step as f64,
            );
        }
        page.gauge(
            "nonfinite_steps",
            "steps whose loss or gradient was not finite",
            self.nonfinite as f64,
        );
        page.gauge("paused", "whether training stands still", yes(self.paused));
        page.gauge("over", "whether the run has ended", yes(self.over));
        page.gauge(
            "last_event_timestamp_seconds",
            "when the run last said something",
            self.time,
        );
        page.text
    }
}

struct Page {
    run: String,
    text: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.labelled(name, help, "", value);
    }

    fn labelled(&mut self, name: &str, help: &str, labels: &str, value: f64) {
        self.head(name, help);
        self.sample(name, labels, value);
    }

    /// The latest statistics of the layers: a gauge a figure, a sample a layer.
    fn layers(&mut self, layers: &Layers) {
        self.gauge(
            "layers_step",
            "last step with statistics of the layers",
            layers.step as f64,
        );
        for (name, values) in layers.figures() {
            if values.is_empty() {
                continue;
            }
            let gauge = format!("layer_{name}");
            self.head(&gauge, &format!("{name} of each layer"));
            for (layer, value) in layers.names.iter().zip(values) {
                let labels = format!(",layer=\"{}\"", label(layer));
                self.sample(&gauge, &labels, *value);
            }
        }
    }

    fn head(&mut self, name: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.text,
            "# HELP zerollm_{name} {help}\n# TYPE zerollm_{name} gauge"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let run = &self.run;
        let value = number(value);
        let _ = writeln!(self.text, "zerollm_{name}{{run=\"{run}\"{labels}}} {value}");
    }
}

fn number(x: f64) -> String {
    if x.is_nan() {
        "NaN".to_owned()
    } else if x.is_infinite() {
        if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        x.to_string()
    }
}

/// A label's value, escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn write(source: &Source, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut latest = Latest::default();
    for event in source.events(|kind| matches!(kind, LineKind::Other | LineKind::Checkpoint))? {
        latest.apply(&event);
    }
    for eval in source.index.eval_events() {
        latest.apply(&eval);
    }
    if let Some(step) = source.index.last_step_event() {
        latest.apply(&step);
    }
    latest.layers = source.last_layers()?;
    out.write_all(latest.page(&source.name).as_bytes())?;
    Ok(())
}
