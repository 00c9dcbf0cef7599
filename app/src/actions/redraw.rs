//! Draw everything anew, after something else wrote on the terminal.

use super::Action;
use crate::lang::Text;
use crate::workbench::{Wants, Workbench};

/// See the module's page.
pub const ACTION: Action = Action::always(
    "redraw",
    Text::new("redraw", "重画"),
    Text::new("draw the screen anew", "重画屏幕"),
    run,
);

fn run(bench: &mut Workbench) {
    bench.wants = Some(Wants::Redraw);
}
