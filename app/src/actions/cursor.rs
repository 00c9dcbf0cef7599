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
    let track = &state.track;
    let last = track.last_row();
    match argument {
        "left" => view.move_cursor(-1, track),
        "right" => view.move_cursor(1, track),
        "first" => view.look_at(last.map(|_| track.step(0))),
        "last" => view.look_at(last.map(|row| track.step(row))),
        other => return Err(expected(&WORDS, other)),
    }
    Ok(())
}
