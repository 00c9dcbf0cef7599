//! Evaluate now.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("eval", "评估"),
    help: Text::new(
        "evaluate on the validation data after this step",
        "本步后在验证集上评估",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Eval);
}
