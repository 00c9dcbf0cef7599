//! Data cursor to the first or the last row.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("ends", "首尾"),
    help: Text::new(
        "data cursor to the first or the last step",
        "光标到第一步 / 最后一步",
    ),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    let (view, state) = bench.looked_at();
    let last = state.track.last_row();
    let end = if matches!(key, "g" | "home") {
        last.map(|_| 0)
    } else {
        last
    };
    view.cursor = end.map(|row| state.track.step(row));
}
