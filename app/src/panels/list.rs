//! A place in a list: the keys that move it and the rows that are seen.

use std::cell::Cell;

use ratatui::layout::{Position, Rect};

use super::PanelKey;
use crate::lang::Text;
use crate::paint;

/// The keys of every list.
pub const KEYS: PanelKey = PanelKey {
    keys: &[
        "j", "k", "pgdn", "pgup", "g", "G", "down", "up", "ctrl-d", "ctrl-u", "home", "end",
    ],
    label: Text::new("move", "移动"),
    help: Text::new(
        "down, up, by pages, to the first, to the last",
        "下, 上, 翻页, 到首尾",
    ),
};

/// Rows that a page key moves by.
const PAGE: usize = 10;

/// A chosen row. As long as nothing was chosen it is the last one and follows what is appended.
#[derive(Clone, Debug, Default)]
pub struct Place {
    row: Option<usize>,
    /// Where the rows were drawn last, the first one of them, and how many there are.
    drawn: Cell<(Rect, usize, usize)>,
}

impl Place {
    /// The place at the first row.
    pub fn top() -> Self {
        Self {
            row: Some(0),
            ..Self::default()
        }
    }

    /// The chosen row of a list of `len` rows.
    pub fn row(&self, len: usize) -> usize {
        let last = len.saturating_sub(1);
        self.row.map_or(last, |row| row.min(last))
    }

    /// Moves it, if the key is one of [`KEYS`].
    pub fn handle(&mut self, key: &str, len: usize) -> bool {
        let here = self.row(len);
        let last = len.saturating_sub(1);
        let to = match key {
            "j" | "down" => here + 1,
            "k" | "up" => here.saturating_sub(1),
            "pgdn" | "ctrl-d" => here + PAGE,
            "pgup" | "ctrl-u" => here.saturating_sub(PAGE),
            "g" | "home" => 0,
            "G" | "end" => last,
            _ => return false,
        };
        self.choose(to, len);
        true
    }

    /// Goes to a row. At the end it follows again.
    pub fn choose(&mut self, row: usize, len: usize) {
        self.row = (row + 1 < len).then_some(row);
    }

    /// Width of the rows, as they were drawn last; 0 before.
    pub fn width(&self) -> u16 {
        self.drawn.get().0.width
    }

    /// Goes to the row under a position, as it was drawn last. None if there is no row; whether it was chosen before.
    pub fn click(&mut self, at: Position) -> Option<bool> {
        let (area, first, len) = self.drawn.get();
        let row = first + usize::from(at.y.checked_sub(area.y)?);
        if !area.contains(at) || row >= len {
            return None;
        }
        let before = self.row(len);
        self.choose(row, len);
        Some(before == row)
    }

    /// As [`Self::visible`], in all of `area`, which is remembered for the mouse.
    pub fn visible_in(&self, len: usize, area: Rect) -> std::ops::Range<usize> {
        let rows = self.visible(len, usize::from(area.height));
        self.drawn.set((area, rows.start, len));
        rows
    }

    /// The rows of a list of `len` rows that `height` rows show.
    pub fn visible(&self, len: usize, height: usize) -> std::ops::Range<usize> {
        let first = paint::scroll(len, self.row(len), height);
        first..len.min(first + height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_is_followed_until_another_is_chosen() {
        let mut place = Place::default();
        assert_eq!(place.row(5), 4);
        assert_eq!(place.row(9), 8);
        assert!(place.handle("k", 9));
        assert_eq!(place.row(20), 7);
        place.handle("G", 20);
        assert_eq!(place.row(30), 29);
        assert!(!place.handle("x", 9));
        assert_eq!(Place::default().row(0), 0);
        assert_eq!(place.visible_in(30, Rect::new(2, 5, 10, 4)), 26..30);
        assert_eq!(place.click((3, 6).into()), Some(false));
        assert_eq!(place.row(30), 27);
        assert_eq!(place.click((3, 6).into()), Some(true));
        for outside in [(3, 4), (1, 6), (3, 9)] {
            assert_eq!(place.click(outside.into()), None);
        }
        assert_eq!(place.click((3, 8).into()), Some(false));
        assert_eq!(place.row(40), 39, "the last one is followed");
        assert_eq!(Place::default().visible(0, 5), 0..0);
    }

    #[test]
    fn the_chosen_row_is_always_visible() {
        for len in 1..30 {
            for height in 1..12 {
                let mut place = Place::top();
                for _ in 0..len + 3 {
                    assert!(place.visible(len, height).contains(&place.row(len)));
                    place.handle("j", len);
                }
                assert_eq!(place.row(len), len - 1);
            }
        }
    }
}
