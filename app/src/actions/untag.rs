//! Take a checkpoint's mark away.

use engine::link::Command;

use super::{Action, Ran, step};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "untag",
    Text::new("untag", "去标签"),
    Text::new(
        "take the tag of that step's checkpoint away: keep_last may delete it with the next one",
        "去掉该步检查点的标签: 之后 keep_last 可能删除它",
    ),
    run,
)
.asks()
.takes("STEP", |before, bench| match before {
    [] => {
        let tagged = bench.state.checkpoints.iter().rev();
        let tagged = tagged.filter(|checkpoint| checkpoint.tag.is_some());
        tagged
            .map(|checkpoint| checkpoint.step.to_string())
            .collect()
    }
    _ => Vec::new(),
});

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let step = step(argument)?;
    bench.try_ask(Command::Untag { step })
}
