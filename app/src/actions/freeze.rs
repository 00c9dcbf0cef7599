//! Let the display stand still while training goes on.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "freeze",
    Text::new("freeze", "冻结"),
    Text::new("freeze the display; training goes on", "冻结画面, 训练继续"),
    run,
);

fn run(bench: &mut Workbench) {
    bench.frozen = match bench.frozen.take() {
        None => Some(Box::new(bench.state.clone())),
        Some(_) => None,
    };
}
