//! Show the help, or go back from it.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("help", "帮助"),
    help: Text::new("every key with what it does", "全部按键说明"),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    let help = bench.panels.len() - 1;
    if bench.current == help {
        bench.show(bench.previous);
    } else {
        bench.show(help);
    }
}
