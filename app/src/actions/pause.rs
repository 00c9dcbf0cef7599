//! Pause, or go on.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::state::Status;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("pause", "暂停"),
    help: Text::new(
        "pause after this step, memory kept; again: go on",
        "本步后暂停(保留内存); 再按继续",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    // What was asked last counts, so that two quick presses are a pause and its end.
    let asked = bench
        .state
        .pending
        .iter()
        .rev()
        .find_map(|p| match p.command {
            Command::Pause { .. } => Some(true),
            Command::Resume => Some(false),
            _ => None,
        });
    let paused = asked.unwrap_or(matches!(bench.state.status, Status::Paused(_)));
    bench.ask(if paused {
        Command::Resume
    } else {
        Command::Pause { hard: false }
    });
}
