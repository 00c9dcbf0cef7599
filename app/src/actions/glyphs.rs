//! Change the characters of charts and frames.

use super::{Action, Ran, expected, first};
use crate::chart::glyph::GlyphSet;
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 4] = GlyphSet::WORDS;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "glyphs",
    Text::new("glyphs", "字符"),
    Text::new(
        "characters of charts: braille, octant, block, ascii",
        "图表字符: braille / octant / block / ascii",
    ),
    run,
)
.takes("[NAME]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    bench.view.glyphs = match argument {
        "" => bench.view.glyphs.next(),
        word => GlyphSet::parse(word).ok_or_else(|| expected(&WORDS, argument))?,
    };
    Ok(())
}
