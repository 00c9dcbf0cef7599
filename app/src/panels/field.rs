//! A field of one line, to type a filter or a value.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::paint;
use crate::text;
use crate::view::View;

/// The open field.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// What stands in it.
    pub text: String,
}

/// What a key did to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// It stays open.
    Open,
    /// Enter: the text counts.
    Done,
    /// Escape: it does not.
    Cancelled,
}

impl Field {
    /// A field that holds `text` to begin with.
    pub fn with(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    /// Takes a key; a field takes every key.
    pub fn handle(&mut self, key: &str) -> Typed {
        match key {
            "enter" => return Typed::Done,
            "esc" => return Typed::Cancelled,
            "backspace" => {
                self.text.pop();
            }
            "ctrl-u" => self.text.clear(),
            "space" => self.text.push(' '),
            key => {
                let mut chars = key.chars();
                if let (Some(c), None) = (chars.next(), chars.next()) {
                    self.text.push(c);
                }
            }
        }
        Typed::Open
    }

    /// Takes pasted text: its first line, without control characters.
    pub fn paste(&mut self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        self.text.extend(line.chars().filter(|c| !c.is_control()));
    }

    /// Draws it in the first row of `area`, its end always in sight.
    pub fn render(&self, label: &str, view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let shown = text::escape(&self.text);
        let room = usize::from(area.width).saturating_sub(text::width(label) + 3);
        let mut tail: &str = &shown;
        while text::width(tail) > room {
            let mut rest = tail.chars();
            rest.next();
            tail = rest.as_str();
        }
        let pieces = [
            (" ", theme.text),
            (label, theme.key),
            (tail, theme.strong),
            ("_", theme.key),
        ];
        paint::line(buf, area, 0, &pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing() {
        let mut field = Field::with("a");
        for key in ["b", "space", "left", "c", "backspace", "\u{4e2d}"] {
            assert_eq!(field.handle(key), Typed::Open);
        }
        assert_eq!(field.text, "ab \u{4e2d}");
        field.paste("x\x1by\nsecond line");
        assert_eq!(field.text, "ab \u{4e2d}xy");
        field.handle("ctrl-u");
        assert_eq!(field.text, "");
        assert_eq!(field.handle("enter"), Typed::Done);
        assert_eq!(field.handle("esc"), Typed::Cancelled);
    }
}
