//! Zoom the horizontal axis.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("zoom", "缩放"),
    help: Text::new(
        "zoom in, out (around the cursor), whole run",
        "放大, 缩小(以光标为中心), 全程",
    ),
    run,
};

fn run(key: &str, bench: &mut Workbench) {
    let (view, state) = bench.looked_at();
    match key {
        "0" => view.zoom = 0,
        _ => view.zoom_by(matches!(key, "z" | "+"), &state.track),
    }
}
