//! Go back one step: from the help, then from zoom and cursor.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "back",
    Text::new("back", "返回"),
    Text::new(
        "back: leave the help, then cursor and zoom",
        "返回: 离开帮助, 取消光标与缩放",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    if bench.current == bench.panels.len() - 1 {
        bench.show(bench.previous);
    } else if bench.view.cursor.take().is_none() {
        bench.view.unzoom();
    }
}
