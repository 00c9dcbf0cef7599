//! Let the display stand still while training goes on.

use super::{Action, Ran};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "freeze",
    Text::new("freeze", "冻结"),
    Text::new("freeze the display; training goes on", "冻结画面, 训练继续"),
    run,
);

fn run(_: &str, bench: &mut Workbench) -> Ran {
    bench.frozen = match bench.frozen.take() {
        None => Some(Box::new(bench.state.clone())),
        Some(_) => None,
    };
    Ok(())
}
