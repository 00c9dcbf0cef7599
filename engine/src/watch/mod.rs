//! Watchers: rules that look at what a run measures, and raise an alarm where it goes wrong.
//!
//! A rule is one file here that declares a [`Rule`], and one line of [`RULES`]; the parser of the configuration and its help
//! read the same list (`[watch]`). Rules see only what the record of events says too, and keep little: a few numbers that are
//! saved with each checkpoint ([`Watch::save`]), so that a resumed run raises the alarms of one that was never stopped. What is
//! done about an alarm is decided in `train/alerts.rs`; a rule that is not asked to act changes no number. [`batch`] keeps the
//! rows that an alarm is about, [`hooks`] tells programs outside.

pub mod batch;
mod dead_units;
pub mod disk;
mod divergence;
mod exploding;
mod gradients;
pub mod hooks;
mod series;
mod spike;
mod stall;
#[cfg(test)]
mod tests;
mod throughput;
mod vanishing;
pub mod webhook;

use crate::config::{RuleConfig, WatchConfig};
use crate::link::{Eval, Layers, Step};
use crate::registry::{Class, Default, Key, Kind};
use std::fmt::Debug;

/// Every rule, in the order of the help.
pub static RULES: &[&Rule] = &[
    &spike::RULE,
    &stall::RULE,
    &divergence::RULE,
    &dead_units::RULE,
    &vanishing::RULE,
    &exploding::RULE,
    &throughput::RULE,
    &disk::RULE,
];

/// The rule that is always on, whose action is `train.on_nonfinite`.
pub const NONFINITE: &str = "nonfinite";
/// Steps without a non-finite value before the next one is an alert of its own.
const NONFINITE_WINDOW: u64 = 10;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Path of its table in the configuration: `watch.spike`.
    pub path: &'static str,
    /// One line for the help.
    pub doc: &'static str,
    /// Its keys, `action` among them.
    pub keys: &'static [Key],
    new: fn() -> Box<dyn Watcher>,
}

impl Rule {
    /// Its name in events: `spike`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// What is done about an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, and nobody is told.
    Off,
    /// Somebody is told.
    Warn,
    /// Training stands still after the step.
    Pause,
    /// The step's update is left out.
    Skip,
    /// Back to the newest checkpoint with half the learning rate.
    Rollback,
}

impl Action {
    /// Its word in the configuration and in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Pause => "pause",
            Self::Skip => "skip",
            Self::Rollback => "rollback",
        }
    }

    /// The action of a word of the configuration.
    pub fn from_word(word: &str) -> Self {
        let all = [Self::Off, Self::Pause, Self::Skip, Self::Rollback];
        let found = all.into_iter().find(|action| action.word() == word);
        found.unwrap_or(Self::Warn)
    }
}

/// The key `action` of a rule that sees a step when its update is made already.
const ACTION: Key = action(&["warn", "pause", "rollback", "off"]);

const fn action(words: &'static [&'static str]) -> Key {
    key(
        "action",
        Kind::Choice(words),
        "\"warn\"",
        "warn tells; pause stops after the step; skip leaves the update out; rollback goes back with half the rate; off",
    )
}

/// A live key.
const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Default::Is(default),
        class: Class::Live,
        doc,
    }
}

/// What can be seen of a run.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The finite loss of a step whose update is not made yet.
    Loss {
        /// The step.
        step: u64,
        /// Nats per token.
        loss: f64,
    },
    /// A step that is done.
    Step(&'a Step),
    /// Statistics of the layers.
    Layers(&'a Layers),
    /// An evaluation.
    Eval(&'a Eval),
    /// Room for checkpoints.
    Disk {
        /// Last step done.
        step: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that a checkpoint takes.
        checkpoint: u64,
    },
}

/// What a rule makes of what it saw.
#[derive(Clone, Debug, PartialEq)]
enum Sight {
    /// It does not look at such things.
    Other,
    /// All is well.
    Calm,
    /// Something is wrong.
    Trouble(Finding),
    /// Something is wrong, and the rule has seen to it itself that it is not told twice.
    News(Finding),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// A line.
    pub message: String,
    /// The layer, where it is one.
    pub layer: Option<String>,
    /// What was measured.
    pub value: f64,
    /// The bound that it passed.
    pub threshold: f64,
}

/// The memory of a rule.
trait Watcher: Debug + Send {
    /// Looks at something. `config` may differ from one call to the next.
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight;
    /// The largest loss that it would not find trouble in now, before its update.
    fn most_loss(&self, _: &RuleConfig) -> f64 {
        f64::INFINITY
    }
    /// How many calm looks part one alert from the next.
    fn window(&self, config: &RuleConfig) -> u64;
    /// What it knows, as numbers.
    fn save(&self) -> Vec<f64>;
    /// Takes over what [`Watcher::save`] gave; numbers that are missing leave it as new.
    fn load(&mut self, saved: &[f64]);
}

/// An alarm of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Name of the rule.
    pub rule: &'static str,
    /// What the configuration wants done.
    pub action: Action,
    /// What is wrong.
    pub finding: Finding,
    /// Whether the rule was quiet for its window before; else nobody outside is told again.
    pub fresh: bool,
}

/// Tells a new trouble from one that goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    /// Calm looks since the last trouble, if there was any.
    calm: Option<u64>,
}

