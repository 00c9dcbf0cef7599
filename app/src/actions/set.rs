//! Change a key of the configuration.

use engine::config;

use super::{Action, Ran, Refused};
use crate::edit::Edit;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "set",
    Text::new("set", "设置"),
    Text::new(
        "change a key of the configuration; what touches the learning rate shows its curve first",
        "修改配置项; 影响学习率的修改先显示曲线",
    ),
    run,
)
.asks()
.takes("KEY [VALUE]", words);

fn words(before: &[&str], bench: &Workbench) -> Vec<String> {
    match before {
        [] => keys(bench),
        [key] => config::form(key).map_or_else(Vec::new, |form| {
            form.choices.iter().map(|word| (*word).to_owned()).collect()
        }),
        _ => Vec::new(),
    }
}

/// Every key, those in force first.
pub fn keys(bench: &Workbench) -> Vec<String> {
    let known = bench.state.config.iter().map(|v| v.key.clone());
    let mut keys: Vec<String> = known.collect();
    let others = config::keys().into_iter();
    let others: Vec<String> = others.filter(|key| !keys.contains(key)).collect();
    keys.extend(others);
    keys
}

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let cut = |c: char| c.is_whitespace() || c == '=';
    let (key, value) = argument.split_once(cut).unwrap_or((argument, ""));
    let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    if key.is_empty() {
        return Err(Refused::Unfinished);
    }
    let edit = Edit::of(key, value, &bench.state).map_err(Refused::Because)?;
    if value.is_empty() || edit.has_curve() {
        bench.open_edit(edit);
        return Ok(());
    }
    edit.check(&bench.state).map_err(Refused::Because)?;
    bench.change(&edit)
}
