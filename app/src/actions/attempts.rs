//! Show or hide the steps that a later attempt has trained again.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["on", "off"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "attempts",
    Text::new("attempts", "旧尝试"),
    Text::new(
        "show the steps of earlier attempts, trained again since, as dim lines on the charts; again: hide them",
        "在图表上以暗线显示已被取代的旧尝试; 再次执行则隐藏",
    ),
    run,
)
.takes("[on|off]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.view.attempts = match argument {
        "" => !bench.view.attempts,
        "on" => true,
        "off" => false,
        other => return Err(expected(&WORDS, other)),
    };
    let lang = bench.view.lang;
    let (_, state) = bench.looked_at();
    let said = match (state.superseded.len(), bench.view.attempts) {
        (0, _) => Text::new("no step was trained twice so far", "尚无重复训练的步"),
        (_, true) => Text::new("earlier attempts are dim lines", "旧尝试以暗线显示"),
        (_, false) => Text::new("earlier attempts are hidden", "旧尝试已隐藏"),
    };
    bench.tell(said.get(lang));
    Ok(())
}
