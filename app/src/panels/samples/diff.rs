//! What a sample says otherwise than the one of the same prompt before it: word by word, as the longest common sequence
//! leaves it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::paint;
use crate::state::Sample;
use crate::text;
use crate::view::View;

/// Words of a text that are compared; what comes behind is drawn as new.
const WORDS: usize = 600;

/// A word, and what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    space: bool,
    newline: bool,
}

/// The words of a text. A character that takes two cells, as Chinese ones do, is a word of its own.
fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let (mut space, mut newline, mut glued) = (false, false, false);
    for c in text.chars() {
        if c == '\n' || c.is_whitespace() {
            (space, newline, glued) = (true, newline || c == '\n', false);
            continue;
        }
        let shown = text::escape(c.encode_utf8(&mut [0; 4]));
        let wide = text::width(&shown) == 2 && shown.chars().count() == 1;
        match words.last_mut() {
            Some(word) if glued && !wide => word.text.push_str(&shown),
            _ => words.push(Word {
                text: shown,
                space,
                newline,
            }),
        }
        (space, newline, glued) = (false, false, !wide);
    }
    words
}

/// Which of the newer words are not in the longest sequence that both have in common.
fn changed(older: &[Word], newer: &[Word]) -> Vec<bool> {
    let older = &older[..older.len().min(WORDS)];
    let compared = newer.len().min(WORDS);
    let width = compared + 1;
    let mut longest = vec![0u16; (older.len() + 1) * width];
    for i in (0..older.len()).rev() {
        for j in (0..compared).rev() {
            longest[i * width + j] = if older[i].text == newer[j].text {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let mut changed = vec![true; newer.len()];
    let (mut i, mut j) = (0, 0);
    while i < older.len() && j < compared {
        if older[i].text == newer[j].text {
            changed[j] = false;
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    changed
}

/// Draws a sample with the words marked that the older one does not have there. Returns the row behind.
pub fn draw(older: &Sample, newer: &Sample, view: &View, area: Rect, buf: &mut Buffer) -> u16 {
    let theme = &view.theme;
    let prompt = words(&newer.prompt);
    let written = words(&newer.text);
    let marks = changed(&words(&older.text), &written);
    let styles = std::iter::repeat_n(theme.dim, prompt.len()).chain(
        marks
            .iter()
            .map(|new| if *new { theme.key } else { theme.text }),
    );
    let (mut row, mut used) = (0, 0);
    for (word, style) in prompt.iter().chain(&written).zip(styles) {
        let width = text::width(&word.text) as u16;
        let gap = u16::from(word.space && used > 0);
        if word.newline || (used > 0 && used + gap + width > area.width) {
            (row, used) = (row + 1, 0);
        } else {
            used += gap;
        }
        if row >= area.height {
            return area.height;
        }
        let at = Rect {
            x: area.x + used.min(area.width),
            width: area.width.saturating_sub(used),
            ..area
        };
        paint::line(buf, at, row, &[(&word.text, style)]);
        used += width;
    }
    row + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_words(older: &str, newer: &str) -> Vec<String> {
        let newer = words(newer);
        let marks = changed(&words(older), &newer);
        let new = newer.iter().zip(marks).filter(|(_, new)| *new);
        new.map(|(word, _)| word.text.clone()).collect()
    }

    #[test]
    fn words_that_the_older_text_does_not_have_are_new() {
        for (older, newer, expected) in [
            ("a b c", "a b c", ""),
            ("the red fox", "the small red hen", "small hen"),
            ("", "all new", "all new"),
            ("one two three", "three one two", "three"),
            (
                "\u{72d0}\u{72f8}\u{770b}",
                "\u{72d0}\u{72f8}\u{8d70}",
                "\u{8d70}",
            ),
            ("a\nb", "a b", ""),
        ] {
            assert_eq!(
                new_words(older, newer).join(" "),
                expected,
                "{older} {newer}"
            );
        }
        let numbers: Vec<String> = (0..2 * WORDS).map(|i| i.to_string()).collect();
        let long = numbers.join(" ");
        assert_eq!(
            new_words(&long, &long).len(),
            WORDS,
            "the rest is not compared"
        );
        assert_eq!(words("a\u{1b}[2J")[0].text, "a\\x1b[2J");
    }
}
