//! Show the help, or go back from it.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "help",
    Text::new("help", "帮助"),
    Text::new(
        "every key and command with what it does",
        "全部按键与命令说明",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    let help = bench.panels.len() - 1;
    if bench.current == help {
        bench.show(bench.previous);
    } else {
        bench.show(help);
    }
}
