//! Switch the loss axis between linear and logarithmic.

use super::Action;
use crate::chart::axis::Scale;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("log y", "对数轴"),
    help: Text::new("loss axis linear or logarithmic", "损失轴: 线性 / 对数"),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.view.scale = match bench.view.scale {
        Scale::Linear => Scale::Log,
        Scale::Log => Scale::Linear,
    };
}
