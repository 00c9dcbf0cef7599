//! Llama 3: cl100k as most tokenizer.json files write it.
//!
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! It differs from `gpt4` only in white space at the end of a text: behind its last newline a new piece starts.

use super::Split;
use super::gpt4::{Variant, piece_end};

/// The split of Llama 3.
pub(super) struct Llama3;

impl Split for Llama3 {
    fn name(&self) -> &'static str {
        "llama3"
    }

    fn help(&self) -> &'static str {
        "Llama 3: as gpt4, with white space at the end of a text cut behind its last newline"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ]
    }

    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        piece_end(
            text,
            start,
            &Variant {
                digits: 3,
                whole_tail: false,
            },
        )
    }
}
