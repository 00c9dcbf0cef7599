//! The run as the screen knows it: every event so far, folded together.
//!
//! Pure: no clock, no environment, no input or output. [`State::apply`] is the only way in for what the engine says, so
//! nothing is shown that the engine has not confirmed; [`State::sent`] notes what was asked and not yet answered. The
//! same fold serves a live run, an attached one and the replay of an old one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use engine::infer::chat::Desk;
use engine::link::{
    Alert, Attention, Change, Command, ConfigValue, Eval, Planned, Profiled, Started, System,
};

use crate::chart::columns::Columns;
use crate::chart::ema::Ema;
use crate::chart::means::Means;
use crate::chart::series::{Series, Track};
use crate::lang::{Phrase, Text};

mod checkpoints;
mod fold;
mod history;
mod layers;
pub mod past;
mod superseded;
#[cfg(test)]
mod tests;

pub use checkpoints::{Checked, Checkpoint, Kept};
pub use fold::place;
pub use history::{History, Past};
pub use layers::{LayerHistory, Quantity, Spread};
pub use superseded::{Plotted, Superseded};

/// Lines that the log keeps; the run's folder has them all.
const LOG_LINES: usize = 2000;
/// Samples that are kept.
pub const SAMPLES: usize = 500;
/// Looks at the machine that are kept.
const LOOKS: usize = 360;

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
    /// Its engine is gone without having said how the run ended.
    Interrupted,
}

impl Status {
    /// True once nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Finished(_) | Self::Failed(_) | Self::Interrupted
        )
    }
}

/// A metric with its smoothed line.
#[derive(Clone, Debug)]
pub struct Metric {
    /// All rows.
    pub series: Series,
    /// Their moving average.
    pub ema: Ema,
    /// What their chart last showed.
    pub columns: Columns,
}

