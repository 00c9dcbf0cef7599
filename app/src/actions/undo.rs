//! Undo the last live edit.

use super::{Action, Ran, Refused};
use crate::edit::Edit;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "undo",
    Text::new("undo", "撤销"),
    Text::new(
        "undo the last live edit (or that of version N): shows the effect and asks",
        "撤销最近一次在线修改 (或版本 N 的): 先显示效果再确认",
    ),
    run,
)
.asks()
.takes("[VERSION]", |before, bench| match before {
    [] => {
        let versions = bench.state.versions.iter().rev();
        versions.map(|v| v.number.to_string()).collect()
    }
    _ => Vec::new(),
});

const VERSION: Text = Text::new("expected a version, found {0}", "应为版本号, 却是 {0}");

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let version = match argument.trim_start_matches('v') {
        "" => None,
        word => Some(
            word.parse()
                .ok()
                .ok_or_else(|| Refused::Because(VERSION.fill(&[&format!("{word:?}")])))?,
        ),
    };
    let edit = Edit::undoing(version, &bench.state).map_err(Refused::Because)?;
    bench.open_edit(edit);
    Ok(())
}
