//! Pre-tokenisation: cuts text into the pieces inside which BPE may merge.
//!
//! Each variant is a hand-written scanner over Unicode general categories that takes exactly what its pattern takes
//! (the patterns need look-ahead, which linear-time regex engines lack, and a scanner is several times faster).
//! Law of all: the concatenation of the pieces is the text. A new variant is one file here and one line in [`SPLITS`].
//! Next: `bpe`.

mod class;
mod digits;
mod gpt2;
mod gpt4;
mod llama3;
mod none;
mod o200k;
mod qwen2;
#[cfg(test)]
mod tests;

use crate::error::TokenizerError;

pub(crate) use digits::NAME as DIGITS;
pub(crate) use gpt2::NAME as GPT2;
pub(crate) use none::NAME as NONE;

/// One way to cut text into pieces.
pub trait Split: Sync {
    /// The word that selects it (`--pre-tokenizer`, `tokenizer.pre_tokenizer`).
    fn name(&self) -> &'static str;

    /// One line for the help.
    fn help(&self) -> &'static str;

    /// The patterns by which tokenizer.json files name this split, the one we write first; none if it has no
    /// `Split` component of its own.
    fn patterns(&self) -> &'static [&'static str];

    /// Whether a piece ends at every letter that white space follows, whatever stands around the two. Then a long text
    /// may be split in parts, on several threads.
    fn ends_words(&self) -> bool {
        true
    }

    /// Where the piece that starts at `start` ends: `start < result <= text.len()`, at a character boundary. `text`
    /// is UTF-8, `start < text.len()` a boundary of pieces.
    fn piece_end(&self, text: &[u8], start: usize) -> usize;
}

/// Every split by name. The order is the order of the help.
pub static SPLITS: &[&dyn Split] = &[
    &gpt2::Gpt2,
    &gpt4::Gpt4,
    &o200k::O200k,
    &llama3::Llama3,
    &qwen2::Qwen2,
    &digits::Digits,
    &none::Whole,
];

/// The split called `name`.
///
/// # Errors
/// [`TokenizerError::UnknownSplit`] lists the known names.
pub fn by_name(name: &str) -> Result<&'static dyn Split, TokenizerError> {
    SPLITS
        .iter()
        .copied()
        .find(|split| split.name() == name)
        .ok_or_else(|| TokenizerError::UnknownSplit {
            name: name.to_owned(),
            known: names(),
        })
}

/// All names, for messages.
pub(crate) fn names() -> String {
    SPLITS
        .iter()
        .map(|split| split.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The split that a tokenizer.json names by `pattern`.
pub(crate) fn by_pattern(pattern: &str) -> Option<&'static dyn Split> {
    SPLITS
        .iter()
        .copied()
        .find(|split| split.patterns().contains(&pattern))
}

/// Calls `sink` with every piece of `text`, in order: each split cuts the pieces of the one before.
pub(crate) fn for_each_piece<'a>(
    splits: &[&'static dyn Split],
    text: &'a str,
    sink: &mut impl FnMut(&'a [u8]),
) {
    fn cut<'a>(splits: &[&'static dyn Split], text: &'a [u8], sink: &mut dyn FnMut(&'a [u8])) {
        let Some((first, rest)) = splits.split_first() else {
            return sink(text);
        };
        let mut start = 0;
        while start < text.len() {
            let end = first.piece_end(text, start);
            cut(rest, &text[start..end], sink);
            start = end;
        }
    }
    let text = text.as_bytes();
    if let [split] = splits {
        let mut start = 0;
        while start < text.len() {
            let end = split.piece_end(text, start);
            sink(&text[start..end]);
            start = end;
        }
    } else if !text.is_empty() {
        cut(splits, text, sink);
    }
}

/// Cuts `text` into parts of about `size` bytes that `split` may take one by one; the whole text if it may not.
pub(crate) fn independent_parts<'a>(split: &dyn Split, text: &'a str, size: usize) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while split.ends_words()
        && rest.len() > size
        && let Some(cut) = safe_cut(rest, size)
    {
        let (part, tail) = rest.split_at(cut);
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    parts
}

/// The first boundary at or behind `from` between a letter and white space.
fn safe_cut(text: &str, from: usize) -> Option<usize> {
    let from = text.ceil_char_boundary(from);
    let bytes = text.as_bytes();
    let mut previous = 0;
    for (offset, _) in text[from..].char_indices() {
        let class = class::class_at(bytes, from + offset).0;
        if previous & class::LETTER != 0 && class & class::SPACE != 0 {
            return Some(from + offset);
        }
        previous = class;
    }
    None
}
