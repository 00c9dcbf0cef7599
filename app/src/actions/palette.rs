//! Open the palette.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::always(
    "palette",
    Text::new("palette", "面板"),
    Text::new(
        "find any action, screen or configuration key by a few letters",
        "用几个字母查找任意操作, 界面或配置项",
    ),
    run,
);

fn run(bench: &mut Workbench) {
    bench.open_palette();
}
