//! Write a checkpoint now.

use engine::link::Command;

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("ckpt", "存档"),
    help: Text::new("write a checkpoint after this step", "本步后保存检查点"),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.ask(Command::Checkpoint { tag: None });
}
