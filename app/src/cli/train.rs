//! `zerollm train`: starts a run and follows it with a screen, with lines, or with JSON.

#[cfg(unix)]
use super::detach;
use super::screen::{ScreenFlags, Ui};
use super::{ConfigFlags, Failure, RunsFlag};
use crate::ancestry;
use crate::book::Known;
use crate::book::query::{self, Query};
use crate::config_file;
use crate::out;
use crate::signals::{self, Grace};
use crate::state::History;
use crate::ui::{self, Outcome};
use crate::watch_file;
use clap::Args;
use engine::launch::{Fork, Launched, Request, launch};
use engine::link::{Body, Client, Command, Event, Request as EngineRequest};
use engine::run_folder::summary;
use engine::train::run::Ending;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Exit code of a run that left the machine because a signal asked for it: EX_TEMPFAIL of sysexits.h.
const PREEMPTED: u8 = 75;

/// Flags of `zerollm train`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  zerollm train\n  zerollm train configs/nano.toml --run first --set optimizer.lr=3e-4\n  \
        zerollm train --run first --resume --max-steps 20000\n  \
        zerollm train configs/nano.toml --detach"
)]
pub struct Arguments {
    /// Configuration file (TOML); without one the embedded demo
    pub config: Option<PathBuf>,
    /// Name of the run: its folder
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Go on with the run that --run names, else with the newest, from its newest valid checkpoint
    #[arg(long)]
    pub resume: bool,
    /// Stop after this many steps (the same as --set train.max_steps=N)
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    #[command(flatten)]
    pub screen: ScreenFlags,
    /// Train in the background: returns once the run has started; attach opens its screen
    #[cfg(unix)]
    #[arg(long, conflicts_with = "ui")]
    pub detach: bool,
    /// This is the process in the background
    #[cfg(unix)]
    #[arg(long, hide = true, requires = "detach")]
    pub detached: bool,
    /// Exit with 1 unless this holds of a run that has ended in good order, such as 'val_loss<2 and seconds<600'
    #[arg(long = "assert", value_name = "EXPRESSION")]
    pub assertions: Vec<String>,
    /// Exit with 1 where a run that has ended in good order took longer than this, preparation and pauses included
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub assert_max_seconds: Option<f64>,
    /// Exit code after a signal has asked for the machine [default: 75]
    #[arg(long, value_name = "CODE")]
    pub preempt_exit_code: Option<u8>,
    /// List every configuration key with its default and class, and exit
    #[arg(long)]
    pub help_config: bool,
    #[command(flatten)]
    pub flags: ConfigFlags,
    #[command(flatten)]
    pub runs: RunsFlag,
    /// What `zerollm fork` starts from.
    #[arg(skip)]
    pub fork: Option<Fork>,
}

/// A number of seconds on the command line.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "expected a number of seconds".to_owned())
}

