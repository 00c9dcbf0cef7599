//! GPT-4, that is cl100k: words take one leading character of any kind, numbers go in threes, newlines end a run.
//!
//! `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`
//! Source: openai/tiktoken, tiktoken_ext/openai_public.py. `llama3` and `qwen2` share the scanner below.

use super::Split;
use super::class::{
    LETTER, NEWLINE, NUMBER, OTHER, class_at, class_or_end, contraction_any_case, run, run_at_most,
    whitespace,
};

/// The split of GPT-4.
pub(super) struct Gpt4;

impl Split for Gpt4 {
    fn name(&self) -> &'static str {
        "gpt4"
    }

    fn help(&self) -> &'static str {
        "GPT-4 and cl100k: as gpt2 with numbers in threes and any case of contractions"
    }

    fn patterns(&self) -> &'static [&'static str] {
        // Written first: without the possessive `{1,3}+`, which Oniguruma (the engine behind tokenizer.json) reads as
        // a repetition of the group.
        &[
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        ]
    }

    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        piece_end(
            text,
            start,
            &Variant {
                digits: 3,
                whole_tail: true,
            },
        )
    }
}

/// Where the patterns of this family differ.
pub(super) struct Variant {
    /// Most digits of a number.
    pub digits: usize,
    /// White space at the end of the text is one piece (`\s++$`) even where it holds a newline.
    pub whole_tail: bool,
}

/// The scanner of the family.
pub(super) fn piece_end(text: &[u8], start: usize, variant: &Variant) -> usize {
    let (class, len) = class_at(text, start);
    if class & LETTER != 0 {
        return run(text, start + len, LETTER);
    }
    if class & NUMBER != 0 {
        return run_at_most(text, start + len, NUMBER, variant.digits - 1);
    }
    if let Some(end) = contraction_any_case(text, start) {
        return end;
    }
    let after = start + len;
    let next = class_or_end(text, after);
    if class & NEWLINE == 0 && next & LETTER != 0 {
        return run(text, after, LETTER);
    }
    if class & OTHER != 0 || (text[start] == b' ' && next & OTHER != 0) {
        return run(text, run(text, after, OTHER), NEWLINE);
    }
    let space = whitespace(text, start);
    if variant.whole_tail && space.end == text.len() {
        return space.end;
    }
    space
        .newline
        .unwrap_or_else(|| space.spare_last(text, start))
}
