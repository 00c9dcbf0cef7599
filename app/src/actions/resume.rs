//! Go on after a pause.

use engine::link::Command;

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "resume",
    Text::new("go on", "继续"),
    Text::new("go on after a pause", "暂停后继续"),
    run,
)
.asks();

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.try_ask(Command::Resume)
}
