//! Write a checkpoint now, with a name or without.

use engine::link::Command;

use super::{Action, Ran, Refused, first};
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "ckpt",
    Text::new("ckpt", "存档"),
    Text::new(
        "write a checkpoint after this step; with a tag it is never deleted",
        "本步后保存检查点; 带标签的永不自动删除",
    ),
    run,
)
.asks()
.takes("[tag NAME]", |before, _| first(before, &["tag"]));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let tag = match argument.split_once(char::is_whitespace) {
        None if argument.is_empty() => None,
        None if argument == "tag" => return Err(Refused::Unfinished),
        Some(("tag", name)) => Some(name.trim().to_owned()),
        _ => {
            const EXPECTED: Text =
                Text::new("expected tag NAME, or nothing", "应为 tag NAME, 或留空");
            return Err(Refused::because(EXPECTED));
        }
    };
    bench.try_ask(Command::Checkpoint { tag })
}
