//! Switch the loss axis between linear and logarithmic.

use super::{Action, Ran, expected, first};
use crate::chart::axis::Scale;
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["linear", "log"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "axis",
    Text::new("log y", "对数轴"),
    Text::new("loss axis linear or logarithmic", "loss 轴: 线性 / 对数"),
    run,
)
.takes("[linear|log]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.view.scale = match (argument, bench.view.scale) {
        ("linear", _) | ("", Scale::Log) => Scale::Linear,
        ("log", _) | ("", Scale::Linear) => Scale::Log,
        (other, _) => return Err(expected(&WORDS, other)),
    };
    Ok(())
}
