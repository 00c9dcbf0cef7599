//! Jump from marker to marker.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["previous", "next"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "marker",
    Text::new("marker", "标记"),
    Text::new(
        "data cursor to the previous or next marker",
        "光标跳到上/下一个标记",
    ),
    run,
)
.takes("previous|next", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let (view, state) = bench.looked_at();
    let here = view.cursor.unwrap_or(state.step() + 1);
    let steps = state.marks.iter().map(|mark| mark.0);
    let found = match argument {
        "previous" => steps.filter(|&step| step < here).max(),
        "next" => steps.filter(|&step| step > here).min(),
        other => return Err(expected(&WORDS, other)),
    };
    view.look_at(found.or(view.cursor));
    Ok(())
}
