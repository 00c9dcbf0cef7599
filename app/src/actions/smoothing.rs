//! Change the smoothing of the curves.

use super::Action;
use crate::lang::Text;
use crate::view::SMOOTHINGS;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("smooth", "平滑"),
    help: Text::new(
        "smoothing of the curves; computed over all steps",
        "曲线平滑系数 (按全部步计算)",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.view.smoothing = (bench.view.smoothing + 1) % SMOOTHINGS.len();
    let beta = bench.view.beta();
    bench.state.smooth(beta);
    if let Some(frozen) = &mut bench.frozen {
        frozen.smooth(beta);
    }
}
