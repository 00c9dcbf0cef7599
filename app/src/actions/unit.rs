//! Change what the horizontal axis counts.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("x axis", "横轴"),
    help: Text::new(
        "horizontal axis: steps, tokens, training time",
        "横轴: 步数 / token / 训练时间",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.view.unit = bench.view.unit.next();
}
