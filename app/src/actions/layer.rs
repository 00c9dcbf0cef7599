//! Go to a layer on the screen of layers, as an alert about it asks.

use super::{Action, Ran, Refused};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "layer",
    Text::new("layer", "层"),
    Text::new("show that layer's statistics", "显示该层的统计"),
    run,
)
.takes("NAME", |before, bench| match before {
    [] => bench.state.layers.names().to_vec(),
    _ => Vec::new(),
});

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    if argument.is_empty() {
        return Err(Refused::Unfinished);
    }
    let state = bench.frozen.as_deref().unwrap_or(&bench.state);
    let found = bench
        .panels
        .iter_mut()
        .position(|panel| panel.seek(argument, state));
    const NONE: Text = Text::new(
        "there are no statistics of a layer {0} (telemetry.layer_interval)",
        "没有层 {0} 的统计 (telemetry.layer_interval)",
    );
    let panel = found.ok_or_else(|| Refused::Because(NONE.fill(&[&format!("{argument:?}")])))?;
    bench.show(panel);
    Ok(())
}
