//! Put the data cursor on a step.

use super::{Action, Ran, Refused, first, step};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "goto",
    Text::new("go to step", "跳转"),
    Text::new(
        "data cursor to that step: a number, best, or now (none)",
        "光标跳到该步: 数字, best (最佳验证), now (取消)",
    ),
    run,
)
.takes("STEP", |before, _| first(before, &["best", "now"]));

const NONE_EVALUATED: Text = Text::new("nothing was evaluated yet", "尚未评估");
const NO_STEPS: Text = Text::new("there are no steps yet", "还没有任何一步");

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let (view, state) = bench.looked_at();
    let at = match argument {
        "" => return Err(Refused::Unfinished),
        "now" => None,
        "best" => match state.best_eval() {
            Some(best) => Some(best.step),
            None => return Err(Refused::because(NONE_EVALUATED)),
        },
        word => {
            let step = step(word)?;
            let Some(last) = state.track.last_row() else {
                return Err(Refused::because(NO_STEPS));
            };
            let row = state.track.rows_before_step(step).min(last);
            Some(state.track.step(row))
        }
    };
    view.look_at(at);
    Ok(())
}
