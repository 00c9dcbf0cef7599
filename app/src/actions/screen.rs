//! Go to a screen: by its name, by its number, or the next one.

use super::{Action, Ran, Refused};
use crate::lang::Text;
use crate::panels;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "screen",
    Text::new("screen", "界面"),
    Text::new(
        "go to that screen, to the next, to the previous",
        "切换到该界面, 下一个, 上一个",
    ),
    run,
)
.takes("NAME|NUMBER|next|previous", |before, bench| match before {
    [] => {
        let mut words = names(bench);
        words.extend(["next".to_owned(), "previous".to_owned()]);
        words
    }
    _ => Vec::new(),
});

/// The screens' names, as lines write them.
pub fn names(bench: &Workbench) -> Vec<String> {
    bench
        .panels
        .iter()
        .map(|panel| panels::name(&**panel))
        .collect()
}

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let num = bench.panels.len();
    let to = match argument {
        "" => return Err(Refused::Unfinished),
        "next" => (bench.current + 1) % num,
        "previous" => (bench.current + num - 1) % num,
        word => {
            let number = word.parse::<usize>().ok().filter(|n| *n >= 1);
            let names = names(bench);
            let named = || names.iter().position(|name| *name == word.to_lowercase());
            let found = number.map(|n| n - 1).or_else(named);
            found.ok_or_else(|| {
                const NONE: Text = Text::new(
                    "there is no screen {0}; there are {1}",
                    "没有界面 {0}; 现有 {1}",
                );
                Refused::Because(NONE.fill(&[&format!("{word:?}"), &names.join(", ")]))
            })?
        }
    };
    // A digit without a screen does nothing.
    bench.show(to);
    Ok(())
}
