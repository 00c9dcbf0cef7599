//! Qwen 2: as `llama3`, with every digit a piece.
//!
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

use super::Split;
use super::gpt4::{Variant, piece_end};

/// The split of Qwen 2.
pub(super) struct Qwen2;

impl Split for Qwen2 {
    fn name(&self) -> &'static str {
        "qwen2"
    }

    fn help(&self) -> &'static str {
        "Qwen 2 and 3: as llama3 with single digits"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ]
    }

    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        piece_end(
            text,
            start,
            &Variant {
                digits: 1,
                whole_tail: false,
            },
        )
    }
}
