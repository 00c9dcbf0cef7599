//! Ctrl-Z: stop the whole process until it is continued.

use super::Action;
use crate::lang::Text;
use crate::workbench::{Wants, Workbench};

/// See the module's page.
pub const ACTION: Action = Action::always(
    "suspend",
    Text::new("suspend", "挂起"),
    Text::new(
        "suspend the program, training too; fg goes on",
        "挂起整个程序(训练也停); fg 继续",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    bench.wants = Some(Wants::Suspend);
}
