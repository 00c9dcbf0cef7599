//! Write a checkpoint, pause, and give the memory back.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("pause+ckpt", "暂停并保存"),
    help: Text::new(
        "write a checkpoint, pause, give the memory back",
        "保存检查点, 暂停并释放内存",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Pause { hard: true });
}
