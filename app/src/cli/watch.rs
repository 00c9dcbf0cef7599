//! `zerollm watch`: looks at a run through its record alone, be it on, dead or of another machine.

use super::screen::{ScreenFlags, follow};
use super::{Failure, RunsFlag};
use crate::seat::Seat;
use clap::Args;
use engine::run_folder::find;

/// Flags of `zerollm watch`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Look at a run that is on, here or on another machine, or at one that has ended",
    long_about = "Look at a run through its folder alone: the screen of train, from the run's beginning, and on as long as \
        it is on. Nothing can be asked of the run; attach does that.",
    after_help = "Example:\n  zerollm watch demo\n  zerollm watch /net/disk/runs/demo --ui plain\n  \
        zerollm watch demo --ui json > events.jsonl    (until the run ends)"
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    #[command(flatten)]
    screen: ScreenFlags,
    #[command(flatten)]
    runs: RunsFlag,
}

/// Runs it.
///
/// # Errors
/// If there is no such run, or the screen fails.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = find(&arguments.runs.dir(), &arguments.run)?;
    let nobody = |_| Err("this screen looks on only".to_owned());
    follow(&folder, &arguments.screen, Seat::Watching, 1, nobody)
}
