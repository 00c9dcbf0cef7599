//! The Chinese of what the engine says in English: its sentences ([`sentences`]) and the lines about its keys ([`keys`]).
//!
//! Events and errors are written in English, so that records and scripts stay as they are whoever looks on; a record that is
//! years old is read like a new one. A pattern such as `no checkpoint of step {}: {}` fits a sentence whose fixed words are
//! its own; what stands in the gaps is looked up in turn, so that a reason inside a sentence is Chinese too. What no pattern
//! fits (words of the system, of a parser, of a person) stays as it is.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::phrase::fill;

mod keys;
mod sentences;

/// Sentences within sentences that are looked up, at most.
const DEPTH: usize = 3;

/// Places at which a text is taken for two, at most: what a person wrote may be long.
const SPLITS: usize = 6;

/// The Chinese of an English text, as far as it is known.
pub fn chinese(text: &str) -> String {
    found(text, DEPTH).map_or_else(|| text.to_owned(), |found| found.zh)
}

/// The Chinese of a text.
#[derive(Clone)]
struct Found {
    zh: String,
    /// Whether every sentence in it is known.
    whole: bool,
}

/// One pattern: its fixed words, which its gaps part, and the Chinese.
struct Pattern {
    words: Vec<&'static str>,
    zh: &'static str,
}

/// Everything that is known.
struct Known {
    /// Lines without gaps.
    lines: HashMap<&'static str, &'static str>,
    /// The others, those with the most fixed words first.
    patterns: Vec<Pattern>,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let all = keys::KEYS.iter().chain(sentences::all());
        let all = all.copied();
        let (gaps, lines): (Vec<_>, Vec<_>) = all.partition(|(en, _)| en.contains("{}"));
        let mut patterns: Vec<Pattern> = gaps
            .into_iter()
            .map(|(en, zh)| Pattern {
                words: en.split("{}").collect(),
                zh,
            })
            .collect();
        let fixed = |pattern: &Pattern| pattern.words.iter().map(|w| w.len()).sum::<usize>();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(fixed(pattern)));
        Known {
            lines: lines.into_iter().collect(),
            patterns,
        }
    })
}

fn found(text: &str, depth: usize) -> Option<Found> {
    let known = known();
    if let Some(zh) = known.lines.get(text) {
        let zh = (*zh).to_owned();
        return Some(Found { zh, whole: true });
    }
    let deeper = depth.checked_sub(1)?;
    let fitting = known.patterns.iter().find_map(|pattern| {
        let parts = parts(text, &pattern.words)?.into_iter();
        let parts = parts.map(|part| match found(part, deeper) {
            Some(found) if found.whole || !part.contains("; ") => Some(found.zh),
            // A gap that holds another sentence is none: the text is two.
            _ if part.contains("; ") => None,
            _ => Some(part.to_owned()),
        });
        let parts: Vec<String> = parts.collect::<Option<_>>()?;
        let zh = fill(pattern.zh, |gap| parts.get(gap).cloned());
        Some(Found { zh, whole: true })
    });
    if fitting.is_some() {
        return fitting;
    }
    // A place or a name before what is wrong; two sentences. Better both known than one.
    let pairs = [": ", "; "].map(|between| pair(text, between, deeper));
    let both = pairs.iter().flatten().find(|pair| pair.whole);
    both.or_else(|| pairs.iter().flatten().next()).cloned()
}

/// Two texts with `between` between them, where both are known or the first is a place, else one of them.
fn pair(text: &str, between: &str, depth: usize) -> Option<Found> {
    let mut half: Option<Found> = None;
    for (at, _) in text.match_indices(between).take(SPLITS) {
        let (first, second) = (&text[..at], &text[at + between.len()..]);
        // What comes first is short: a place, a name, one sentence.
        let zh = [found(first, depth.min(1)), found(second, depth)];
        if zh.iter().all(Option::is_none) {
            continue;
        }
        let is_place = between == ": " && !first.contains(char::is_whitespace);
        let [a, b] = zh
            .each_ref()
            .map(|zh| zh.as_ref().is_some_and(|zh| zh.whole));
        let whole = (a || is_place) && b;
        let [a, b] = zh.map(|zh| zh.map(|zh| zh.zh));
        let a = a.unwrap_or_else(|| first.to_owned());
        let b = b.unwrap_or_else(|| second.to_owned());
        let zh = format!("{a}{between}{b}");
        if whole {
            return Some(Found { zh, whole });
        }
        half.get_or_insert(Found { zh, whole });
    }
    half
}

/// What stands in the gaps between `words`, the shortest first; none if the text is another.
fn parts<'a>(text: &'a str, words: &[&str]) -> Option<Vec<&'a str>> {
    let [first, middle @ .., last] = words else {
        return None;
    };
    let mut rest = text.strip_prefix(first)?.strip_suffix(last)?;
    let mut parts = Vec::with_capacity(words.len() - 1);
    for word in middle {
        let (part, behind) = rest.split_once(word)?;
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

#[cfg(test)]
mod tests;
