//! Go back to a checkpoint, in the same run.

use engine::link::Command;

use super::{Action, Ran, Refused};
use crate::lang::{Phrase, Text};
use crate::text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "rollback",
    Text::new("go back", "回退"),
    Text::new(
        "go back to that step's checkpoint (else the newest) and train on from there; LR_SCALE becomes schedule.lr_scale",
        "回到该步的检查点 (默认最新) 并从那里继续训练; LR_SCALE 写入 schedule.lr_scale",
    ),
    run,
)
.asks()
.takes("[STEP [LR_SCALE]]", |before, bench| match before {
    [] => steps(bench),
    _ => Vec::new(),
})
.weighs(result);

/// The steps of the checkpoints, the newest first.
pub(super) fn steps(bench: &Workbench) -> Vec<String> {
    let steps = bench.state.checkpoints.iter().rev();
    let mut steps: Vec<String> = steps.map(|c| c.step.to_string()).collect();
    steps.dedup();
    steps
}

fn result(argument: &str, bench: &Workbench) -> Vec<String> {
    let lang = bench.view.lang;
    let named = argument.split_whitespace().next();
    let to = match named {
        Some(word) => word.parse().ok(),
        None => bench.state.checkpoints.last().map(|c| c.step),
    };
    let Some(to) = to else {
        let none = Text::new("no checkpoint is known yet", "尚无检查点");
        return vec![none.get(lang).to_owned()];
    };
    let again = bench.state.step().saturating_sub(to);
    let (to, again) = (text::count(to), text::count(again));
    match lang {
        crate::lang::Lang::En => vec![
            format!("back to the checkpoint of step {to}"),
            format!("{again} steps are trained again; their rows stay in the record, superseded"),
        ],
        crate::lang::Lang::Zh => vec![
            format!("回到第 {to} 步的检查点"),
            format!("重新训练 {again} 步; 原记录保留, 但被取代"),
        ],
    }
}

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let mut words = argument.split_whitespace();
    let step = match words.next() {
        None => None,
        Some(word) => Some(super::step(word)?),
    };
    let scale = match words.next() {
        None => None,
        Some(word) => Some(lr_scale(word).map_err(Refused::Because)?),
    };
    if words.next().is_some() {
        const MORE: Text = Text::new(
            "expected STEP and LR_SCALE, found more",
            "只应有 STEP 与 LR_SCALE",
        );
        return Err(Refused::because(MORE));
    }
    bench.try_ask(Command::Rollback {
        step,
        lr_scale: scale,
    })
}

/// The factor that a person gives for `schedule.lr_scale`, here and behind `ctl`: what the configuration takes there.
///
/// # Errors
/// If it is no such number.
pub fn lr_scale(word: &str) -> Result<f64, Phrase> {
    const FACTOR: Text = Text::new(
        "expected a factor such as 0.5, found {0}",
        "应为倍数, 例如 0.5, 却是 {0}",
    );
    let factor: Option<f64> = word.parse().ok();
    let factor = factor.ok_or_else(|| FACTOR.fill(&[&format!("{word:?}")]))?;
    engine::config::check("schedule.lr_scale", &format!("{factor:?}")).map_err(Phrase::from)?;
    Ok(factor)
}
