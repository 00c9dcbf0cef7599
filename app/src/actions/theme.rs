//! Change the colours.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::theme::Palette;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "theme",
    Text::new("theme", "配色"),
    Text::new(
        "colours: dark, light, colour-blind, 16, none; without a name the next",
        "配色: dark, light, colour-blind, 16, none; 不写名字则切换到下一个",
    ),
    run,
)
.takes("[NAME]", |before, _| {
    first(before, &Palette::ALL.map(|(word, _)| word))
});

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let palette = match argument {
        "" => bench.view.theme.palette().next(),
        word => Palette::parse(word).ok_or_else(|| {
            let words = Palette::ALL.map(|(word, _)| word);
            expected(&words, argument)
        })?,
    };
    bench.view.colour(palette);
    Ok(())
}
