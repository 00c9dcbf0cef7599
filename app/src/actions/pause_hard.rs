//! Pause and write a checkpoint.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("pause+ckpt", "暂停并保存"),
    help: Text::new("pause and write a checkpoint", "暂停并保存检查点"),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Pause { hard: true });
}
