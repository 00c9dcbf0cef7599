//! A run as plain lines, for logs: one line an interval, and one for whatever else happens.

use crate::text;
use engine::link::{Body, Change, Event};
use engine::watch::NONFINITE;

/// Turns events into lines.
#[derive(Debug, Default)]
pub struct Plain {
    max_steps: u64,
    log_interval: u64,
}

impl Plain {
    /// The line for an event, if it is worth one. Control characters are shown escaped.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        let line = match &event.body {
            Body::Started(started) => {
                self.max_steps = started.max_steps;
                let interval = started
                    .config
                    .iter()
                    .find(|value| value.key == "train.log_interval");
                self.log_interval = interval
                    .and_then(|value| value.value.parse().ok())
                    .unwrap_or(1);
                format!(
                    "run {} attempt {}: {} parameters, {} on {} ({}, {} threads), {} steps",
                    started.run,
                    started.attempt,
                    started.parameters,
                    started.precision,
                    started.device,
                    started.isa,
                    started.threads,
                    started.max_steps
                )
            }
            Body::Step(step) => {
                let due = self.log_interval > 0 && step.step.is_multiple_of(self.log_interval);
                if !due && step.step != self.max_steps {
                    return None;
                }
                format!(
                    "step {}/{}  loss {:.4}  lr {:.2e}  grad_norm {:.3}  {:.0} tokens/s",
                    step.step,
                    self.max_steps,
                    step.loss,
                    step.lr,
                    step.grad_norm,
                    step.tokens_per_second
                )
            }
            Body::Eval(eval) => {
                let bits = eval
                    .bits_per_byte
                    .map_or_else(String::new, |bits| format!("  {bits:.4} bits per byte"));
                let best = if eval.best { "  best" } else { "" };
                format!(
                    "eval at step {}: loss {:.4}  perplexity {:.3}{bits}{best}",
                    eval.step, eval.loss, eval.perplexity
                )
            }
            Body::Sample {
                step, prompt, text, ..
            } => format!("sample at step {step}: {prompt}{text}"),
            Body::Checkpoint {
                path,
                seconds,
                reason,
                ..
            } => {
                format!("checkpoint {path} ({reason}, {seconds:.2} s)")
            }
            Body::CheckpointTagged { path, tag, .. } => match tag {
                Some(tag) => format!("checkpoint {path} is tagged {tag}"),
                None => format!("checkpoint {path} has no tag any more"),
            },
            Body::CheckpointDeleted {
                path,
                leftover: Some(leftover),
                ..
            } => format!("checkpoint {path} is deleted; {leftover}"),
            // As on the screen: what keep_last does with every checkpoint is no news.
            Body::CheckpointDeleted { reason, .. } if reason == "keep_last" => return None,
            Body::CheckpointDeleted { path, .. } => format!("checkpoint {path} is deleted"),
            Body::CheckpointVerified { path, message, .. } => match message {
                None => format!("checkpoint {path} is verified"),
                Some(why) => format!("checkpoint {path} is damaged: {why}"),
            },
            Body::Resumed { step, path, .. } => format!("goes on behind step {step} from {path}"),
            Body::Paused { step, reason, hard } => {
                let why = reason
                    .as_ref()
                    .map_or_else(String::new, |reason| format!(": {reason}"));
                let memory = if *hard { ", memory given back" } else { "" };
                format!("paused after step {step}{memory}{why}")
            }
            Body::ResumedFromPause { step } => format!("goes on after step {step}"),
            Body::ConfigApplied {
                version, changes, ..
            } => {
                let end = changes.iter().find_map(Change::max_steps);
                self.max_steps = end.unwrap_or(self.max_steps);
                let interval = changes.iter().find(|c| c.key == "train.log_interval");
                let interval = interval.and_then(|change| change.to.parse().ok());
                self.log_interval = interval.unwrap_or(self.log_interval);
                let changes: Vec<_> = changes
                    .iter()
                    .map(|change| format!("{} {} -> {}", change.key, change.from, change.to))
                    .collect();
                format!("configuration {version} applied: {}", changes.join(", "))
            }
            Body::ConfigRejected { message, .. } => format!("configuration rejected: {message}"),
            Body::Reply {
                command,
                refused,
                message,
                ..
            } => {
                format!(
                    "{command}{}: {message}",
                    if *refused { " refused" } else { "" }
                )
            }
            Body::Nonfinite {
                step,
                r#where: what,
                action,
            } => format!("{what} of step {step} is not finite: {action}"),
            // The event of its own has said it.
            Body::Alert(alert) if alert.rule == NONFINITE => return None,
            Body::Alert(alert) => {
                format!("alert {}: {}: {}", alert.rule, alert.message, alert.action)
            }
            Body::Warning {
                message,
                note: true,
                ..
            } => format!("note: {message}"),
            Body::Warning { message, .. } => format!("warning: {message}"),
            Body::Failed { message, .. } => format!("failed: {message}"),
            Body::Finished {
                step,
                loss,
                seconds,
                reason,
            } => {
                let loss = match step {
                    0 => "no step was made".to_owned(),
                    _ => format!("loss {loss:.4}"),
                };
                let time = text::duration(*seconds);
                format!("finished at step {step} ({reason}): {loss}, {time}")
            }
            Body::Layers(_)
            | Body::ConfigSources { .. }
            | Body::System(_)
            | Body::Attention(_)
            | Body::Profile(_)
            | Body::Plan(_) => return None,
        };
        Some(text::escape(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::link::{Started, Step};

    #[test]
    fn a_run_without_a_step_has_no_loss_and_one_that_diverged_has_none_to_be_proud_of() {
        let told = |step, loss, reason: &str| {
            let body = Body::Finished {
                step,
                loss,
                seconds: 1.0,
                reason: reason.to_owned(),
            };
            let time = String::new();
            Plain::default()
                .line(&Event { body, time })
                .unwrap_or_default()
        };
        let none = told(0, f64::NAN, "stopped");
        assert!(
            none.contains("no step was made") && !none.contains("NaN"),
            "{none}"
        );
        assert!(told(7, 2.5, "stopped").contains("loss 2.5000,"));
        assert!(told(7, f64::NAN, "diverged").contains("loss NaN,"));
    }

    #[test]
    fn live_edits_move_the_end_and_the_interval() {
        let mut plain = Plain::default();
        let mut told = |body| {
            let time = String::new();
            plain.line(&Event { body, time }).unwrap_or_default()
        };
        let started = Started {
            max_steps: 10,
            ..Started::default()
        };
        told(Body::Started(Box::new(started)));
        let step = |step| {
            Body::Step(Step {
                step,
                ..Step::default()
            })
        };
        assert!(told(step(1)).starts_with("step 1/10 "));
        let change = |key: &str, to: &str| Change {
            key: key.to_owned(),
            from: String::new(),
            to: to.to_owned(),
        };
        told(Body::ConfigApplied {
            step: 1,
            version: 2,
            changes: vec![
                change("train.max_steps", "7"),
                change("train.log_interval", "4"),
            ],
        });
        assert_eq!(told(step(2)), "");
        assert!(told(step(4)).starts_with("step 4/7 "));
        assert!(told(step(7)).starts_with("step 7/7 "));
    }

    #[test]
    fn a_deletion_is_told_where_somebody_asked_for_it() {
        let told = |reason: &str, leftover: Option<&str>| {
            let body = Body::CheckpointDeleted {
                step: 5,
                path: "checkpoints/step_00000005".to_owned(),
                bytes: 7,
                reason: reason.to_owned(),
                leftover: leftover.map(str::to_owned),
            };
            let time = String::new();
            Plain::default().line(&Event { body, time })
        };
        assert_eq!(told("keep_last", None), None);
        let line = told("command", None).unwrap_or_default();
        assert!(line.contains("step_00000005 is deleted"), "{line}");
        for reason in ["command", "keep_last"] {
            let line = told(reason, Some("what is left")).unwrap_or_default();
            assert!(line.ends_with("is deleted; what is left"), "{line}");
        }
    }
}
