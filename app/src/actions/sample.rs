//! Let the model write now.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("sample", "样本"),
    help: Text::new(
        "let the model write after this step; training is not disturbed",
        "本步后生成样本; 不影响训练结果",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Sample);
}