/// Runs it.
///
/// # Errors
/// If it does not start, or ends badly.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let begin = Instant::now();
    if arguments.help_config {
        out::text(&engine::config::Config::schema_help())?;
        return Ok(0);
    }
    let mut options = arguments.screen.options()?;
    let assertions = assertions(&arguments.assertions)?;
    #[cfg(unix)]
    if arguments.detach && !arguments.detached {
        return detach::start(arguments.runs.runs.as_deref());
    }
    #[cfg(unix)]
    let detached = arguments.detached;
    #[cfg(not(unix))]
    let detached = false;
    let ui = if detached {
        Ui::None
    } else {
        arguments.screen.ui.choose()
    };
    let mut flags = arguments.flags.sets();
    flags.extend(
        arguments
            .max_steps
            .map(|steps| format!("train.max_steps={steps}")),
    );
    let request = Request {
        file: arguments.config.clone(),
        flags,
        runs: arguments.runs.dir(),
        name: arguments.run.clone(),
        resume: arguments.resume,
        fork: arguments.fork.clone(),
        command: command_line(),
        commit: crate::COMMIT.to_owned(),
    };
    let preempted = arguments.preempt_exit_code.unwrap_or(PREEMPTED);
    let grace = Grace {
        preempted,
        runs: arguments.runs.runs.clone(),
    };
    let signals = signals::install(Some(grace))
        .map_err(|error| Failure::new(1, format!("signals: {error}")))?;
    options.signals = signals.clone();
    // Before the run reads it: an edit made while the data are prepared is one of the run that comes out of it.
    let known = arguments
        .config
        .as_ref()
        .map_or_else(watch_file::Known::default, |file| {
            watch_file::Known::of(file)
        });
    let mut progress = Progress::new(ui != Ui::None || detached);
    let launched = launch(&request, &signals.interrupt, &mut |what| {
        progress.show(what)
    });
    progress.clear();
    let Launched {
        client,
        thread,
        folder,
        desk,
        ..
    } = launched.map_err(|error| match Failure::from(error) {
        failure if failure.code == PREEMPTED => Failure::new(preempted, failure.message),
        failure => failure,
    })?;
    options.reach.desk = Some(desk);
    if ui == Ui::Tui {
        if arguments.resume {
            // A record that cannot be read is shown as none.
            options.history = History::read(&folder).unwrap_or_default();
        }
        ancestry::tell(&mut options, &folder);
    }
    options.file = arguments
        .config
        .as_ref()
        .map(|file| config_file::File::new(file, known.clone()));
    let _watcher = arguments
        .config
        .as_ref()
        .map(|file| watch_file::watch(file, known, client.requests.clone()));
    let mut unwritten = None;
    let gave_up = match ui {
        Ui::Tui => follow_on_screen(client, &options, &folder),
        Ui::Json => follow_as_json(client, &mut unwritten),
        Ui::Plain | Ui::Auto => follow_plainly(client),
        #[cfg(unix)]
        Ui::None if detached => {
            let mut started = false;
            follow(client, |_| {
                if !std::mem::replace(&mut started, true) {
                    detach::settle(&folder);
                }
            })
        }
        Ui::None => follow(client, |_| {}),
    };
    let ending = thread.join().unwrap_or_else(|_| Ending::Failed {
        message: "the engine is gone".to_owned(),
        code: 1,
    });
    let outcome = match ending {
        Ending::Done if !gave_up => {
            let late = late(begin.elapsed(), arguments.assert_max_seconds);
            held(late.into_iter().chain(broken(&folder, &assertions)))
        }
        Ending::Done => Err(Failure::new(
            3,
            "the loss or its gradient is not finite, and nobody was there to decide: the run is stopped with a checkpoint",
        )),
        Ending::Untrained => Err(Failure::new(
            130,
            "stopped before the first step was done: there is no checkpoint, and --resume begins at step 0",
        )),
        Ending::Diverged => Err(Failure::new(
            3,
            "the loss or its gradient is not finite: the run has ended (train.on_nonfinite)",
        )),
        Ending::Preempted => Ok(preempted),
        Ending::Failed { message, code } => Err(Failure::new(code, message)),
    };
    match (outcome, unwritten) {
        (Ok(0), Some(unwritten)) => Err(unwritten),
        (outcome, Some(unwritten)) => {
            say(format_args!("zerollm: {}\n", unwritten.message));
            outcome
        }
        (outcome, None) => outcome,
    }
}

/// What a run shall be held to, as it was written and as it is understood.
fn assertions(texts: &[String]) -> Result<Vec<(String, Query)>, Failure> {
    let each = texts.iter().map(|text| {
        let query = query::parse(text);
        let query = query.map_err(|error| Failure::new(2, format!("--assert: {error}")))?;
        Ok((text.clone(), query))
    });
    each.collect()
}

/// Why a run that has ended does not hold what was asserted of its time.
fn late(took: Duration, most: Option<f64>) -> Option<String> {
    let took = took.as_secs_f64();
    let most = most.filter(|most| took > *most)?;
    Some(format!(
        "--assert-max-seconds {most} does not hold: it took {took:.1} s, preparation and pauses included"
    ))
}

/// Why a run that has ended is not what was asserted: a line for each assertion that does not hold.
fn broken(folder: &Path, assertions: &[(String, Query)]) -> Vec<String> {
    if assertions.is_empty() {
        return Vec::new();
    }
    let entry = Known::default().entry(summary(folder));
    let broken = assertions.iter().filter(|(_, query)| !query.holds(&entry));
    let line = |text: &String| {
        format!(
            "--assert {text:?} does not hold: `zerollm show {}` has the figures",
            entry.summary.name
        )
    };
    broken.map(|(text, _)| line(text)).collect()
}

