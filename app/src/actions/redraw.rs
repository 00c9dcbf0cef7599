//! Draw everything anew, after something else wrote on the terminal.

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::{Wants, Workbench};

/// See the module's page.
pub const ACTION: Action = Action::new(
    "redraw",
    Text::new("redraw", "重画"),
    Text::new("draw the screen anew", "重画屏幕"),
    run,
);

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.wants = Some(Wants::Redraw);
    Ok(())
}
