//! GPT-4o, that is o200k: words are cut where the case rises, marks belong to words, contractions stay on theirs.
//!
//! With `U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and `L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]`:
//! `[^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|`
//! ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! Source: openai/tiktoken, tiktoken_ext/openai_public.py.

use super::Split;
use super::class::{
    LETTER, LOWER, NEWLINE, NUMBER, OTHER, UNCASED, UPPER, class_at, class_or_end,
    contraction_any_case, run, run_at_most, whitespace,
};

/// The split of GPT-4o.
pub(super) struct O200k;

impl Split for O200k {
    fn name(&self) -> &'static str {
        "o200k"
    }

    fn help(&self) -> &'static str {
        "GPT-4o and o200k: as gpt4 with words cut where the case rises"
    }

    fn patterns(&self) -> &'static [&'static str] {
        &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ]
    }

    fn piece_end(&self, text: &[u8], start: usize) -> usize {
        let (class, len) = class_at(text, start);
        if let Some(end) = word(text, start, class, len) {
            return contraction_any_case(text, end).unwrap_or(end);
        }
        if class & NUMBER != 0 {
            return run_at_most(text, start + len, NUMBER, 2);
        }
        let after = start + len;
        if class & OTHER != 0 || (text[start] == b' ' && class_or_end(text, after) & OTHER != 0) {
            let mut end = run(text, after, OTHER);
            while matches!(text.get(end), Some(b'\r' | b'\n' | b'/')) {
                end += 1;
            }
            return end;
        }
        let space = whitespace(text, start);
        space
            .newline
            .unwrap_or_else(|| space.spare_last(text, start))
    }
}

/// The two word alternatives, without the contraction: the first with its leading character, then without, then the
/// second, in the order in which a backtracking matcher tries them.
fn word(text: &[u8], start: usize, class: u8, len: usize) -> Option<usize> {
    let may_lead = class & (LETTER | NUMBER | NEWLINE) == 0;
    if may_lead && let Some(end) = ends_lower(text, start + len) {
        return Some(end);
    }
    if let Some(end) = ends_lower(text, start) {
        return Some(end);
    }
    let body = if may_lead { start + len } else { start };
    let end = run(text, body, UPPER | UNCASED);
    (end > body).then_some(end)
}

/// `U*L+` at `at`. Where no lower-case letter follows the greedy `U*`, it gives characters back until its last one
/// is in `L` too, that is uncased.
fn ends_lower(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    let mut behind_uncased = None;
    while end < text.len() {
        let (class, len) = class_at(text, end);
        if class & (UPPER | UNCASED) == 0 {
            break;
        }
        end += len;
        if class & UNCASED != 0 {
            behind_uncased = Some(end);
        }
    }
    if class_or_end(text, end) & LOWER != 0 {
        Some(run(text, end, LOWER | UNCASED))
    } else {
        behind_uncased
    }
}
