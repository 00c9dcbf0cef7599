//! How each event changes the state.

use engine::config::classify;
use engine::link::{Body, Change, Command, ConfigValue, Eval, Event, Started, Step};
use engine::registry::Class;
use engine::watch::NONFINITE;

use super::{
    LOG_LINES, LOOKS, Level, LogLine, Mark, Rejected, SAMPLES, Sample, State, Status, Version,
};
use crate::lang::{Phrase, Text, term};
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
                    self.samples_forgotten += 1;
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
                const GOES_ON: Text =
                    Text::new("attempt {0} goes on from {1}", "第 {0} 次尝试从 {1} 继续");
                let line = GOES_ON.fill(&[&attempt.to_string(), path]);
                self.log(time, *step, Level::Info, "resume", line);
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
                const HARD: Text = Text::new("paused, memory given back", "已暂停, 内存已释放");
                let line = match reason {
                    Some(reason) => Phrase::from(reason.as_str()),
                    None if *hard => HARD.into(),
                    None => Text::new("paused", "已暂停").into(),
                };
                self.log(time, *step, level, "pause", line);
            }
            Body::ResumedFromPause { step } => {
                self.status = Status::Running;
                self.answered("resume");
                let line = Text::new("training goes on", "训练继续");
                self.log(time, *step, Level::Info, "pause", line);
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
                const IN_FORCE: Text = Text::new("v{0} in force: {1}", "v{0} 生效: {1}");
                let line = IN_FORCE.fill(&[&version.to_string(), &changes.join(", ")]);
                self.log(time, *step, Level::Good, "config", line);
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
                let message = without_place(message, *line, *column);
                self.rejected = Some(Rejected {
                    line: *line,
                    column: *column,
                    message: message.to_owned(),
                });
                const STAYS: Text =
                    Text::new("refused, v{0} stays: {1}{2}", "已拒绝, v{0} 不变: {1}{2}");
                let stays = self.config_version.to_string();
                let place = place(*line, *column);
                let text = STAYS.fill(&[&stays, &place, &Phrase::from(message)]);
                self.log(time, *step, Level::Warn, "config", text);
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
                    // A note is the person's own.
                    let message = match command.as_str() {
                        "note" => Phrase::verbatim(message.as_str()),
                        _ => Phrase::from(message.as_str()),
                    };
                    let line = term(command).and(&": ").and(&message);
                    self.log(time, *step, level, tag, line);
                }
            }
            Body::Nonfinite {
                step,
                r#where: place,
                action,
            } => {
                self.num_nonfinite += 1;
                self.mark(*step, Mark::Nonfinite);
                const NOT_FINITE: Text = Text::new(
                    "{0} is not finite at step {1}: {2}",
                    "第 {1} 步的 {0} 不是有限值: {2}",
                );
                let line = NOT_FINITE.fill(&[place, &step.to_string(), &term(action)]);
                self.log(time, *step, Level::Bad, "nonfin", line);
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
                    "warn" => Phrase::default(),
                    action => Phrase::verbatim(": ").and(&term(action)),
                };
                let level = match alert.level.as_str() {
                    "error" => Level::Bad,
                    _ => Level::Warn,
                };
                let line = Phrase::verbatim(alert.rule.clone() + ": ")
                    .and(&Phrase::from(alert.message.as_str()))
                    .and(&done);
                self.log(time, alert.step, level, "alert", line);
                if let Some(line) = self.log.back_mut() {
                    line.alert = Some(alert.clone());
                }
            }
            Body::Warning {
                step,
                message,
                note,
            } => {
                let (level, tag) = if *note {
                    (Level::Info, "note")
                } else {
                    (Level::Warn, "warn")
                };
                self.log(time, *step, level, tag, message.as_str());
            }
            Body::Failed { step, message } => {
                self.status = Status::Failed(message.clone());
                self.pending.clear();
                self.log(time, *step, Level::Bad, "failed", message.as_str());
            }
            Body::Finished {
                step,
                loss,
                seconds,
                reason,
            } => {
                self.status = Status::Finished(reason.clone());
                self.pending.clear();
                const ENDED: Text = Text::new(
                    "{0} at step {1}, loss {2}, {3} of training",
                    "{0}: 第 {1} 步, loss {2}, 训练用时 {3}",
                );
                const NO_STEP: Text =
                    Text::new("{0} before the first step", "{0}: 尚未训练任何一步");
                let line = match step {
                    0 => NO_STEP.fill(&[&term(reason)]),
                    _ => ENDED.fill(&[
                        &term(reason),
                        &text::count(*step),
                        &text::value(*loss, 4),
                        &text::duration(*seconds),
                    ]),
                };
                let level = if reason == "diverged" {
                    Level::Bad
                } else {
                    Level::Good
                };
                self.log(time, *step, level, "end", line);
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
        const STARTED: Text = Text::new(
            "{0} attempt {1}  {2} params {3}",
            "{0} 第 {1} 次尝试  {2} 参数 {3}",
        );
        let machine = format!(
            "{}  {} {} x{}  {}",
            head.precision,
            head.device,
            head.isa,
            head.threads,
            text::bytes(head.memory.total)
        );
        let line = STARTED.fill(&[
            &head.run,
            &head.attempt.to_string(),
            &text::number(head.parameters as f64, 3),
            &machine,
        ]);
        self.log(time, head.step, Level::Info, "start", line);
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
        const EVALUATED: Text = Text::new("{0} {1}  perplexity {2}", "{0} {1}  困惑度 {2}");
        let mut line = EVALUATED.fill(&[
            &term(&eval.split),
            &text::value(eval.loss, 4),
            &text::value(eval.perplexity, 2),
        ]);
        if let Some(bits) = eval.bits_per_byte {
            line = line.and(&format!("  bits/byte {}", text::value(bits, 3)));
        }
        if eval.best {
            line = line.and(&Text::new("  best", "  最好"));
        }
        let level = if eval.best { Level::Good } else { Level::Info };
        self.log(time, eval.step, level, "eval", line);
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
        message: impl Into<Phrase>,
    ) {
        self.last_tag = Some(tag);
        self.push_log(clock(time), step, level, tag, &message.into());
    }

    pub(super) fn push_log(
        &mut self,
        clock: String,
        step: u64,
        level: Level,
        tag: &'static str,
        message: &Phrase,
    ) {
        if level >= Level::Warn {
            self.num_alerts += 1;
        }
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine {
            number: self.num_logged,
            clock,
            step,
            level,
            tag,
            text: message.map(text::escape),
            alert: None,
        });
        self.num_logged += 1;
    }
}

/// A place in the configuration's file, before what is wrong there; nothing where `line` is 0.
pub fn place(line: usize, column: usize) -> Phrase {
    if line == 0 {
        return Phrase::default();
    }
    const PLACE: Text = Text::new("line {0}:{1}: ", "第 {0} 行第 {1} 列: ");
    PLACE.fill(&[&line.to_string(), &column.to_string()])
}

/// Why an edit was refused, without the file and place before it, which [`place`] says.
fn without_place(message: &str, line: usize, column: usize) -> &str {
    let place = format!(":{line}:{column}: ");
    let behind = message.split_once(&place).map(|(_, why)| why);
    behind.filter(|_| line > 0).unwrap_or(message)
}

/// The time of day in an RFC 3339 time.
fn clock(time: &str) -> String {
    match time.get(11..19) {
        Some(clock) => text::escape(clock),
        None => "--:--:--".to_owned(),
    }
}
