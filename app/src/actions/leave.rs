//! Leave: a dialog with the choices, or at once when the run is over.

use super::Action;
use crate::lang::Text;
use crate::leave::Leave;
use crate::workbench::{Exit, Workbench};

/// See the module's page.
pub const ACTION: Action = Action::always(
    "leave",
    Text::new("leave", "退出"),
    Text::new(
        "leave: stop with a checkpoint, go on without a screen, or stop",
        "退出: 存档后停止 / 无界面继续 / 直接停止",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    if bench.state.status.is_over() {
        bench.exit = Some(Exit::Ended);
    } else if bench.seat.controls() {
        bench.dialog = Some(Leave::from(bench.seat));
    } else {
        bench.exit = Some(Exit::Detach);
    }
}
