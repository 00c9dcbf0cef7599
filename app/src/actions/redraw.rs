//! Draw everything anew, after something else wrote on the terminal.

use super::Action;
use crate::lang::Text;
use crate::workbench::{Wants, Workbench};

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("redraw", "重画"),
    help: Text::new("draw the screen anew", "重画屏幕"),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.wants = Some(Wants::Redraw);
}
