//! `zerollm attach`: the screen of a run that another process trains.

use super::screen::{ScreenFlags, Ui, follow};
use super::{Failure, RunsFlag};
use crate::seat::Seat;
use clap::Args;
use engine::link::socket::{Control, ControlError, Role};
use engine::run_folder::find;

/// Flags of `zerollm attach`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Open the screen of a run that is on in another terminal or in the background",
    long_about = "Open the screen of a run that another process of this machine trains. Every key works as there; q asks \
        whether to leave, and leaving changes nothing. One terminal at a time controls a run; others look on.",
    after_help = "Example:\n  zerollm train configs/nano.toml --run nano --detach\n  zerollm attach nano\n  \
        zerollm attach nano --read-only"
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    /// Look on: no key asks anything of the run
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    screen: ScreenFlags,
    #[command(flatten)]
    runs: RunsFlag,
}

/// Runs it.
///
/// # Errors
/// If there is no such run, it is not on, another terminal controls it, or the screen fails.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = find(&arguments.runs.dir(), &arguments.run)?;
    // Lines take no keys.
    let controls = !arguments.read_only && arguments.screen.ui.choose() == Ui::Tui;
    let (role, seat) = if controls {
        (Role::Writer, Seat::Attached)
    } else {
        (Role::Viewer, Seat::ReadOnly)
    };
    let mut control = Control::connect(&folder, role)?;
    let [first, _] = control.welcome().ids;
    follow(
        &folder,
        &arguments.screen,
        seat,
        first,
        move |request| match control.ask(Some(request.id), request.command) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        },
    )
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match error {
            ControlError::NotRunning { .. } | ControlError::Elsewhere { .. } => 2,
            ControlError::Unreachable { .. } | ControlError::Refused(_) => 1,
        };
        Self::new(code, error.to_string())
    }
}
