//! Copy what is looked at to the clipboard of the person's own terminal (OSC 52).

use super::{Action, Ran, Refused, expected, first};
use crate::export;
use crate::lang::Text;
use crate::workbench::Workbench;

const WORDS: [&str; 2] = ["row", "csv"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "copy",
    Text::new("copy", "复制"),
    Text::new(
        "copy the chosen row, the figures under the cursor, or the visible steps as CSV",
        "复制所选行, 光标处数值, 或可见步的 CSV",
    ),
    run,
)
.takes("[row|csv]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let scene = bench.scene();
    let own = bench.panels[bench.current].copied(&scene);
    let text = match argument {
        "" => match own {
            Some(text) => Ok(text),
            None if scene.view.cursor.is_some() => export::at_cursor(&scene),
            None => export::visible(&scene),
        },
        "row" => own.map_or_else(|| export::at_cursor(&scene), Ok),
        "csv" => export::visible(&scene),
        other => return Err(expected(&WORDS, other)),
    };
    let text = text.map_err(Refused::because)?;
    let lines = text.lines().count();
    const COPIED: Text = Text::new("copied {0} lines, {1} bytes", "已复制 {0} 行, {1} 字节");
    bench.tell(COPIED.fill(&[&lines.to_string(), &text.len().to_string()]));
    bench.clipboard = Some(text);
    Ok(())
}
