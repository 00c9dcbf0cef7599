//! Change the characters of charts and frames.

use super::Action;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action {
    label: Text::new("glyphs", "字符"),
    help: Text::new(
        "characters of charts: braille, octant, block, ascii",
        "图表字符: braille / octant / block / ascii",
    ),
    run,
};

fn run(_key: &str, bench: &mut Workbench) {
    bench.view.glyphs = bench.view.glyphs.next();
}
