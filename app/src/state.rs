//! The run as the screen knows it: every event so far, folded together.
//!
//! Pure: no clock, no environment, no input or output. [`State::apply`] is the only way in for what the engine says, so
//! nothing is shown that the engine has not confirmed; [`State::sent`] notes what was asked and not yet answered. The
//! same fold serves a live run, an attached one and the replay of an old one.

use std::collections::VecDeque;

use engine::link::{Body, Command, ConfigValue, Eval, Event, Started, Step};

use crate::chart::ema::Ema;
use crate::chart::series::{Series, Track};
use crate::text;

mod layers;
#[cfg(test)]
mod tests;

pub use layers::{LayerHistory, Quantity};

/// Lines that the log keeps; the run's folder has them all.
const LOG_LINES: usize = 2000;
/// Samples that are kept.
const SAMPLES: usize = 500;

/// What the engine is doing, as it last said.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Status {
    /// It has not said anything yet.
    #[default]
    Waiting,
    /// It trains.
    Running,
    /// It stands still, with the reason where nobody asked for it.
    Paused(Option<String>),
    /// The run ended, with the reason.
    Finished(String),
    /// The run ended on an error.
    Failed(String),
}

impl Status {
    /// True once nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed(_))
    }
}

/// A metric with its smoothed line.
#[derive(Clone, Debug)]
pub struct Metric {
    /// All rows.
    pub series: Series,
    /// Their moving average.
    pub ema: Ema,
}

impl Metric {
    fn new(beta: f64) -> Self {
        Self {
            series: Series::default(),
            ema: Ema::new(beta),
        }
    }

    fn push(&mut self, value: f64) {
        self.series.push(value);
        if let Some(row) = self.series.last() {
            self.ema.push(row);
        }
    }

    fn truncate(&mut self, len: usize) {
        if len < self.series.len() {
            self.series.truncate(len);
            self.smooth(self.ema.beta());
        }
    }

    fn smooth(&mut self, beta: f64) {
        self.ema = Ema::over(beta, self.series.values());
    }
}

/// What happened at a step, as marked below the charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Evaluated.
    Eval,
    /// A checkpoint was written.
    Checkpoint,
    /// An edit of the configuration came into force.
    Edit,
    /// The run went on from a checkpoint.
    Resume,
    /// A loss or gradient was not finite.
    Nonfinite,
}

impl Mark {
    /// All marks, the weightier later: where several share a column the last shows.
    pub const ALL: [Self; 5] = [
        Self::Eval,
        Self::Checkpoint,
        Self::Edit,
        Self::Resume,
        Self::Nonfinite,
    ];

    /// Its letter below the axis.
    pub fn letter(self) -> char {
        match self {
            Self::Eval => 'E',
            Self::Checkpoint => 'C',
            Self::Edit => 'L',
            Self::Resume => 'R',
            Self::Nonfinite => 'N',
        }
    }
}

/// One text that the model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// After this step.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
    /// Share of sentences that the demo's grammar accepts.
    pub readable: Option<f64>,
}

/// One checkpoint on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// After this step.
    pub step: u64,
    /// Its folder, relative to the run's.
    pub path: String,
    /// Time that writing took.
    pub seconds: f64,
    /// Size on disk.
    pub bytes: u64,
    /// Why it was written.
    pub reason: String,
    /// Smoothed loss of that step.
    pub loss: Option<f32>,
}

/// How much a line of the log weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Ordinary.
    Info,
    /// Good news.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

/// One line of the log. Its text holds no control characters.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Time of day, UTC: `14:02:40`.
    pub clock: String,
    /// Last step done.
    pub step: u64,
    /// Weight.
    pub level: Level,
    /// What it is about.
    pub tag: &'static str,
    /// The line.
    pub text: String,
}

/// A command that the engine has not answered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Its number.
    pub id: u64,
    /// What was asked.
    pub command: Command,
}

/// An edit of the configuration that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Line in the file, from 1; 0 where the edit was not a file's.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Why.
    pub message: String,
}

