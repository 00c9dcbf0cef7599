//! Move the data cursor.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 4] = ["left", "right", "first", "last"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "cursor",
    Text::new("cursor", "光标"),
    Text::new(
        "move the data cursor over all charts: left, right, to the first or last step",
        "移动数据光标: 左, 右, 第一步, 最后一步",
    ),
    run,
)
.takes("left|right|first|last", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let (view, state) = bench.looked_at();
    let steps = state.track.steps();
    match argument {
        "left" => view.move_cursor(-1, &state.track),
        "right" => view.move_cursor(1, &state.track),
        "first" => view.look_at(steps.first().copied()),
        "last" => view.look_at(steps.last().copied()),
        other => return Err(expected(&WORDS, other)),
    }
    Ok(())
}