impl Quiet {
    fn calm(&mut self) {
        self.calm = self.calm.map(|count| count + 1);
    }

    /// Notes a trouble; true if there was none for `window` looks.
    fn trouble(&mut self, window: u64) -> bool {
        let fresh = self.calm.is_none_or(|count| count >= window);
        self.calm = Some(0);
        fresh
    }

    fn save(self) -> f64 {
        self.calm.map_or(-1.0, |count| count as f64)
    }

    fn load(saved: Option<&f64>) -> Self {
        let calm = saved.filter(|count| **count >= 0.0);
        Self {
            calm: calm.map(|count| *count as u64),
        }
    }
}

#[derive(Debug)]
struct Watched {
    rule: &'static Rule,
    watcher: Box<dyn Watcher>,
    quiet: Quiet,
}

/// All rules with what they know of a run.
#[derive(Debug)]
pub struct Watch {
    rules: Vec<Watched>,
    nonfinite: Quiet,
}

impl std::default::Default for Watch {
    fn default() -> Self {
        let rules = RULES.iter().map(|rule| Watched {
            rule,
            watcher: (rule.new)(),
            quiet: Quiet::default(),
        });
        Self {
            rules: rules.collect(),
            nonfinite: Quiet::default(),
        }
    }
}

impl Watch {
    /// Shows every rule something. A trouble that goes on is an alarm once, except where its rule leaves out updates: each
    /// of those is told.
    pub fn look(&mut self, config: &WatchConfig, seen: &Seen<'_>) -> Vec<Alarm> {
        if let Seen::Loss { .. } = seen {
            self.nonfinite.calm();
        }
        let mut alarms = Vec::new();
        for (watched, config) in self.rules.iter_mut().zip(&config.rules) {
            let (finding, fresh) = match watched.watcher.see(config, seen) {
                Sight::Other => continue,
                Sight::Calm => {
                    watched.quiet.calm();
                    continue;
                }
                Sight::Trouble(finding) => {
                    let window = watched.watcher.window(config);
                    (finding, watched.quiet.trouble(window))
                }
                Sight::News(finding) => (finding, true),
            };
            let told = fresh || config.action == Action::Skip;
            if told && config.action != Action::Off {
                alarms.push(Alarm {
                    rule: watched.rule.name(),
                    action: config.action,
                    finding,
                    fresh,
                });
            }
        }
        alarms
    }

    /// The largest loss of the next step that no rule will look up at: what is above must not be trained on before
    /// [`Watch::look`] has seen it.
    pub fn most_loss(&self, config: &WatchConfig) -> f64 {
        let rules = self.rules.iter().zip(&config.rules);
        rules
            .filter(|(_, config)| config.action != Action::Off)
            .map(|(watched, config)| watched.watcher.most_loss(config))
            .fold(f64::INFINITY, f64::min)
    }

    /// Notes a loss or gradient that is not finite; false where one was told of a few steps before.
    pub fn nonfinite(&mut self) -> bool {
        self.nonfinite.trouble(NONFINITE_WINDOW)
    }

    /// What all rules know, as named numbers; a name comes as often as its rule has numbers, in order.
    pub fn save(&self) -> Vec<(String, f64)> {
        let mut saved = vec![(name(NONFINITE), self.nonfinite.save())];
        for watched in &self.rules {
            let numbers = std::iter::once(watched.quiet.save()).chain(watched.watcher.save());
            saved.extend(numbers.map(|number| (watched.rule.path.to_owned(), number)));
        }
        saved
    }

    /// What [`Watch::save`] gave, other numbers among it; rules that it does not name are as new.
    pub fn load(saved: &[(String, f64)]) -> Self {
        let of = |name: &str| -> Vec<f64> {
            let mine = saved.iter().filter(|(known, _)| known == name);
            mine.map(|(_, number)| *number).collect()
        };
        let mut watch = Self {
            nonfinite: Quiet::load(of(&name(NONFINITE)).first()),
            ..Self::default()
        };
        for watched in &mut watch.rules {
            let numbers = of(watched.rule.path);
            if let [quiet, rest @ ..] = numbers.as_slice() {
                watched.quiet = Quiet::load(Some(quiet));
                watched.watcher.load(rest);
            }
        }
        watch
    }
}

fn name(rule: &str) -> String {
    format!("watch.{rule}")
}
