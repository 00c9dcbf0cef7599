//! How each event changes the state.

use engine::config::classify;
use engine::link::{Body, Change, Command, ConfigValue, Eval, Event, Started, Step};
use engine::registry::Class;
use engine::watch::NONFINITE;

use super::{
    LOG_LINES, LOOKS, Level, LogLine, Mark, Rejected, SAMPLES, Sample, State, Status, Version,
};
use crate::text;

impl State {
    /// Folds one event in.
    pub fn apply(&mut self, event: &Event) {
        let time = &event.time;
        let before = self.last_tag.take();
        match &event.body {
            Body::Started(head) => self.start(head, time),
            Body::Step(step) => self.train(step),
            Body::Layers(layers) => self.layers.push(layers),
            Body::System(system) => {
                if self.system.len() == LOOKS {
                    self.system.pop_front();
                }
                self.system.push_back((**system).clone());
            }
            Body::Attention(attention) => {
                self.answered("attention");
                self.attention = Some(attention.clone());
            }
            Body::Profile(profile) => {
                self.answered("profile");
                self.profile = Some(profile.clone());
            }
            Body::Plan(plan) => self.plan = Some(plan.clone()),
            Body::Eval(eval) => self.evaluate(eval, time),
            Body::Sample {
                step,
                prompt,
                text,
                readable,
            } => {
                self.answered("sample");
                if self.samples.len() == SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample {
                    step: *step,
                    prompt: prompt.clone(),
                    text: text.clone(),
                    readable: *readable,
                });
            }
            Body::Checkpoint { .. }
            | Body::CheckpointTagged { .. }
            | Body::CheckpointDeleted { .. }
            | Body::CheckpointVerified { .. } => self.shelve(event),
            Body::Resumed {
                step,
                path,
                attempt,
            } => {
                self.rewind(*step);
                // Later ones are set aside on the disk; this one was compared with its hashes before it was read.
                self.checkpoints.retain(|c| c.step <= *step);
                self.checked(*step, time, Ok(()));
                self.num_shelved += 1;
                self.mark(*step, Mark::Resume);
                self.status = Status::Running;
                let line = format!("attempt {attempt} goes on from {path}");
                self.log(time, *step, Level::Info, "resume", &line);
            }
            Body::Paused { step, reason, hard } => {
                self.status = Status::Paused(reason.clone());
                self.memory_free = *hard;
                if *hard {
                    // What is to be taken up again was read back.
                    self.checked(*step, time, Ok(()));
                }
                self.answered("pause");
                let level = if reason.is_some() {
                    Level::Warn
                } else {
                    Level::Info
                };
                self.log(
                    time,
                    *step,
                    level,
                    "pause",
                    reason.as_deref().unwrap_or(if *hard {
                        "paused, memory given back"
                    } else {
                        "paused"
                    }),
                );
            }
            Body::ResumedFromPause { step } => {
                self.status = Status::Running;
                self.answered("resume");
                self.log(time, *step, Level::Info, "pause", "training goes on");
            }
            Body::ConfigApplied {
                step,
                version,
                changes,
            } => {
                self.answered("set");
                self.answered("reload");
                self.reconfigure(*version, changes);
                self.versions.push(Version {
                    number: *version,
                    step: *step,
                    clock: clock(time),
                    changes: changes.clone(),
                });
                self.configs.note(*step, *version, &self.config);
                self.mark(*step, Mark::Edit);
                let changes: Vec<String> = changes
                    .iter()
                    .map(|c| format!("{} {} -> {}", c.key, c.from, c.to))
                    .collect();
                let line = format!("v{version} in force: {}", changes.join(", "));
                self.log(time, *step, Level::Good, "config", &line);
            }
            Body::ConfigSources { sources, .. } => {
                for value in &mut self.config {
                    if let Some(source) = sources.get(&value.key) {
                        value.source.clone_from(source);
                    }
                }
                self.configs.put(self.config_version, &self.config);
                // It leaves no line: the one before it counts.
                self.last_tag = before;
            }
            Body::ConfigRejected {
                step,
                line,
                column,
                message,
            } => {
                self.answered("set");
                self.answered("reload");
                self.rejected = Some(Rejected {
                    line: *line,
                    column: *column,
                    message: message.clone(),
                });
                let place = if *line > 0 {
                    format!("line {line}:{column}: ")
                } else {
                    String::new()
                };
                let text = format!("refused, v{} stays: {place}{message}", self.config_version);
                self.log(time, *step, Level::Warn, "config", &text);
            }
            Body::Reply {
                step,
                id,
                command,
                refused,
                message,
            } => {
                self.reply(*id, *refused);
                if command == "reload" && !refused {
                    // The file is right, even where it changes nothing.
                    self.rejected = None;
                }
                // What the event just before has said already is not said twice.
                let said = matches!(
                    (command.as_str(), before),
                    ("pause" | "resume", Some("pause"))
                        | ("checkpoint", Some("ckpt"))
                        | (
                            "checkpoint" | "tag" | "untag" | "delete" | "verify",
                            Some("shelf")
                        )
                        | ("eval", Some("eval"))
                        | ("set" | "reload", Some("config"))
                );
                // A map that is on show needs no line.
                let shown = command == "attention" && !refused;
                if !said && !shown {
                    let (level, tag) = match refused {
                        true => (Level::Warn, "refused"),
                        false => (Level::Info, "reply"),
                    };
                    self.log(time, *step, level, tag, &format!("{command}: {message}"));
                }
            }
            Body::Nonfinite {
                step,
                r#where: place,
                action,
            } => {
                self.num_nonfinite += 1;
                self.mark(*step, Mark::Nonfinite);
                let line = format!("{place} is not finite at step {step}: {action}");
                self.log(time, *step, Level::Bad, "nonfin", &line);
            }
            // The event of its own has said it.
            Body::Alert(alert) if alert.rule == NONFINITE => {
                if let Some(line) = self.log.back_mut().filter(|line| line.tag == "nonfin") {
                    line.alert = Some(alert.clone());
                }
            }
            Body::Alert(alert) => {
                self.mark(alert.step, Mark::Alert);
                let done = match alert.action.as_str() {
                    "warn" => String::new(),
                    action => format!(": {action}"),
                };
                let level = match alert.level.as_str() {
                    "error" => Level::Bad,
                    _ => Level::Warn,
                };
                let line = format!("{}: {}{done}", alert.rule, alert.message);
                self.log(time, alert.step, level, "alert", &line);
                if let Some(line) = self.log.back_mut() {
                    line.alert = Some(alert.clone());
                }
            }
            Body::Warning { step, message } => self.log(time, *step, Level::Warn, "warn", message),
            Body::Failed { step, message } => {
                self.status = Status::Failed(message.clone());
                self.pending.clear();
                self.log(time, *step, Level::Bad, "failed", message);
            }
            Body::Finished {
                step,
                loss,
                seconds,
                reason,
            } => {
                self.status = Status::Finished(reason.clone());
                self.pending.clear();
                let line = format!(
                    "{reason} at step {}, loss {}, {} of training",
                    text::count(*step),
                    text::value(*loss, 4),
                    text::duration(*seconds)
                );
                let level = if reason == "diverged" {
                    Level::Bad
                } else {
                    Level::Good
                };
                self.log(time, *step, level, "end", &line);
            }
        }
    }

    fn start(&mut self, head: &Started, time: &str) {
        self.rewind(head.step);
        self.status = Status::Running;
        self.config.clone_from(&head.config);
        self.config_version = head.config_version;
        self.configs
            .note(head.step, head.config_version, &self.config);
        self.layers.name(&head.layers);
        let line = format!(
            "{} attempt {}  {} params {}  {} {} x{}  {}",
            head.run,
            head.attempt,
            text::number(head.parameters as f64, 3),
            head.precision,
            head.device,
            head.isa,
            head.threads,
            text::bytes(head.memory.total)
        );
        self.log(time, head.step, Level::Info, "start", &line);
        self.started = Some(head.clone());
    }

    fn train(&mut self, step: &Step) {
        if step.step <= self.track.last_step().unwrap_or(0) {
            self.rewind(step.step.saturating_sub(1));
        }
        let seconds = self.elapsed() + step.step_seconds.max(0.0);
        self.track.push(step.step, step.tokens, seconds);
        self.loss.push(step.loss);
        self.lr.push(step.lr);
        self.grad_norm.push(step.grad_norm);
        self.speed.push(step.tokens_per_second);
        self.step_seconds.push(step.step_seconds);
        self.clipped.push(f64::from(u8::from(step.clipped)));
        if self.status == Status::Waiting {
            self.status = Status::Running;
        }
    }

    fn evaluate(&mut self, eval: &Eval, time: &str) {
        self.answered("eval");
        self.mark(eval.step, Mark::Eval);
        let mut line = format!(
            "{} {}  perplexity {}",
            eval.split,
            text::value(eval.loss, 4),
            text::value(eval.perplexity, 2)
        );
        if let Some(bits) = eval.bits_per_byte {
            line.push_str("  bits/byte ");
            line.push_str(&text::value(bits, 3));
        }
        if eval.best {
            line += "  best";
        }
        let level = if eval.best { Level::Good } else { Level::Info };
        self.log(time, eval.step, level, "eval", &line);
        self.evals.push(eval.clone());
    }

    /// Forgets what came after `step`: it is superseded by another attempt.
    fn rewind(&mut self, step: u64) {
        let rows = self.track.rows_before_step(step.saturating_add(1));
        self.supersede(rows);
        self.track.truncate(rows);
        for metric in [
            &mut self.loss,
            &mut self.lr,
            &mut self.grad_norm,
            &mut self.speed,
            &mut self.step_seconds,
            &mut self.clipped,
        ] {
            metric.truncate(rows);
        }
        self.evals.retain(|e| e.step <= step);
        self.samples.retain(|s| s.step <= step);
        self.marks.retain(|m| m.0 <= step);
        self.layers.rewind(step);
        self.configs.rewind(step, self.config_version, &self.config);
    }

    fn reconfigure(&mut self, version: u32, changes: &[Change]) {
        self.config_version = version;
        self.rejected = None;
        for change in changes {
            let at = self.config.iter().position(|v| v.key == change.key);
            match at {
                // A key of a variant that was left.
                Some(at) if change.to.is_empty() => drop(self.config.remove(at)),
                Some(at) => {
                    let value = &mut self.config[at];
                    value.value.clone_from(&change.to);
                    "edit".clone_into(&mut value.source);
                }
                None => self.config.push(ConfigValue {
                    key: change.key.clone(),
                    value: change.to.clone(),
                    class: classify(&change.key).map_or("live", Class::word).to_owned(),
                    source: "edit".to_owned(),
                }),
            }
            if change.key == "train.max_steps"
                && let (Some(head), Ok(steps)) = (&mut self.started, change.to.parse())
            {
                head.max_steps = steps;
            }
        }
    }

    fn reply(&mut self, id: u64, refused: bool) {
        let (paused, running) = (
            matches!(self.status, Status::Paused(_)),
            self.status == Status::Running,
        );
        self.pending.retain(|p| {
            // A pause, a resume or a stop that was only taken is done when its own event says so.
            let awaits_event = match p.command {
                Command::Pause { .. } => !paused,
                Command::Resume => !running,
                Command::Stop { .. } => true,
                _ => false,
            };
            p.id != id || (awaits_event && !refused)
        });
    }

    /// The oldest command of that word is done.
    pub(super) fn answered(&mut self, word: &str) {
        if let Some(at) = self.pending.iter().position(|p| p.command.word() == word) {
            self.pending.remove(at);
        }
    }

    pub(super) fn mark(&mut self, step: u64, mark: Mark) {
        self.marks.push((step, mark));
    }

    pub(super) fn log(
        &mut self,
        time: &str,
        step: u64,
        level: Level,
        tag: &'static str,
        message: &str,
    ) {
        self.last_tag = Some(tag);
        self.push_log(clock(time), step, level, tag, message);
    }

    pub(super) fn push_log(
        &mut self,
        clock: String,
        step: u64,
        level: Level,
        tag: &'static str,
        message: &str,
    ) {
        if level >= Level::Warn {
            self.num_alerts += 1;
        }
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine {
            clock,
            step,
            level,
            tag,
            text: text::escape(message),
            alert: None,
        });
    }
}

/// The time of day in an RFC 3339 time.
fn clock(time: &str) -> String {
    match time.get(11..19) {
        Some(clock) => text::escape(clock),
        None => "--:--:--".to_owned(),
    }
}