/// All that was asserted and does not hold, told at once: who mends one would otherwise train again to hear of the next.
fn held(broken: impl Iterator<Item = String>) -> Result<u8, Failure> {
    let lines: Vec<String> = broken.collect();
    if lines.is_empty() {
        Ok(0)
    } else {
        Err(Failure::new(1, lines.join("; ")))
    }
}

/// The command line as the person gave it.
fn command_line() -> Vec<String> {
    let all = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    #[cfg(unix)]
    return all.filter(|word| word != detach::FLAG).collect();
    #[cfg(not(unix))]
    return all.collect();
}

/// What preparation is busy with, on one line of stderr that goes away.
struct Progress {
    shown: bool,
    enabled: bool,
    start: Instant,
}

impl Progress {
    fn new(enabled: bool) -> Self {
        Self {
            shown: false,
            enabled: enabled && std::io::stderr().is_terminal(),
            start: Instant::now(),
        }
    }

    fn show(&mut self, what: &str) {
        // Short work needs no words.
        if self.enabled && self.start.elapsed() > Duration::from_millis(500) {
            self.shown = true;
            say(format_args!("\r\x1b[2K{what} ..."));
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            say(format_args!("\r\x1b[2K"));
        }
    }
}

/// Writes to stderr, which may be gone, with the terminal or a reader: that ends nothing.
fn say(text: std::fmt::Arguments<'_>) {
    drop(std::io::stderr().write_fmt(text));
}

/// Follows on the screen, and without it if the person leaves it. Returns as [`follow`].
fn follow_on_screen(client: Client, options: &ui::Options, folder: &Path) -> bool {
    let (outcome, client) = ui::run(client, options);
    match outcome {
        Outcome::Ended(_) => {
            say(format_args!(
                "zerollm: the run is in {}\n",
                folder.display()
            ));
            false
        }
        Outcome::Detached => {
            say(format_args!(
                "zerollm: training goes on without a screen; Ctrl-C stops it with a checkpoint\n"
            ));
            follow_plainly(client)
        }
        Outcome::HardExit => signals::leave(130),
        Outcome::Lost(why) => {
            say(format_args!(
                "zerollm: {why}; training goes on without a screen\n"
            ));
            follow_plainly(client)
        }
    }
}

/// Follows as JSON, until the reader is gone or stdout cannot be written. That ends the lines, never training; `unwritten`
/// says why, but of a reader that closed the pipe, who has seen enough.
fn follow_as_json(client: Client, unwritten: &mut Option<Failure>) -> bool {
    let mut open = true;
    follow(client, |event| {
        if !open {
            return;
        }
        // The line is the one in events.jsonl.
        if let Ok(line) = serde_json::to_string(event)
            && let Err(mut failure) = out::line(&line)
        {
            open = false;
            failure.message.push_str(
                "; training went on, and events.jsonl in the run's folder has every line",
            );
            *unwritten = Some(failure).filter(|failure| failure.code != 0);
        }
    })
}

fn follow_plainly(client: Client) -> bool {
    let mut plain = crate::plain::Plain::default();
    follow(client, |event| {
        if let Some(line) = plain.line(event) {
            say(format_args!("{line}\n"));
        }
    })
}

/// Tells each event until the engine is done. Without a screen nobody can press a key: a run that pauses itself for want
/// of a decision is stopped with a checkpoint. Returns whether that happened.
fn follow(client: Client, mut tell: impl FnMut(&Event)) -> bool {
    let Client { events, requests } = client;
    let mut gave_up = false;
    for event in events {
        tell(&event);
        if undecided(&event) {
            gave_up = true;
            // Lost only if the engine is gone, and with it the pause.
            drop(requests.try_send(EngineRequest {
                id: 0,
                command: Command::Stop { checkpoint: true },
            }));
        }
    }
    gave_up
}

/// Whether training stands still until a person says how it goes on.
fn undecided(event: &Event) -> bool {
    matches!(&event.body, Body::Paused { reason: Some(reason), .. } if reason.contains("not finite"))
}
