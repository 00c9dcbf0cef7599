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
    /// Characters behind the place where typing goes on.
    behind: usize,
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
            behind: 0,
        }
    }

    /// The byte at which typing goes on.
    fn at(&self) -> usize {
        let behind = self.text.chars().rev().take(self.behind);
        self.text.len() - behind.map(char::len_utf8).sum::<usize>()
    }

    fn put(&mut self, c: char) {
        self.text.insert(self.at(), c);
    }

    /// Deletes what lies between byte `from` and the place of typing.
    fn cut_from(&mut self, from: usize) {
        let at = self.at();
        self.text.replace_range(from..at, "");
    }

    /// Takes a key; a field takes every key.
    pub fn handle(&mut self, key: &str) -> Typed {
        let len = self.text.chars().count();
        match key {
            "enter" => return Typed::Done,
            "esc" => return Typed::Cancelled,
            "left" | "ctrl-b" => self.behind = (self.behind + 1).min(len),
            "right" | "ctrl-f" => self.behind = self.behind.saturating_sub(1),
            "home" | "ctrl-a" => self.behind = len,
            "end" | "ctrl-e" => self.behind = 0,
            "backspace" => {
                let before = &self.text[..self.at()];
                if let Some(c) = before.chars().next_back() {
                    self.cut_from(before.len() - c.len_utf8());
                }
            }
            "delete" if self.behind > 0 => {
                self.text.remove(self.at());
                self.behind -= 1;
            }
            "ctrl-u" => self.cut_from(0),
            "ctrl-k" => {
                self.text.truncate(self.at());
                self.behind = 0;
            }
            "ctrl-w" => {
                let before = self.text[..self.at()].trim_end();
                self.cut_from(before.rfind(' ').map_or(0, |space| space + 1));
            }
            "space" => self.put(' '),
            key => {
                let mut chars = key.chars();
                if let (Some(c), None) = (chars.next(), chars.next()) {
                    self.put(c);
                }
            }
        }
        Typed::Open
    }

    /// Takes pasted text: its first line, without control characters.
    pub fn paste(&mut self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        line.chars()
            .filter(|c| !c.is_control())
            .for_each(|c| self.put(c));
    }

    /// Draws it in the first row of `area`, the place of typing always in sight.
    pub fn render(&self, label: &str, view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let (before, behind) = self.text.split_at(self.at());
        let (before, behind) = (text::escape(before), text::escape(behind));
        let room = usize::from(area.width).saturating_sub(text::width(label) + 3);
        let mut tail: &str = &before;
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
            (&*behind, theme.strong),
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
        for key in ["b", "space", "f5", "c", "backspace", "\u{4e2d}"] {
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

    #[test]
    fn editing_in_the_middle() {
        let mut field = Field::with("set \u{4e2d}b");
        let mut press = |keys: &[&str]| {
            for key in keys {
                field.handle(key);
            }
            field.text.clone()
        };
        assert_eq!(press(&["left", "x"]), "set \u{4e2d}xb");
        assert_eq!(press(&["left", "left", "delete"]), "set xb");
        assert_eq!(press(&["ctrl-w"]), "xb");
        assert_eq!(press(&["end", "y", "home", "backspace", "z"]), "zxby");
        assert_eq!(press(&["right", "ctrl-k"]), "zx");
        assert_eq!(press(&["home", "delete", "delete", "delete"]), "");
    }
}
