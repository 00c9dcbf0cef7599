//! Change what the horizontal axis counts.

use super::{Action, Ran, expected, first};
use crate::chart::series::XUnit;
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 3] = ["steps", "tokens", "time"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "unit",
    Text::new("x axis", "横轴"),
    Text::new(
        "horizontal axis: steps, tokens, training time",
        "横轴: 步数 / token / 训练时间",
    ),
    run,
)
.takes("[steps|tokens|time]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.view.unit = match argument {
        "" => bench.view.unit.next(),
        "steps" => XUnit::Step,
        "tokens" => XUnit::Tokens,
        "time" => XUnit::Time,
        other => return Err(expected(&WORDS, other)),
    };
    Ok(())
}
