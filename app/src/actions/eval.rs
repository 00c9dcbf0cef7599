//! Evaluate now.

use engine::link::Command;

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "eval",
    Text::new("eval", "评估"),
    Text::new(
        "evaluate on the validation data after this step",
        "本步后在验证集上评估",
    ),
    run,
)
.asks();

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.try_ask(Command::Eval)
}