impl Metric {
    fn new(beta: f64) -> Self {
        Self {
            series: Series::default(),
            ema: Ema::new(beta),
            columns: Columns::default(),
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
        self.ema = Ema::over(beta, &self.series);
        self.columns.forget();
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
    /// A watcher found something wrong.
    Alert,
    /// A loss or gradient was not finite.
    Nonfinite,
}

impl Mark {
    /// All marks, the weightier later: where several share a column the last shows.
    pub const ALL: [Self; 6] = [
        Self::Eval,
        Self::Checkpoint,
        Self::Edit,
        Self::Resume,
        Self::Alert,
        Self::Nonfinite,
    ];

    /// Its letter below the axis.
    pub fn letter(self) -> char {
        match self {
            Self::Eval => 'E',
            Self::Checkpoint => 'C',
            Self::Edit => 'L',
            Self::Resume => 'R',
            Self::Alert => '!',
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
    /// Its number, from 0: it stays while older lines are forgotten.
    pub number: u64,
    /// Time of day, UTC: `14:02:40`.
    pub clock: String,
    /// Last step done.
    pub step: u64,
    /// Weight.
    pub level: Level,
    /// What it is about.
    pub tag: &'static str,
    /// The line.
    pub text: Phrase,
    /// The alert that it tells of.
    pub alert: Option<Box<Alert>>,
}

impl LogLine {
    /// The word for what it is about: at most nine cells.
    pub fn topic(&self) -> Text {
        topic(self.tag)
    }
}

/// The word for a tag.
fn topic(tag: &'static str) -> Text {
    let zh = match tag {
        "alert" => "警报",
        "ckpt" => "检查点",
        "config" => "配置",
        "end" => "结束",
        "eval" => "评估",
        "failed" => "失败",
        "nonfin" => "非有限",
        "note" => "说明",
        "pause" => "暂停",
        "refused" => "已拒绝",
        "reply" => "答复",
        "resume" => "恢复",
        "screen" => "界面",
        "shelf" => "存放",
        "start" => "开始",
        "warn" => "警告",
        other => other,
    };
    Text::new(tag, zh)
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
    /// Why; the place stands in the fields before.
    pub message: String,
}

/// A live edit of the configuration that came into force.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Number of the configuration that it made.
    pub number: u32,
    /// Last step done before.
    pub step: u64,
    /// Time of day, UTC.
    pub clock: String,
    /// What changed.
    pub changes: Vec<Change>,
}

/// The run that a fork comes from, as far as its screen shows it.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Its name.
    pub name: String,
    /// The step that the fork went on from.
    pub step: u64,
    /// Coordinates of its rows, those behind the fork included.
    pub track: Track,
    /// Its training loss.
    pub loss: Series,
    /// The loss as it was last drawn.
    pub means: Means,
}

/// What of the run this process reaches besides its events: told once, when the screen opens.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The run's folder, where its checkpoints can be read.
    pub folder: Option<PathBuf>,
    /// Where copies of the weights are ordered, where the engine is in this process.
    pub desk: Option<Desk>,
}

/// The run; see the module's page.
#[derive(Clone, Debug)]
pub struct State {
    /// The head of the run, of its last attempt.
    pub started: Option<Started>,
    /// What the engine is doing.
    pub status: Status,
    /// Whether it stands still with its memory given back.
    pub memory_free: bool,
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
    /// Evaluations in order.
    pub evals: Vec<Eval>,
    /// Layer statistics.
    pub layers: LayerHistory,
    /// Samples in order.
    pub samples: VecDeque<Sample>,
    /// Earlier ones that are kept no more.
    pub samples_forgotten: u64,
    /// How the machine was doing, the last looks in order.
    pub system: VecDeque<System>,
    /// Where the tokens of a prompt looked, when that was last asked.
    pub attention: Option<Box<Attention>>,
    /// What of the run this process reaches besides its events.
    pub reach: Reach,
    /// Whether its folder is gone from where it was: moved, or deleted.
    pub gone: bool,
    /// Where the time of a step went, when it was last taken.
    pub profile: Option<Box<Profiled>>,
    /// What the memory of a step is alive for.
    pub plan: Option<Box<Planned>>,
    /// Checkpoints in order.
    pub checkpoints: Vec<Checkpoint>,
    /// How often the engine has told of a change of its checkpoints.
    pub num_shelved: u64,
    /// The best checkpoint as the run's folder notes it, if it does.
    noted_best: Option<u64>,
    /// Whether the folder was looked at for it since the last checkpoint.
    knows_best: bool,
    /// The configuration in force.
    pub config: Vec<ConfigValue>,
    /// Number of its version.
    pub config_version: u32,
    /// The live edits so far, in order.
    pub versions: Vec<Version>,
    /// The configurations that came into force one after the other.
    pub configs: past::Configs,
    /// Steps that were trained again, the earliest attempt first.
    pub superseded: Vec<Superseded>,
    /// The parent, of a fork.
    pub parent: Option<Parent>,
    /// The last edit, where it was refused.
    pub rejected: Option<Rejected>,
    /// Events to mark below the charts, by step.
    pub marks: Vec<(u64, Mark)>,
    /// The last lines of the log.
    pub log: VecDeque<LogLine>,
    /// Lines that it had so far.
    num_logged: u64,
    /// Warnings and errors so far.
    pub num_alerts: usize,
    /// Steps whose loss or gradient was not finite.
    pub num_nonfinite: usize,
    /// What the last event's line in the log is about, if it left one.
    last_tag: Option<&'static str>,
}

impl State {
    /// The state before the first event. `beta` is the decay of the smoothed loss.
    pub fn new(beta: f64) -> Self {
        Self {
            started: None,
            status: Status::Waiting,
            memory_free: false,
            pending: Vec::new(),
            track: Track::default(),
            loss: Metric::new(beta),
            lr: Metric::new(0.0),
            grad_norm: Metric::new(beta),
            speed: Metric::new(beta),
            step_seconds: Metric::new(0.95),
            clipped: Metric::new(0.99),
            evals: Vec::new(),
            layers: LayerHistory::default(),
            samples: VecDeque::new(),
            samples_forgotten: 0,
            system: VecDeque::new(),
            attention: None,
            reach: Reach::default(),
            gone: false,
            profile: None,
            plan: None,
            checkpoints: Vec::new(),
            num_shelved: 0,
            noted_best: None,
            knows_best: false,
            config: Vec::new(),
            config_version: 0,
            versions: Vec::new(),
            configs: past::Configs::default(),
            superseded: Vec::new(),
            parent: None,
            rejected: None,
            marks: Vec::new(),
            log: VecDeque::new(),
            num_logged: 0,
            num_alerts: 0,
            num_nonfinite: 0,
            last_tag: None,
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
        self.track.last_step().map_or(head, |s| s.max(head))
    }

    /// Tokens trained on so far.
    pub fn tokens(&self) -> u64 {
        self.track
            .last_row()
            .map_or(0, |row| self.track.tokens(row))
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
    pub fn note(&mut self, level: Level, message: impl Into<Phrase>) {
        let (clock, step) = (String::from("--:--:--"), self.step());
        self.push_log(clock, step, level, "screen", &message.into());
    }

    /// Notes whether the run's folder is gone from its place, where that is news.
    pub fn find_folder(&mut self, gone: bool) {
        const GONE: Text = Text::new(
            "{0} is gone: the folder was moved or deleted; it is waited for",
            "{0} 已不在: 文件夹被移动或删除; 正在等它恢复",
        );
        const BACK: Text = Text::new("{0} is there again", "{0} 已恢复");
        if gone == self.gone {
            return;
        }
        self.gone = gone;
        let path = self.reach.folder.as_deref().unwrap_or(Path::new(""));
        let path = path.display().to_string();
        if gone {
            self.note(Level::Bad, GONE.fill(&[&path]));
        } else {
            self.note(Level::Good, BACK.fill(&[&path]));
        }
    }

    /// Notes that the engine is gone: without a word before, the run is interrupted.
    pub fn disconnected(&mut self) {
        if !self.status.is_over() {
            self.status = Status::Interrupted;
            self.note(
                Level::Bad,
                "the engine ended without a word; see engine.log in the run's folder",
            );
        }
        self.pending.clear();
    }
}
