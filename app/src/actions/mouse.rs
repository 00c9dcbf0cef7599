//! Take the mouse, or leave it to the terminal, which then selects text with it.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["on", "off"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "mouse",
    Text::new("mouse", "鼠标"),
    Text::new(
        "mouse for tabs, rows and charts, or for the terminal's own selection (off)",
        "鼠标: 操作标签, 列表和图表; off 则留给终端选择文字",
    ),
    run,
)
.takes("[on|off]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.mouse = match argument {
        "" => !bench.mouse,
        "on" => true,
        "off" => false,
        other => return Err(expected(&WORDS, other)),
    };
    Ok(())
}
