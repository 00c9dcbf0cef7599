//! Stop the run and leave once it has.

use super::{Action, Ran, expected, first};
use crate::lang::{Lang, Text};
use crate::text;
use crate::workbench::Workbench;

const WORDS: [&str; 1] = ["discard"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "stop",
    Text::new("stop", "停止"),
    Text::new(
        "stop with a checkpoint and leave (discard: write nothing)",
        "存档后停止并退出 (discard: 不保存)",
    ),
    run,
)
.asks()
.takes("[discard]", |before, _| first(before, &WORDS))
.weighs(result);

fn result(argument: &str, bench: &Workbench) -> Vec<String> {
    let (state, lang) = (&bench.state, bench.view.lang);
    let last = state.checkpoints.last();
    if argument == "discard" {
        let lost = text::count(state.step().saturating_sub(last.map_or(0, |c| c.step)));
        return vec![match lang {
            Lang::En => format!("the run ends, {lost} steps are lost"),
            Lang::Zh => format!("训练结束, 丢失 {lost} 步"),
        }];
    }
    let cost = last.map_or_else(String::new, |c| format!(" ({})", c.cost()));
    vec![match lang {
        Lang::En => format!("a checkpoint is written{cost}, then the run ends"),
        Lang::Zh => format!("保存检查点{cost}, 然后结束训练"),
    }]
}

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    match argument {
        "" => bench.stop(true),
        "discard" => bench.stop(false),
        other => Err(expected(&WORDS, other)),
    }
}
