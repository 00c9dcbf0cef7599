//! Delete a checkpoint.

use engine::link::Command;

use super::{Action, Ran, rollback, step};
use crate::lang::{Lang, Text};
use crate::state::Kept;
use crate::text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "delete",
    Text::new("delete", "删除"),
    Text::new(
        "delete the checkpoint of that step for good; the newest good one is refused",
        "永久删除该步的检查点; 最新的完好检查点不可删除",
    ),
    run,
)
.asks()
.takes("STEP", |before, bench| match before {
    [] => rollback::steps(bench),
    _ => Vec::new(),
})
.weighs(result);

fn result(argument: &str, bench: &Workbench) -> Vec<String> {
    let (state, lang) = (&bench.state, bench.view.lang);
    let step = step(argument).ok();
    let found = state.checkpoints.iter().find(|c| Some(c.step) == step);
    let Some(checkpoint) = found else {
        let none = Text::new("no checkpoint of that step is known", "没有该步的检查点");
        return vec![none.get(lang).to_owned()];
    };
    let (step, bytes) = (text::count(checkpoint.step), text::bytes(checkpoint.bytes));
    let mut lines = vec![match lang {
        Lang::En => format!("the checkpoint of step {step} goes for good: {bytes}"),
        Lang::Zh => format!("永久删除第 {step} 步的检查点: {bytes}"),
    }];
    for kept in state.kept(checkpoint) {
        let line = match (kept, lang) {
            (Kept::Tag(tag), Lang::En) => format!("it is tagged {}", text::escape(tag)),
            (Kept::Tag(tag), Lang::Zh) => format!("它有标签 {}", text::escape(tag)),
            (Kept::Best, Lang::En) => {
                "it has the lowest validation loss; no other takes its place".to_owned()
            }
            (Kept::Best, Lang::Zh) => "它的验证损失最低; 没有其他检查点代替它".to_owned(),
            _ => continue,
        };
        lines.push(line);
    }
    if state.newest_good() == Some(checkpoint.step) {
        let refused = Text::new(
            "it is the newest good one, from which the run would go on: the engine will refuse",
            "它是最新的完好检查点, 运行将从它继续: 引擎会拒绝",
        );
        lines.push(refused.get(lang).to_owned());
    }
    lines
}

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let step = step(argument)?;
    bench.try_ask(Command::Delete { step })
}
