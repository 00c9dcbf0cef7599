//! Dots smaller than a cell: braille, octants, quadrants, or plain ASCII.
//!
//! A [`Grid`] is a canvas of dots for one colour; [`GlyphSet`] says how many dots a cell has and which character shows
//! them. Used by [`super::draw`] and [`super::spark`].

use ratatui::symbols::braille::BRAILLE;
use ratatui::symbols::pixel::{OCTANTS, QUADRANTS};

/// Which characters draw the dots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GlyphSet {
    /// 2 x 4 dots; needs a font with braille patterns, as nearly all have.
    #[default]
    Braille,
    /// 2 x 4 solid dots; needs a font with Unicode 16's octants.
    Octant,
    /// 2 x 2 solid dots; for the consoles that have no braille.
    Block,
    /// 1 x 2 dots in plain ASCII.
    Ascii,
}

impl GlyphSet {
    /// The words that ask for each.
    pub const WORDS: [&str; 4] = ["braille", "octant", "block", "ascii"];

    /// The set that a word asks for.
    pub fn parse(word: &str) -> Option<Self> {
        let at = Self::WORDS.iter().position(|have| *have == word)?;
        Some([Self::Braille, Self::Octant, Self::Block, Self::Ascii][at])
    }

    /// The next set, in the order in which the key walks through them.
    pub fn next(self) -> Self {
        match self {
            Self::Braille => Self::Octant,
            Self::Octant => Self::Block,
            Self::Block => Self::Ascii,
            Self::Ascii => Self::Braille,
        }
    }

    /// Dots a cell has: across and down.
    pub fn dots(self) -> (usize, usize) {
        match self {
            Self::Braille | Self::Octant => (2, 4),
            Self::Block => (2, 2),
            Self::Ascii => (1, 2),
        }
    }

    /// The character that shows `bits`, row by row from the top left (bit 0). `line` asks for the form of a line
    /// rather than of an area; only ASCII has two.
    pub fn symbol(self, bits: u8, line: bool) -> char {
        match self {
            Self::Braille => BRAILLE[bits as usize],
            Self::Octant => OCTANTS[bits as usize],
            Self::Block => QUADRANTS[(bits & 0xf) as usize],
            Self::Ascii if line => '*',
            Self::Ascii => [' ', '\'', '.', ':'][(bits & 3) as usize],
        }
    }

    /// Vertical bars of rising height, the empty one first.
    pub fn bars(self) -> &'static [char] {
        match self {
            Self::Ascii => &[' ', '_', '.', '-', '=', '#'],
            _ => &[
                ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}',
                '\u{2587}', '\u{2588}',
            ],
        }
    }

    /// Shades of rising density for a heat map, the empty one first.
    pub fn shades(self) -> &'static [char] {
        match self {
            Self::Ascii => &[' ', '.', ':', '+', '#'],
            _ => &[' ', '\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}'],
        }
    }
}

/// A canvas of dots, `width` x `height` cells.
#[derive(Clone, Debug)]
pub struct Grid {
    set: GlyphSet,
    width: usize,
    height: usize,
    bits: Vec<u8>,
}

impl Grid {
    /// An empty canvas of that many cells.
    pub fn new(set: GlyphSet, width: usize, height: usize) -> Self {
        Self {
            set,
            width,
            height,
            bits: vec![0; width * height],
        }
    }

    /// Dots across and down.
    pub fn size(&self) -> (usize, usize) {
        let (across, down) = self.set.dots();
        (self.width * across, self.height * down)
    }

    /// Sets one dot, counted from the top left; outside nothing happens.
    pub fn set(&mut self, x: usize, y: usize) {
        let (across, down) = self.set.dots();
        let (column, row) = (x / across, y / down);
        if column < self.width && row < self.height {
            self.bits[row * self.width + column] |= 1 << ((y % down) * across + x % across);
        }
    }

    /// Sets the dots of column `x` between two rows, both included, in either order.
    pub fn vertical(&mut self, x: usize, y0: usize, y1: usize) {
        for y in y0.min(y1)..=y0.max(y1) {
            self.set(x, y);
        }
    }

    /// Sets a straight line of dots from `a` to `b`, both included.
    pub fn line(&mut self, (x0, y0): (usize, usize), (x1, y1): (usize, usize)) {
        if x1 <= x0 {
            self.vertical(x0, y0, y1);
            return;
        }
        let slope = (y1 as f64 - y0 as f64) / (x1 - x0) as f64;
        let mut previous = y0;
        for x in x0..=x1 {
            // Half way to the next column, so that steep lines have no holes.
            let next = (y0 as f64 + slope * (x - x0) as f64).round() as usize;
            if next.abs_diff(previous) > 1 {
                let toward = if next > previous {
                    previous + 1
                } else {
                    previous - 1
                };
                self.vertical(x, toward, next);
            } else {
                self.set(x, next);
            }
            previous = next;
        }
    }

    /// The dots of a cell, row by row from the top left (bit 0).
    pub fn cell(&self, column: usize, row: usize) -> u8 {
        self.bits[row * self.width + column]
    }

    /// The set in which this canvas is drawn.
    pub fn glyphs(&self) -> GlyphSet {
        self.set
    }
}
