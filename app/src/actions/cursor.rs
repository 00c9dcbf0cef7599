//! Move the data cursor.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("cursor", "光标"),
    help: Text::new("move the data cursor over all charts", "移动数据光标"),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    let cells = if matches!(key, "h" | "left") { -1 } else { 1 };
    let (view, state) = bench.looked_at();
    view.move_cursor(cells, &state.track);
}
