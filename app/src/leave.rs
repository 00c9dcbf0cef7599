//! The dialog of the key that leaves: what becomes of the run.
//!
//! Each choice says its result. The default stops with a checkpoint; on a screen that is attached to a run of another
//! process it leaves the run alone. The [`crate::workbench`] hands it the keys first
//! while it is open.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use crate::lang::{Lang, Text};
use crate::paint;
use crate::seat::Seat;
use crate::state::State;
use crate::text;
use crate::view::View;

/// What becomes of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Stop after writing a checkpoint.
    Stop,
    /// Train on without this screen.
    Detach,
    /// Stop and write nothing.
    Discard,
    /// Stay.
    Cancel,
}

/// A choice, its key, its words.
type Row = (Choice, &'static str, Text);

const STOP: Row = (
    Choice::Stop,
    "s",
    Text::new("stop with a checkpoint", "保存检查点后停止"),
);
const DETACH: Row = (
    Choice::Detach,
    "d",
    Text::new("go on without a screen", "关闭界面, 继续训练"),
);
const LEAVE: Row = (
    Choice::Detach,
    "d",
    Text::new("leave, the run goes on", "离开, 训练继续"),
);
const DISCARD: Row = (
    Choice::Discard,
    "x",
    Text::new("stop, write nothing", "停止, 不保存"),
);
const STAY: Row = (Choice::Cancel, "esc", Text::new("stay", "留下"));

/// On the screen of the engine's own process.
const OWN: [Row; 4] = [STOP, DETACH, DISCARD, STAY];
/// On an attached one.
const ATTACHED: [Row; 4] = [LEAVE, STOP, DISCARD, STAY];

const TITLE: Text = Text::new("Leave this run?", "退出当前训练?");
const HINT: Text = Text::new("j/k choose  Enter do it", "j/k 选择  Enter 确认");

/// The open dialog.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    choices: &'static [Row],
    selected: usize,
}

impl Leave {
    /// The dialog of a screen that controls a run.
    pub fn from(seat: Seat) -> Self {
        let choices = if seat == Seat::Own { &OWN } else { &ATTACHED };
        Self {
            choices,
            selected: 0,
        }
    }

    /// Takes a key; says what was chosen once something is.
    pub fn handle(&mut self, key: &str) -> Option<Choice> {
        let count = self.choices.len();
        match key {
            "j" | "down" | "tab" => self.selected = (self.selected + 1) % count,
            "k" | "up" | "backtab" => self.selected = (self.selected + count - 1) % count,
            "enter" => return Some(self.choices[self.selected].0),
            "q" => return Some(Choice::Cancel),
            key => return self.choices.iter().find(|c| c.1 == key).map(|c| c.0),
        }
        None
    }

    /// Draws the dialog over the middle of `area`.
    pub fn render(self, state: &State, view: &View, area: Rect, buf: &mut Buffer) {
        let width = area.width.min(58);
        let height = area.height.min(self.choices.len() as u16 + 2);
        let at = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        Clear.render(at.intersection(buf.area), buf);
        let (theme, lang) = (&view.theme, view.lang);
        let inner = paint::frame(
            buf,
            at,
            view,
            &[(TITLE.get(lang), theme.title)],
            &[(HINT.get(lang), theme.dim)],
        );
        for (row, (choice, key, what)) in self.choices.iter().enumerate() {
            let result = result(*choice, state, lang);
            let chosen = row == self.selected;
            let pieces = [
                (if chosen { " > " } else { "   " }, theme.key),
                (&*text::fit(key, 4), theme.key),
                (
                    what.get(lang),
                    if chosen { theme.strong } else { theme.text },
                ),
                ("  ", theme.text),
                (&*result, theme.dim),
            ];
            paint::line(buf, inner, row as u16, &pieces);
            if chosen {
                paint::highlight(buf, inner, row as u16, theme.selected);
            }
        }
    }
}

/// What a choice costs, as far as it is known.
fn result(choice: Choice, state: &State, lang: Lang) -> String {
    let last = state.checkpoints.last();
    match (choice, last) {
        (Choice::Stop, Some(c)) => c.cost(),
        (Choice::Discard, _) => {
            let lost = state.step().saturating_sub(last.map_or(0, |c| c.step));
            let phrase = Text::new("steps lost", "步丢失").get(lang);
            format!("{} {phrase}", text::count(lost))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_the_safe_one_of_its_seat_and_every_choice_has_a_key() {
        for (seat, safe) in [(Seat::Own, Choice::Stop), (Seat::Attached, Choice::Detach)] {
            let mut dialog = Leave::from(seat);
            assert_eq!(dialog.handle("enter"), Some(safe));
            for (choice, key, _) in dialog.choices {
                assert_eq!(Leave::from(seat).handle(key), Some(*choice));
            }
            assert_eq!(dialog.handle("k"), None);
            assert_eq!(dialog.handle("enter"), Some(Choice::Cancel));
            assert_eq!(dialog.handle("n"), None);
        }
    }
}
