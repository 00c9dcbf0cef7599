//! Zoom the horizontal axis.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 3] = ["in", "out", "all"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "zoom",
    Text::new("zoom", "缩放"),
    Text::new(
        "zoom in, out (around the cursor), whole run",
        "放大, 缩小(以光标为中心), 全程",
    ),
    run,
)
.takes("in|out|all", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let (view, state) = bench.looked_at();
    match argument {
        "all" => view.unzoom(),
        "in" => view.zoom_by(true, &state.track),
        "out" => view.zoom_by(false, &state.track),
        other => return Err(expected(&WORDS, other)),
    }
    Ok(())
}