/// The run; see the module's page.
#[derive(Clone, Debug)]
pub struct State {
    /// The head of the run, of its last attempt.
    pub started: Option<Started>,
    /// What the engine is doing.
    pub status: Status,
    /// Commands that are not answered yet, the oldest first.
    pub pending: Vec<Pending>,
    /// Steps, tokens and seconds of the rows below.
    pub track: Track,
    /// Training loss, nats per token.
    pub loss: Metric,
    /// Learning rate.
    pub lr: Metric,
    /// Gradient norm before clipping.
    pub grad_norm: Metric,
    /// Tokens per second.
    pub speed: Metric,
    /// Step time in seconds.
    pub step_seconds: Metric,
    /// Whether each row's gradient was clipped: 1 or 0.
    pub clipped: Metric,
    /// The last row.
    pub last: Option<Step>,
    /// Evaluations in order.
    pub evals: Vec<Eval>,
    /// Layer statistics.
    pub layers: LayerHistory,
    /// Samples in order.
    pub samples: VecDeque<Sample>,
    /// Checkpoints in order.
    pub checkpoints: Vec<Checkpoint>,
    /// The configuration in force.
    pub config: Vec<ConfigValue>,
    /// Number of its version.
    pub config_version: u32,
    /// The last edit, where it was refused.
    pub rejected: Option<Rejected>,
    /// Events to mark below the charts, by step.
    pub marks: Vec<(u64, Mark)>,
    /// The last lines of the log.
    pub log: VecDeque<LogLine>,
    /// Warnings and errors so far.
    pub num_alerts: usize,
    /// Steps whose loss or gradient was not finite.
    pub num_nonfinite: usize,
}

impl State {
    /// The state before the first event. `beta` is the decay of the smoothed loss.
    pub fn new(beta: f64) -> Self {
        Self {
            started: None,
            status: Status::Waiting,
            pending: Vec::new(),
            track: Track::default(),
            loss: Metric::new(beta),
            lr: Metric::new(0.0),
            grad_norm: Metric::new(beta),
            speed: Metric::new(beta),
            step_seconds: Metric::new(0.95),
            clipped: Metric::new(0.99),
            last: None,
            evals: Vec::new(),
            layers: LayerHistory::default(),
            samples: VecDeque::new(),
            checkpoints: Vec::new(),
            config: Vec::new(),
            config_version: 0,
            rejected: None,
            marks: Vec::new(),
            log: VecDeque::new(),
            num_alerts: 0,
            num_nonfinite: 0,
        }
    }

    /// Changes the decay of the smoothed lines.
    pub fn smooth(&mut self, beta: f64) {
        for metric in [&mut self.loss, &mut self.grad_norm, &mut self.speed] {
            metric.smooth(beta);
        }
    }

    /// Last step done.
    pub fn step(&self) -> u64 {
        let head = self.started.as_ref().map_or(0, |s| s.step);
        self.last.as_ref().map_or(head, |l| l.step.max(head))
    }

    /// Where training ends, if it is known.
    pub fn max_steps(&self) -> Option<u64> {
        let head = self.started.as_ref()?;
        (head.max_steps > 0).then_some(head.max_steps)
    }

    /// Seconds spent training, pauses left out.
    pub fn elapsed(&self) -> f64 {
        let extent = self.track.extent(crate::chart::series::XUnit::Time);
        extent.map_or(0.0, |e| e.1)
    }

    /// Seconds of training that are left at the present pace.
    pub fn remaining(&self) -> Option<f64> {
        let steps = self.max_steps()?.saturating_sub(self.step());
        let pace = self.step_seconds.ema.last()?;
        (!self.status.is_over()).then(|| steps as f64 * f64::from(pace))
    }

