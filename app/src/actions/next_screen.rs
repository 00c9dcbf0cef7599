//! Go to the next or the previous screen.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("next", "下一个"),
    help: Text::new("next screen, previous screen", "下一个 / 上一个界面"),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    let num = bench.panels.len();
    let forward = if key == "tab" { 1 } else { num - 1 };
    bench.show((bench.current + forward) % num);
}
