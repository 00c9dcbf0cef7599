//! A filter for lists, behind `/`: the rows that hold its text, whatever the case; `n` and `N` go from one to the next.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::PanelKey;
use super::field::{Field, Typed};
use super::list::Place;
use crate::lang::Text;
use crate::view::View;

/// The keys of every filtered list.
pub const KEYS: PanelKey = PanelKey {
    keys: &["/", "n", "N"],
    label: Text::new("filter", "筛选"),
    help: Text::new(
        "show only what holds this text; next, previous of it",
        "只显示包含该文字的行; 下一个, 上一个",
    ),
};

/// The filter; see the module's page.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
    /// In small letters, as it is looked for.
    sought: String,
    typing: Option<Field>,
}

impl Filter {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it is being typed.
    pub fn is_open(&self) -> bool {
        self.typing.is_some()
    }

    /// Whether a row that holds these texts passes.
    pub fn passes(&self, texts: &[&str]) -> bool {
        self.sought.is_empty()
            || texts
                .iter()
                .any(|text| text.to_lowercase().contains(&self.sought))
    }

    fn set(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        self.sought = text.to_lowercase();
    }

    /// Takes a key, if it is for the filter. `len` rows pass it.
    pub fn handle(&mut self, key: &str, place: &mut Place, len: usize) -> bool {
        if let Some(field) = &mut self.typing {
            let typed = field.handle(key);
            let text = field.text.clone();
            match typed {
                Typed::Open => self.set(&text),
                Typed::Done => self.typing = None,
                Typed::Cancelled => {
                    self.typing = None;
                    self.set("");
                }
            }
            return true;
        }
        match key {
            "/" => self.typing = Some(Field::with(&self.text)),
            "esc" if !self.is_empty() => self.set(""),
            // From the last one to the first, and back.
            "n" if len > 0 => place.choose((place.row(len) + 1) % len, len),
            "N" if len > 0 => place.choose((place.row(len) + len - 1) % len, len),
            "n" | "N" => {}
            _ => return false,
        }
        true
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        if let Some(field) = &mut self.typing {
            field.paste(text);
            let text = field.text.clone();
            self.set(&text);
        }
    }

    /// Its words for a title: empty where there is no filter.
    pub fn title(&self) -> String {
        if self.is_empty() {
            String::new()
        } else {
            format!("  /{}", crate::text::escape(&self.text))
        }
    }

    /// Cuts the row of the open field off the lower edge of `area` and draws it there.
    pub fn render(&self, view: &View, area: &mut Rect, buf: &mut Buffer) {
        if let Some(field) = &self.typing
            && area.height > 0
        {
            area.height -= 1;
            let at = Rect {
                y: area.bottom(),
                height: 1,
                ..*area
            };
            buf.set_style(at.intersection(buf.area), Style::new());
            field.render("/", view, at, buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_kept_and_taken_away() {
        let (mut filter, mut place) = (Filter::default(), Place::top());
        assert!(!filter.handle("x", &mut place, 3));
        for key in ["/", "L", "r", "enter"] {
            assert!(filter.handle(key, &mut place, 3));
        }
        assert!(filter.passes(&["no", "the lR"]) && !filter.passes(&["rl"]));
        assert_eq!(filter.title(), "  /Lr");
        for (key, row) in [("n", 1), ("n", 2), ("n", 0), ("N", 2), ("N", 1)] {
            filter.handle(key, &mut place, 3);
            assert_eq!(place.row(3), row);
        }
        filter.handle("n", &mut place, 0);
        assert!(filter.handle("esc", &mut place, 3));
        assert!(filter.is_empty() && filter.passes(&[]));
        assert!(!filter.handle("esc", &mut place, 3));
    }
}
