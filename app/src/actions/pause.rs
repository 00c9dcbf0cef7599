//! Pause, or go on; or give the memory back until then.

use engine::link::Command;

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::state::Status;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["toggle", "hard"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "pause",
    Text::new("pause", "暂停"),
    Text::new(
        "pause after this micro-batch, memory kept (toggle: again goes on; hard: write a checkpoint, give the memory back)",
        "本微批次后暂停, 保留内存 (toggle: 再按继续; hard: 保存检查点并释放内存)",
    ),
    run,
)
.asks()
.takes("[toggle|hard]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let hard = match argument {
        "hard" => true,
        "toggle" if is_paused(bench) => return bench.try_ask(Command::Resume),
        "" | "toggle" => false,
        other => return Err(expected(&WORDS, other)),
    };
    bench.try_ask(Command::Pause { hard })
}

/// What was asked last counts, so that two quick presses are a pause and its end.
fn is_paused(bench: &Workbench) -> bool {
    let pending = bench.state.pending.iter().rev();
    let asked = pending.filter_map(|p| match p.command {
        Command::Pause { .. } => Some(true),
        Command::Resume => Some(false),
        _ => None,
    });
    let paused = matches!(bench.state.status, Status::Paused(_));
    asked.into_iter().next().unwrap_or(paused)
}
