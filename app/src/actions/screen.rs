//! Go to a screen by its number.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("screen", "界面"),
    help: Text::new("go to that screen", "切换到该界面"),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    if let Ok(number @ 1..) = key.parse::<usize>() {
        bench.show(number - 1);
    }
}
