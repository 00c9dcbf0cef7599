//! Take the time of the next steps.

use engine::link::Command;

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "profile",
    Text::new("time steps", "测量"),
    Text::new(
        "take the time of every operation of the next five steps",
        "测量接下来五步中每个运算的时间",
    ),
    run,
)
.asks();

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.try_ask(Command::Profile)
}