    /// The evaluation with the lowest loss.
    pub fn best_eval(&self) -> Option<&Eval> {
        let finite = self.evals.iter().filter(|e| e.loss.is_finite());
        finite.min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// Notes a command that was sent.
    pub fn sent(&mut self, id: u64, command: Command) {
        self.pending.push(Pending { id, command });
    }

    /// Notes something that concerns the screen, not the run: a lost command, a panic behind the screen.
    pub fn note(&mut self, level: Level, message: &str) {
        let (clock, step) = (String::from("--:--:--"), self.step());
        self.push_log(clock, step, level, "screen", message);
    }

    /// Notes that the engine is gone. Without a word before, that is a failure.
    pub fn disconnected(&mut self) {
        if !self.status.is_over() {
            let message = "the engine ended without a word; see engine.log in the run's folder";
            self.status = Status::Failed(message.to_owned());
            self.note(Level::Bad, message);
        }
        self.pending.clear();
    }

    /// Folds one event in.
    pub fn apply(&mut self, event: &Event) {
        let time = &event.time;
        match &event.body {
            Body::Started(head) => self.start(head, time),
            Body::Step(step) => self.train(step),
            Body::Layers(layers) => self.layers.push(layers),
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
            Body::Checkpoint {
                step,
                path,
                seconds,
                bytes,
                reason,
            } => {
                if reason == "command" {
                    self.answered("checkpoint");
                }
                self.checkpoints.retain(|c| c.path != *path);
                self.checkpoints.push(Checkpoint {
                    step: *step,
                    path: path.clone(),
                    seconds: *seconds,
                    bytes: *bytes,
                    reason: reason.clone(),
                    loss: self.loss.ema.last(),
                });
                self.mark(*step, Mark::Checkpoint);
                let line = format!(
                    "{path}  {}  {}  ({reason})",
                    text::bytes(*bytes),
                    text::duration(*seconds)
                );
                self.log(time, *step, Level::Good, "ckpt", &line);
            }
            Body::Resumed {
                step,
                path,
                attempt,
            } => {
                self.rewind(*step);
                self.mark(*step, Mark::Resume);
                self.status = Status::Running;
                let line = format!("attempt {attempt} goes on from {path}");
                self.log(time, *step, Level::Info, "resume", &line);
            }
            Body::Paused { step, reason } => {
                self.status = Status::Paused(reason.clone());
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
                    reason.as_deref().unwrap_or("paused"),
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
                self.mark(*step, Mark::Edit);
                let changes: Vec<String> = changes
                    .iter()
                    .map(|c| format!("{} {} -> {}", c.key, c.from, c.to))
                    .collect();
                let line = format!("v{version} in force: {}", changes.join(", "));
                self.log(time, *step, Level::Good, "config", &line);
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
                let level = if *refused { Level::Warn } else { Level::Info };
                let line = format!("{command}: {message}");
                self.log(
                    time,
                    *step,
                    level,
                    if *refused { "refused" } else { "reply" },
                    &line,
                );
            }
            Body::Nonfinite {
                step,
                r#where,
                action,
            } => {
                self.num_nonfinite += 1;
                self.mark(*step, Mark::Nonfinite);
                let line = format!("{} is not finite at step {step}: {action}", r#where);
                self.log(time, *step, Level::Bad, "nonfin", &line);
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
        self.config = head.config.clone();
        self.config_version = head.config_version;
        self.layers.name(&head.layers);
        let line = format!(
            "{} attempt {}: {} parameters, {} on {} {} x{}, {}",
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
        if step.step <= self.track.steps().last().copied().unwrap_or(0) {
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
        self.last = Some(step.clone());
        if self.status == Status::Waiting {
            self.status = Status::Running;
        }
    }

    fn evaluate(&mut self, eval: &Eval, time: &str) {
        self.answered("eval");
        self.mark(eval.step, Mark::Eval);
        let bits = eval.bits_per_byte.map_or_else(String::new, |b| {
            format!("  {} bits/byte", text::value(b, 3))
        });
        let best = if eval.best { "  best so far" } else { "" };
        let line = format!(
            "{} loss {}  perplexity {}{bits}{best}",
            eval.split,
            text::value(eval.loss, 4),
            text::value(eval.perplexity, 2)
        );
        let level = if eval.best { Level::Good } else { Level::Info };
        self.log(time, eval.step, level, "eval", &line);
        self.evals.push(eval.clone());
    }

    /// Forgets what came after `step`: it is superseded by another attempt.
    fn rewind(&mut self, step: u64) {
        let rows = self.track.rows_before_step(step.saturating_add(1));
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
        self.last = self.last.take().filter(|l| l.step <= step);
        self.evals.retain(|e| e.step <= step);
        self.samples.retain(|s| s.step <= step);
        self.marks.retain(|m| m.0 <= step);
        self.layers.rewind(step);
    }

    fn reconfigure(&mut self, version: u32, changes: &[engine::link::Change]) {
        self.config_version = version;
        self.rejected = None;
        for change in changes {
            if let Some(value) = self.config.iter_mut().find(|v| v.key == change.key) {
                value.value.clone_from(&change.to);
                "edit".clone_into(&mut value.source);
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
    fn answered(&mut self, word: &str) {
        if let Some(at) = self.pending.iter().position(|p| p.command.word() == word) {
            self.pending.remove(at);
        }
    }

    fn mark(&mut self, step: u64, mark: Mark) {
        self.marks.push((step, mark));
    }

    fn log(&mut self, time: &str, step: u64, level: Level, tag: &'static str, message: &str) {
        self.push_log(clock(time), step, level, tag, message);
    }

    fn push_log(
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
