//! Mark a checkpoint with a name, so that it stays.

use engine::link::Command;

use super::{Action, Ran, Refused, rollback, step};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "tag",
    Text::new("tag", "标签"),
    Text::new(
        "mark the checkpoint of that step with a name: keep_last never deletes it",
        "给该步的检查点加标签: keep_last 永不删除它",
    ),
    run,
)
.asks()
.takes("STEP NAME", |before, bench| match before {
    [] => rollback::steps(bench),
    _ => Vec::new(),
});

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let (word, name) = argument
        .split_once(char::is_whitespace)
        .unwrap_or((argument, ""));
    let (step, name) = (step(word)?, name.trim().to_owned());
    if name.is_empty() {
        return Err(Refused::Unfinished);
    }
    bench.try_ask(Command::Tag { step, name })
}
