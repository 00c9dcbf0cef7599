//! Read the configuration file again.

use engine::link::Command;

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "reload",
    Text::new("reload", "重读"),
    Text::new("read the configuration file again", "重新读取配置文件"),
    run,
)
.asks();

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.try_ask(Command::Reload)
}
