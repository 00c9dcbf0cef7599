//! Which runs: expressions such as `optimizer.lr>=1e-3 and val_loss<2 or tag=="good"`.
//!
//! ```text
//! any     = all { "or" all }            also ||
//! all     = one { "and" one }           also &&
//! one     = "not" one | "(" any ")" | test      also !
//! test    = KEY OP VALUE
//! OP      = "==" "=" "!=" "<" "<=" ">" ">=" "~" "!~"
//! VALUE   = number | "text" | 'text' | word
//! ```
//!
//! KEY is one of [`FIGURES`] or a configuration key. `~` holds where the text contains VALUE, whatever its case, or
//! matches it if that has `*` or `?`. A key that holds numbers ([`holds_numbers`]) is compared with nothing else: `step<9k`
//! is refused, since as texts `100000` comes before `9k`. Elsewhere both sides are numbers, or else both are texts. `tag`
//! stands for every tag of the run: one that fits is enough. A test of something that the run does not have is false,
//! whatever the operator.

use super::Entry;

mod parse;
#[cfg(test)]
mod tests;

pub use parse::{known, parse};

/// Keys besides those of the configuration.
pub const FIGURES: [&str; 13] = [
    "name",
    "status",
    "step",
    "loss",
    "val_loss",
    "bits_per_byte",
    "tokens",
    "seconds",
    "tag",
    "note",
    "parent",
    "created",
    "attempt",
];

/// Those of [`FIGURES`] that are numbers.
const NUMBERS: [&str; 7] = [
    "step",
    "loss",
    "val_loss",
    "bits_per_byte",
    "tokens",
    "seconds",
    "attempt",
];

/// Whether every run that has this key, one of [`FIGURES`] or of the configuration, has a number there.
pub fn holds_numbers(key: &str) -> bool {
    NUMBERS.contains(&key) || engine::config::is_number(key)
}

/// A number as it is written in an expression: as in the configuration, where `_` may part digits.
fn number(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.parse().ok();
    }
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut parts = text.split('_').peekable();
    while let Some(part) = parts.next() {
        let parted = parts
            .peek()
            .is_none_or(|next| digit(part.chars().next_back()) && digit(next.chars().next()));
        if !parted {
            return None;
        }
    }
    text.replace('_', "").parse().ok()
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Different,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `~`
    Like,
    /// `!~`
    Unlike,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Holds for every run.
    Every,
    /// Both hold.
    And(Box<Self>, Box<Self>),
    /// One of them holds.
    Or(Box<Self>, Box<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A key compared with a value.
    Test {
        /// One of [`FIGURES`] or a configuration key.
        key: String,
        /// How.
        operator: Operator,
        /// With what, as it was written.
        value: String,
    },
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {at} of {text:?})")]
pub struct QueryError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// Where, counted in characters from 1.
    pub at: usize,
    /// The whole text.
    pub text: String,
}

impl Query {
    /// Whether it holds for a run.
    pub fn holds(&self, run: &Entry) -> bool {
        match self {
            Self::Every => true,
            Self::And(a, b) => a.holds(run) && b.holds(run),
            Self::Or(a, b) => a.holds(run) || b.holds(run),
            Self::Not(a) => !a.holds(run),
            Self::Test {
                key,
                operator,
                value,
            } => run
                .values(key)
                .iter()
                .any(|have| compare(have, *operator, value)),
        }
    }
}

/// Whether `have` stands to `want` as the operator says.
pub fn compare(have: &str, operator: Operator, want: &str) -> bool {
    use std::cmp::Ordering;
    let order = match (have.parse::<f64>(), number(want)) {
        // Nothing is less than, equal to, or greater than what is no number; it is different from all.
        (Ok(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(have.cmp(want)),
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::Different => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Operator::Like => like(have, want),
        Operator::Unlike => !like(have, want),
    }
}

/// Whether a text contains `pattern`, or matches it as a whole if it has `*` (any text) or `?` (any character).
fn like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let mut pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    if !pattern.contains(&'*') && !pattern.contains(&'?') {
        pattern.insert(0, '*');
        pattern.push('*');
    }
    // Where the last star stood, and how much of the text it has taken so far.
    let (mut t, mut p, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                t += 1;
                p += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}
