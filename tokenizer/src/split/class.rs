//! Classes of characters, as the split patterns name them, and the loops over runs of one class.
//!
//! A class is a set of bits. Exactly one of `LETTER`, `NUMBER`, `SPACE`, `OTHER` is set for every character; the rest
//! refine it. ASCII is a table of 128 bytes; other characters go through a two-level table that is built on first use.

use std::sync::LazyLock;

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// `\p{L}`.
pub(super) const LETTER: u8 = 1;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 2;
/// `\s`: the property White_Space.
pub(super) const SPACE: u8 = 4;
/// `[^\s\p{L}\p{N}]`.
pub(super) const OTHER: u8 = 8;
/// `[\r\n]`.
pub(super) const NEWLINE: u8 = 16;
/// `[\p{Lu}\p{Lt}]`.
pub(super) const UPPER: u8 = 32;
/// `\p{Ll}`.
pub(super) const LOWER: u8 = 64;
/// `[\p{Lm}\p{Lo}\p{M}]`: letters without case, and marks.
pub(super) const UNCASED: u8 = 128;

const fn ascii_class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => LETTER | LOWER,
        b'A'..=b'Z' => LETTER | UPPER,
        b'0'..=b'9' => NUMBER,
        b'\r' | b'\n' => SPACE | NEWLINE,
        b' ' | b'\t' | 0x0B | 0x0C => SPACE,
        _ => OTHER,
    }
}

static ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = ascii_class(byte as u8);
        byte += 1;
    }
    table
};

fn compute_class(c: char) -> u8 {
    if c.is_ascii() {
        return ASCII[c as usize];
    }
    if c.is_whitespace() {
        return SPACE;
    }
    match get_general_category(c) {
        Category::UppercaseLetter | Category::TitlecaseLetter => LETTER | UPPER,
        Category::LowercaseLetter => LETTER | LOWER,
        Category::ModifierLetter | Category::OtherLetter => LETTER | UNCASED,
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => {
            OTHER | UNCASED
        }
        Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => NUMBER,
        _ => OTHER,
    }
}

const BLOCK: usize = 256;
const NUM_BLOCKS: usize = 0x11_0000 / BLOCK;

/// Classes of all code points: `blocks[index[c / 256] * 256 + c % 256]`, equal blocks stored once.
struct Table {
    index: Vec<u16>,
    blocks: Vec<u8>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut index = Vec::with_capacity(NUM_BLOCKS);
    let mut blocks: Vec<u8> = Vec::new();
    for block in 0..NUM_BLOCKS {
        let classes: Vec<u8> = (block * BLOCK..(block + 1) * BLOCK)
            .map(|code| char::from_u32(code as u32).map_or(OTHER, compute_class))
            .collect();
        let known = blocks
            .chunks_exact(BLOCK)
            .position(|known| known == classes);
        index.push(known.unwrap_or(blocks.len() / BLOCK) as u16);
        if known.is_none() {
            blocks.extend(classes);
        }
    }
    Table { index, blocks }
});

/// Class and length in bytes of the character that starts at `at`; `text` is UTF-8 and `at` a boundary in it.
#[inline(always)]
pub(super) fn class_at(text: &[u8], at: usize) -> (u8, usize) {
    let byte = text[at];
    if byte < 0x80 {
        (ASCII[byte as usize], 1)
    } else {
        wide_class_at(text, at)
    }
}

/// As [`class_at`], with the empty class at the end of the text.
#[inline(always)]
pub(super) fn class_or_end(text: &[u8], at: usize) -> u8 {
    if at < text.len() {
        class_at(text, at).0
    } else {
        0
    }
}

fn wide_class_at(text: &[u8], at: usize) -> (u8, usize) {
    let low = |i: usize| usize::from(text[at + i] & 0x3F);
    let lead = usize::from(text[at]);
    let (code, len) = match lead {
        0xF0.. => ((lead & 0x07) << 18 | low(1) << 12 | low(2) << 6 | low(3), 4),
        0xE0.. => ((lead & 0x0F) << 12 | low(1) << 6 | low(2), 3),
        _ => ((lead & 0x1F) << 6 | low(1), 2),
    };
    let table = &*TABLE;
    let block = usize::from(table.index[code / BLOCK]);
    (table.blocks[block * BLOCK + code % BLOCK], len)
}

/// End of the longest run from `at` whose characters are all in one of `classes`.
#[inline(always)]
pub(super) fn run(text: &[u8], mut at: usize, classes: u8) -> usize {
    while at < text.len() {
        let (class, len) = class_at(text, at);
        if class & classes == 0 {
            break;
        }
        at += len;
    }
    at
}

/// End of a run of at most `most` characters in `classes`.
pub(super) fn run_at_most(text: &[u8], mut at: usize, classes: u8, most: usize) -> usize {
    for _ in 0..most {
        if class_or_end(text, at) & classes == 0 {
            break;
        }
        at += class_at(text, at).1;
    }
    at
}

/// A run of white space, measured once.
pub(super) struct Whitespace {
    /// Where the run ends.
    pub end: usize,
    /// Where its last character starts.
    pub last: usize,
    /// Behind its last `\r` or `\n`, if it holds one.
    pub newline: Option<usize>,
}

/// Measures the run of white space that starts at `at` (there is at least one character).
pub(super) fn whitespace(text: &[u8], at: usize) -> Whitespace {
    let mut run = Whitespace {
        end: at,
        last: at,
        newline: None,
    };
    while run.end < text.len() {
        let (class, len) = class_at(text, run.end);
        if class & SPACE == 0 {
            break;
        }
        run.last = run.end;
        run.end += len;
        if class & NEWLINE != 0 {
            run.newline = Some(run.end);
        }
    }
    run
}

impl Whitespace {
    /// `\s+(?!\S)|\s+` from `start`: all of a run at the end of the text, else all but its last character, which
    /// belongs to the word that follows; a lone character stands alone.
    pub(super) fn spare_last(&self, text: &[u8], start: usize) -> usize {
        if self.end == text.len() || self.last == start {
            self.end
        } else {
            self.last
        }
    }
}

/// End of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`. Case folding also takes U+017F (long s) for an `s`.
pub(super) fn contraction_any_case(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'\'') {
        return None;
    }
    let letter = |i: usize| text.get(at + i).map(u8::to_ascii_lowercase);
    match (letter(1)?, letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) | (0xC5, Some(0xBF)) => Some(at + 3),
        _ => None,
    }
}
