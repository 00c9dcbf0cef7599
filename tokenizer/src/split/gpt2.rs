//! GPT-2 and r50k: contractions, words, numbers and runs of anything else, each with at most one leading space.
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//! Source: openai/gpt-2, src/encoder.py; in tokenizer.json it is `ByteLevel` with `use_regex`.

use super::Split;
use super::class::{LETTER, NUMBER, OTHER, SPACE, class_at, class_or_end, run, whitespace};

/// The split of GPT-2.
pub(super) struct Gpt2;

/// Its registry name: `ByteLevel` with `use_regex` stands for it in tokenizer.json.
pub(crate) const NAME: &str = "gpt2";

impl Split for Gpt2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn help(&self) -> &'static str {
        "GPT-2 and r50k: words, numbers and punctuation, each with its leading space"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
            r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        ]
    }

    #[inline]
    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        let (class, len) = class_at(text, start);
        if text[start] == b' ' {
            let next = class_or_end(text, start + 1);
            if next & (LETTER | NUMBER | OTHER) != 0 {
                return run(text, start + 1, next & (LETTER | NUMBER | OTHER));
            }
        } else if text[start] == b'\''
            && let Some(end) = contraction(text, start)
        {
            return end;
        }
        if class & SPACE != 0 {
            return whitespace(text, start).spare_last(text, start);
        }
        run(text, start + len, class & (LETTER | NUMBER | OTHER))
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, lower case only.
fn contraction(text: &[u8], at: usize) -> Option<usize> {
    match (text.get(at + 1)?, text.get(at + 2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
        _ => None,
    }
}
