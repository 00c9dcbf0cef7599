//! Show what the screen itself costs.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "debug",
    Text::new("figures", "调试"),
    Text::new(
        "figures of the screen itself: frames, bytes, events",
        "界面自身的指标: 帧, 字节, 事件",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    bench.figures.shown = !bench.figures.shown;
}
