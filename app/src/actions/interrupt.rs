//! Ctrl-C: stop in good order; again within five seconds: at once. A screen of another process leaves the run alone.

use std::time::Duration;

use super::{Action, Ran};
use crate::lang::Text;
use crate::seat::Seat;
use crate::workbench::{Exit, Workbench};

/// A second Ctrl-C within this time does not wait for the engine.
const AGAIN: Duration = Duration::from_secs(5);

/// See the module's page.
pub const ACTION: Action = Action::new(
    "interrupt",
    Text::new("interrupt", "中断"),
    Text::new(
        "stop with a checkpoint; twice within 5 s: exit at once without (attached: leave, the run goes on)",
        "存档后停止; 5 秒内再按: 立即退出 (接入的界面: 离开, 训练继续)",
    ),
    run,
);

fn run(_: &str, bench: &mut Workbench) -> Ran {
    if bench.state.status.is_over() {
        bench.exit = Some(Exit::Ended);
        return Ok(());
    }
    if bench.seat != Seat::Own {
        bench.exit = Some(Exit::Detach);
        return Ok(());
    }
    let again = bench
        .interrupted
        .is_some_and(|first| bench.now.saturating_sub(first) <= AGAIN);
    if again {
        bench.exit = Some(Exit::Hard);
        return Ok(());
    }
    bench.interrupted = Some(bench.now);
    bench.stop(true)
}
