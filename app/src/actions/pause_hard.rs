//! Pause, write a checkpoint and give the memory back.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("free", "释放"),
    help: Text::new(
        "pause, write a checkpoint and give the memory back",
        "暂停, 保存检查点并释放内存",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Pause { hard: true });
}
