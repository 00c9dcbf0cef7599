//! Open the command line.

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "command",
    Text::new("command", "命令"),
    Text::new(
        "command line; Tab completes, arrows go through what was typed before",
        "命令行; Tab 补全, 上下键翻历史",
    ),
    run,
);

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.open_line("");
    Ok(())
}
