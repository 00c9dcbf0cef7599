//! Let the model write now.

use engine::link::Command;

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "sample",
    Text::new("sample", "样本"),
    Text::new(
        "let the model write after this step; training is not disturbed",
        "本步后生成样本; 不影响训练结果",
    ),
    run,
)
.asks();

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.try_ask(Command::Sample)
}
