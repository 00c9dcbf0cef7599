//! The latest figures in Prometheus' text form (version 0.0.4), all of them gauges.

use super::{ExportError, Format, Place, Source, seconds};
use crate::link::{Body, Change, Eval, Event, Layers, Started, Step};
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
    /// Last step done that counts.
    done: Option<u64>,
    /// What it measured, where this attempt has made it.
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
                self.go_on_from(started.step);
            }
            Body::Resumed { step, .. } => self.go_on_from(*step),
            Body::ConfigApplied { changes, .. } => {
                let end = changes.iter().find_map(Change::max_steps);
                if let (Some(started), Some(end)) = (&mut self.started, end) {
                    started.max_steps = end;
                }
            }
            Body::Step(step) => {
                self.done = Some(step.step);
                self.step = Some(step.clone());
            }
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

    /// Training goes on behind `step`: what was measured after it is superseded.
    fn go_on_from(&mut self, step: u64) {
        self.done = Some(step);
        self.step.take_if(|known| known.step > step);
        self.eval.take_if(|known| known.step > step);
        self.layers.take_if(|known| known.step > step);
        self.checkpoint.take_if(|known| *known > step);
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
        if let Some(step) = self.done {
            page.gauge("step", "last step done", step as f64);
        }
        if let Some(step) = &self.step {
            for (name, help, value) in [
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(latest: &mut Latest, body: Body) {
        let time = "2026-01-01T00:00:01.5Z".to_owned();
        latest.apply(&Event { body, time });
    }

    fn has(latest: &Latest, gauge: &str) -> bool {
        let sample = |line: &&str| !line.starts_with('#');
        let page = latest.page("r");
        page.lines().filter(sample).any(|line| {
            let name = line.split_once('{').map_or(line, |(name, _)| name);
            let value = line.rsplit_once(' ').map_or("", |(_, value)| value);
            gauge == name || gauge == format!("{name} {value}")
        })
    }

    fn trained() -> Latest {
        let mut latest = Latest::default();
        let started = Started {
            max_steps: 100,
            ..Started::default()
        };
        hear(&mut latest, Body::Started(Box::new(started)));
        for step in 1..=8 {
            let loss = step as f64;
            let step = Step {
                step,
                loss,
                ..Step::default()
            };
            hear(&mut latest, Body::Step(step));
        }
        for step in [4, 8] {
            let eval = Eval {
                step,
                ..Eval::default()
            };
            hear(&mut latest, Body::Eval(eval));
        }
        latest
    }

    #[test]
    fn an_edit_moves_the_end() {
        let mut latest = trained();
        assert!(has(&latest, "zerollm_max_steps 100"));
        let change = |key: &str, to: &str| Change {
            key: key.to_owned(),
            from: String::new(),
            to: to.to_owned(),
        };
        let changes = vec![change("optimizer.lr", "7"), change("train.max_steps", "20")];
        let body = Body::ConfigApplied {
            step: 8,
            version: 2,
            changes,
        };
        hear(&mut latest, body);
        assert!(has(&latest, "zerollm_max_steps 20"));
    }

    #[test]
    fn what_is_superseded_is_not_told() {
        let mut latest = trained();
        assert!(has(&latest, "zerollm_step 8") && has(&latest, "zerollm_loss 8"));
        let back = |step| Body::Resumed {
            step,
            path: String::new(),
            attempt: 2,
        };
        hear(&mut latest, back(8));
        assert!(has(&latest, "zerollm_loss 8") && has(&latest, "zerollm_validation_step 8"));
        hear(&mut latest, back(5));
        assert!(has(&latest, "zerollm_step 5"));
        assert!(!has(&latest, "zerollm_loss") && !has(&latest, "zerollm_validation_step"));
    }
}
