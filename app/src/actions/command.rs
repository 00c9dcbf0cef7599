//! Open the command line.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "command",
    Text::new("command", "命令"),
    Text::new(
        "command line; Tab completes, arrows go through what was typed before",
        "命令行; Tab 补全, 上下键翻历史",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    bench.open_line("");
}
