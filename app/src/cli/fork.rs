//! `zerollm fork`: a new run that goes on from a checkpoint of another.

use super::screen::ScreenFlags;
use super::{ConfigFlags, Failure, RunsFlag, train};
use crate::{out, text};
use clap::Args;
use engine::launch::{Fork, ForkPlan, Request, plan_fork};
use engine::run_folder::split_step;

/// Flags of `zerollm fork`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Start a run from a checkpoint of another, with changed settings",
    long_about = "Start a run from a checkpoint of another, with changed settings. The configuration is the one in force at \
        that checkpoint; --set changes it. Every key may change that leaves the model and the tokenizer alone: rates, \
        schedule, data, batch size, seed, precision, and the optimizer, whose state starts empty if it is of another kind. \
        Without changes the fork trains as its parent did, bit for bit. The parent is only read, and may be deleted.",
    after_help = "Examples:\n  zerollm fork play\n  zerollm fork play@1000 --run play-slow --set optimizer.lr=1e-4\n  \
        zerollm fork play@1000 --set train.max_steps=5000 --dry-run"
)]
pub struct Arguments {
    /// The run, by name or folder, and the step of the checkpoint [default: its newest]
    #[arg(value_name = "RUN[@STEP]")]
    from: String,
    /// Name of the new run: its folder [default: the parent's, with a number behind it]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Stop after this many steps (the same as --set train.max_steps=N)
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Say what would be started, and start nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    screen: ScreenFlags,
    /// Train in the background: returns once the run has started; attach opens its screen
    #[cfg(unix)]
    #[arg(long, conflicts_with = "ui")]
    detach: bool,
    /// This is the process in the background
    #[cfg(unix)]
    #[arg(long, hide = true, requires = "detach")]
    detached: bool,
    #[command(flatten)]
    flags: ConfigFlags,
    #[command(flatten)]
    runs: RunsFlag,
}

/// Takes `RUN[@STEP]` apart.
///
/// # Errors
/// If what stands behind the `@` is no step.
pub fn origin(from: &str) -> Result<Fork, Failure> {
    match split_step(from) {
        (run, None) if run.contains('@') && !run.contains(std::path::is_separator) => {
            Err(Failure::new(
                2,
                format!(
                    "{}: expected RUN or RUN@STEP, such as play@1000",
                    text::escape(from)
                ),
            ))
        }
        (run, step) => Ok(Fork {
            run: run.to_owned(),
            step,
        }),
    }
}

/// What a fork would be, in lines.
pub fn lines(plan: &ForkPlan) -> Vec<String> {
    let mut lines = vec![format!("a fork of {}@{}", plan.parent, plan.step)];
    let notes = plan.notes();
    if notes.is_empty() {
        lines.push("nothing changes: it trains as its parent did".to_owned());
    }
    lines.extend(notes);
    let end = plan.config.train.max_steps;
    lines.push(match end.checked_sub(plan.step) {
        Some(0) | None => format!("it is at its end: train.max_steps = {end}"),
        Some(left) => format!("{left} steps are left to train.max_steps = {end}"),
    });
    lines
}

/// Runs it.
///
/// # Errors
/// If it does not start, or ends badly.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let fork = origin(&arguments.from)?;
    if arguments.dry_run {
        let mut flags = arguments.flags.sets();
        let steps = arguments.max_steps;
        flags.extend(steps.map(|steps| format!("train.max_steps={steps}")));
        let request = Request {
            flags,
            runs: arguments.runs.dir(),
            name: arguments.run.clone(),
            ..Request::default()
        };
        let plan = plan_fork(&request, &fork)?;
        for line in lines(&plan) {
            out::line(&text::escape(&line))?;
        }
        return Ok(0);
    }
    train::run(&train::Arguments {
        run: arguments.run.clone(),
        max_steps: arguments.max_steps,
        screen: arguments.screen.clone(),
        #[cfg(unix)]
        detach: arguments.detach,
        #[cfg(unix)]
        detached: arguments.detached,
        flags: arguments.flags.clone(),
        runs: arguments.runs.clone(),
        fork: Some(fork),
        ..train::Arguments::default()
    })
}
