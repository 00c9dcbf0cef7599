//! A place in a list: the keys that move it and the rows that are seen.

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
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    row: Option<usize>,
}

impl Place {
    /// The place at the first row.
    pub fn top() -> Self {
        Self { row: Some(0) }
    }

    /// The place at a row, which stays chosen.
    pub fn at(row: usize) -> Self {
        Self { row: Some(row) }
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
        // At the end it follows again.
        self.row = (to < last).then_some(to);
        true
    }

    /// The rows of a list of `len` rows that `height` rows show.
    pub fn visible(&self, len: usize, height: usize) -> std::ops::Range<usize> {
        let first = paint::scroll(len, self.row(len), height);
        first..len.min(first + height)
    }
}

/// A chosen row that holds for the place of the data cursor at which it was chosen. Elsewhere it is the row of that step,
/// and without a cursor the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dated {
    place: Place,
    cursor: Option<u64>,
}

impl Dated {
    /// The place while the cursor stands at `cursor`, which is at row `row`.
    pub fn at(&self, cursor: Option<u64>, row: usize) -> Place {
        match cursor {
            _ if self.cursor == cursor => self.place,
            Some(_) => Place::at(row),
            None => Place::default(),
        }
    }

    /// Moves it, if the key is one of [`KEYS`].
    pub fn handle(&mut self, key: &str, len: usize, cursor: Option<u64>, row: usize) -> bool {
        let mut place = self.at(cursor, row);
        let taken = place.handle(key, len);
        if taken {
            (self.place, self.cursor) = (place, cursor);
        }
        taken
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
        assert_eq!(Place::default().visible(0, 5), 0..0);
    }

    #[test]
    fn a_choice_holds_where_the_cursor_stood() {
        let mut place = Dated::default();
        assert_eq!(place.at(None, 0).row(9), 8);
        assert_eq!(place.at(Some(70), 4).row(9), 4);
        assert!(place.handle("k", 9, Some(70), 4));
        assert_eq!(place.at(Some(70), 4).row(9), 3);
        assert_eq!(place.at(Some(80), 5).row(9), 5);
        assert_eq!(place.at(None, 0).row(9), 8);
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
