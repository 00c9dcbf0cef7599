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
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    row: Option<usize>,
}

/// Where the rows of a list were drawn last: what the mouse points at.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The rows' area, the first one of them, and how many the list has.
    drawn: Cell<(Rect, usize, usize)>,
}

impl Shown {
    /// The rows of a list of `len` rows that show in `area`, which is remembered.
    pub fn rows(&self, place: Place, len: usize, area: Rect) -> std::ops::Range<usize> {
        let rows = place.visible(len, usize::from(area.height));
        self.drawn.set((area, rows.start, len));
        rows
    }

    /// The row under a position, and how many the list has; none if there is no row.
    pub fn at(&self, at: Position) -> Option<(usize, usize)> {
        let (area, first, len) = self.drawn.get();
        let row = first + usize::from(at.y.checked_sub(area.y)?);
        (area.contains(at) && row < len).then_some((row, len))
    }

    /// Goes to the row under a position. None if there is no row; whether it was chosen before.
    pub fn click(&self, place: &mut Place, at: Position) -> Option<bool> {
        let (row, len) = self.at(at)?;
        let before = place.row(len);
        place.choose(row, len);
        Some(before == row)
    }

    /// Width of the rows; 0 before they were drawn.
    pub fn width(&self) -> u16 {
        self.drawn.get().0.width
    }
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
        self.choose(to, len);
        true
    }

    /// Goes to a row. At the end it follows again.
    pub fn choose(&mut self, row: usize, len: usize) {
        self.row = (row + 1 < len).then_some(row);
    }

    /// The rows of a list of `len` rows that `height` rows show.
    pub fn visible(&self, len: usize, height: usize) -> std::ops::Range<usize> {
        let first = paint::scroll(len, self.row(len), height);
        first..len.min(first + height)
    }
}

/// A chosen row of a list whose first rows are forgotten as it grows: what is kept is the row's number, which stays. It holds
/// for the place of the data cursor at which it was chosen; elsewhere it is the row of that step, and without a cursor the last
/// one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dated {
    /// None follows the last row.
    number: Option<u64>,
    cursor: Option<u64>,
}

impl Dated {
    /// The place while the cursor stands at `cursor`, which is at row `row`; `row_of` finds the row of a number, of one that is
    /// gone the next.
    pub fn at(&self, cursor: Option<u64>, row: usize, row_of: impl Fn(u64) -> usize) -> Place {
        match cursor {
            _ if self.cursor == cursor => Place {
                row: self.number.map(row_of),
            },
            Some(_) => Place::at(row),
            None => Place::default(),
        }
    }

    /// Puts it at a place while the cursor stands at `cursor`; `number_of` says the number of a row.
    pub fn put(&mut self, place: Place, cursor: Option<u64>, number_of: impl Fn(usize) -> u64) {
        (self.number, self.cursor) = (place.row.map(number_of), cursor);
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
        let shown = Shown::default();
        assert_eq!(shown.rows(place, 30, Rect::new(2, 5, 10, 4)), 26..30);
        assert_eq!(shown.click(&mut place, (3, 6).into()), Some(false));
        assert_eq!(place.row(30), 27);
        assert_eq!(shown.click(&mut place, (3, 6).into()), Some(true));
        for outside in [(3, 4), (1, 6), (3, 9)] {
            assert_eq!(shown.click(&mut place, outside.into()), None);
        }
        assert_eq!(shown.click(&mut place, (3, 8).into()), Some(false));
        assert_eq!(place.row(40), 39, "the last one is followed");
    }

    #[test]
    fn a_choice_holds_where_the_cursor_stood() {
        let row_of = |number: u64| number as usize;
        let mut place = Dated::default();
        let row = |place: &Dated, cursor, row| place.at(cursor, row, row_of).row(9);
        assert_eq!(row(&place, None, 0), 8);
        assert_eq!(row(&place, Some(70), 4), 4);
        place.put(Place::at(3), Some(70), |row| row as u64);
        assert_eq!(row(&place, Some(70), 4), 3);
        assert_eq!(row(&place, Some(80), 5), 5);
        assert_eq!(row(&place, None, 0), 8);
    }

    #[test]
    fn a_choice_stays_with_its_row_while_the_first_ones_are_forgotten() {
        let mut place = Dated::default();
        place.put(Place::at(5), None, |row| 100 + row as u64);
        for (first, row) in [(100, 5), (103, 2), (105, 0), (110, 0)] {
            let row_of = |number: u64| number.saturating_sub(first) as usize;
            assert_eq!(place.at(None, 0, row_of).row(9), row, "{first}");
        }
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
