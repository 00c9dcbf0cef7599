//! Jump from marker to marker.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("marker", "标记"),
    help: Text::new(
        "data cursor to the previous or next marker",
        "光标跳到上/下一个标记",
    ),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    let (view, state) = bench.looked_at();
    let here = view.cursor.unwrap_or(state.step() + 1);
    let steps = state.marks.iter().map(|mark| mark.0);
    let found = if key == "H" {
        steps.filter(|&step| step < here).max()
    } else {
        steps.filter(|&step| step > here).min()
    };
    view.cursor = found.or(view.cursor);
}
