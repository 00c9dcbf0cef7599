//! Show the help, or go back from it.

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "help",
    Text::new("help", "帮助"),
    Text::new(
        "every key and command with what it does",
        "全部按键与命令说明",
    ),
    run,
);

fn run(_: &str, bench: &mut Workbench) -> Ran {
    let help = bench.panels.len() - 1;
    if bench.current == help {
        bench.show(bench.previous);
    } else {
        bench.show(help);
    }
    Ok(())
}
