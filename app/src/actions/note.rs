//! Put a line into the run's record.

use engine::link::Command;

use super::{Action, Ran, Refused};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "note",
    Text::new("note", "备注"),
    Text::new("put a line into the run's record", "在记录中写一行备注"),
    run,
)
.asks()
.takes("TEXT", |_, _| Vec::new());

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    if argument.is_empty() {
        return Err(Refused::Unfinished);
    }
    bench.try_ask(Command::Note {
        text: argument.to_owned(),
    })
}
