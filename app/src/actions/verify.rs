//! Compare a checkpoint with the hashes that were taken when it was written.

use engine::link::Command;

use super::{Action, Ran, rollback, step};
use crate::errand::Errand;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "verify",
    Text::new("verify", "校验"),
    Text::new(
        "read the checkpoint of that step again and compare its hashes, beside training",
        "重读该步的检查点并核对哈希, 不打断训练",
    ),
    run,
)
.takes("STEP", |before, bench| match before {
    [] => rollback::steps(bench),
    _ => Vec::new(),
});

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let step = step(argument)?;
    let asked = bench.may_ask("verify");
    if asked.is_ok() {
        return bench.try_ask(Command::Verify { step });
    }
    // Nobody notes it, but who can read the folder can look.
    if bench.state.reach.folder.is_none() {
        return asked;
    }
    bench.errands.push(Errand::Verify(step));
    let reading = Text::new("reading the checkpoint...", "正在读取检查点...");
    bench.tell(reading.get(bench.view.lang));
    Ok(())
}
