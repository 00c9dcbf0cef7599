//! Change the language.

use super::{Action, Ran, expected, first};
use crate::lang::{Lang, Text};
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "lang",
    Text::new("language", "语言"),
    Text::new(
        "language of the screen: en, zh; without a name the other",
        "界面语言: en, zh; 不写名字则切换",
    ),
    run,
)
.takes("[en|zh]", |before, _| first(before, &["en", "zh"]));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.view.lang = match (argument, bench.view.lang) {
        ("", Lang::En) => Lang::Zh,
        ("", Lang::Zh) => Lang::En,
        (word, _) => Lang::parse(word).ok_or_else(|| expected(&["en", "zh"], word))?,
    };
    Ok(())
}
