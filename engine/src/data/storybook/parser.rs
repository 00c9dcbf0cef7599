//! Finds the choices again in a finished text: counts a text's derivations, and knows a sentence when it sees one.
//!
//! The parser walks the productions depth first with the bindings so far, and gives up a branch at its first wrong byte.
//! Grammars do not recurse and nearly every branch dies within a word, so no table is needed. A generated text must have
//! exactly one derivation, else its probability would be the sum of several and the floor false.

use super::grammar::{Bindings, Grammar, Kind, MAX_CLASSES, Part, UNBOUND};

/// What is still to be matched: the parts of a production, then of the productions around it.
#[derive(Clone, Copy)]
struct Pending<'a> {
    parts: &'a [Part],
    outer: Option<&'a Self>,
}

/// One search through one text.
struct Search<'a> {
    grammar: &'a Grammar,
    /// A mention of an undrawn word may be any word (a sentence out of its story).
    any_word: bool,
    /// Stop when so many derivations are found.
    limit: usize,
    /// -ln p of each derivation found.
    found: Vec<f64>,
}

impl Search<'_> {
    fn walk(&mut self, pending: Pending<'_>, text: &str, bindings: &Bindings, nats: f64) {
        if self.found.len() == self.limit {
            return;
        }
        let Pending { parts, outer } = pending;
        let Some((part, parts)) = parts.split_first() else {
            match outer {
                Some(outer) => self.walk(*outer, text, bindings, nats),
                None if text.is_empty() => self.found.push(nats),
                None => {}
            }
            return;
        };
        let rest = Pending { parts, outer };
        match *part {
            Part::Literal(ref literal) => {
                if let Some(text) = text.strip_prefix(literal.as_str()) {
                    self.walk(rest, text, bindings, nats);
                }
            }
            Part::Expand(rule) => {
                for production in &self.grammar.rules[rule].productions {
                    let inner = Pending {
                        parts: &production.parts,
                        outer: Some(&rest),
                    };
                    self.walk(inner, text, bindings, nats + production.nats);
                }
            }
            Part::Mention { class, form } if bindings[class] != UNBOUND => {
                let word = &self.grammar.classes[class].words[usize::from(bindings[class])];
                if let Some(text) = text.strip_prefix(word.forms[form].as_str()) {
                    self.walk(rest, text, bindings, nats);
                }
            }
            Part::Mention { class, form } | Part::Draw { class, form } => {
                if matches!(part, Part::Mention { .. }) && !self.any_word {
                    return;
                }
                for (index, word) in self.grammar.classes[class].words.iter().enumerate() {
                    if let Some(text) = text.strip_prefix(word.forms[form].as_str()) {
                        let mut bindings = *bindings;
                        bindings[class] = index as u16;
                        self.walk(rest, text, &bindings, nats + word.nats);
                    }
                }
            }
        }
    }
}

impl Grammar {
    fn search(&self, rule: usize, text: &str, any_word: bool, limit: usize) -> Vec<f64> {
        let mut search = Search {
            grammar: self,
            any_word,
            limit,
            found: Vec::new(),
        };
        let start = Pending {
            parts: &[Part::Expand(rule)],
            outer: None,
        };
        search.walk(start, text, &[UNBOUND; MAX_CLASSES], 0.0);
        search.found
    }

    /// -ln p of every derivation of `text` as a whole story; empty if it is none.
    pub(super) fn derivations(&self, text: &str) -> Vec<f64> {
        self.search(self.root, text, false, usize::MAX)
    }

    /// Whether `text` is one sentence of the grammar, whatever the story around it may have drawn.
    pub(super) fn is_sentence(&self, text: &str) -> bool {
        (0..self.rules.len()).any(|rule| {
            self.rules[rule].kind == Kind::Sentence && !self.search(rule, text, true, 1).is_empty()
        })
    }

    /// Whether some sentence of the grammar begins with `first`.
    pub(super) fn begins_sentence(&self, first: char) -> bool {
        (0..self.rules.len())
            .any(|rule| self.rules[rule].kind == Kind::Sentence && self.rule_begins(rule, first))
    }

    fn rule_begins(&self, rule: usize, first: char) -> bool {
        let mut productions = self.rules[rule].productions.iter();
        productions.any(|production| match production.parts.first() {
            Some(Part::Literal(literal)) => literal.starts_with(first),
            Some(&Part::Expand(inner)) => self.rule_begins(inner, first),
            Some(&(Part::Draw { class, form } | Part::Mention { class, form })) => {
                let mut words = self.classes[class].words.iter();
                words.any(|word| word.forms[form].starts_with(first))
            }
            None => false,
        })
    }
}

/// The sentences of `text`: each ends behind its mark and the closing quotes that follow it. What follows the last mark
/// comes as a last piece without a mark.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_gap = |c: char| c.is_whitespace() || c.is_control();
        rest = rest.trim_start_matches(is_gap);
        let (at, mark) = rest
            .char_indices()
            .find(|&(_, c)| is_mark(c))
            .or_else(|| rest.char_indices().next_back())?;
        let mut end = at + mark.len_utf8();
        while let Some(quote) = rest[end..].chars().next().filter(|c| is_closing(*c)) {
            end += quote.len_utf8();
        }
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence)
    })
}

/// Whether `piece` of [`sentences`] has its closing mark.
pub(super) fn is_closed(piece: &str) -> bool {
    piece.trim_end_matches(is_closing).ends_with(is_mark)
}

fn is_mark(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '\u{3002}' | '\u{ff01}' | '\u{ff1f}')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\u{201d}')
}
