//! Proves that no text has two derivations, for all texts of a grammar at once.
//!
//! A *point* of the grammar is what is still to be written: a stack of half-written productions. From each point the
//! next pieces of text are listed, one for each row of choices that leads to it. Where two of them agree as far as the
//! shorter goes, the two derivations are followed side by side, the one in the lead by some text. The grammar is
//! ambiguous only if two such derivations come to one point with no text between them. A mention is taken to be any form
//! of its class, so more texts are looked at than the grammar writes: what is proved for those holds for its own.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::grammar::{Grammar, Part};

/// A point: an index into [`Points::stacks`].
type Point = usize;

/// The production at the top of a stack (rule, production, next part) and the point below it.
type Frame = (usize, usize, usize, Point);

/// Two derivations with the same text so far, but for what the first has written more.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair<'g> {
    ahead: Point,
    lead: &'g str,
    behind: Point,
}

struct Points<'g> {
    grammar: &'g Grammar,
    stacks: Vec<Option<Frame>>,
    known: HashMap<Frame, Point>,
}

const END: Point = 0;

impl<'g> Points<'g> {
    /// The point with this frame on its top; finished productions are left out.
    fn point(&mut self, frame: Frame) -> Point {
        let (rule, production, next, below) = frame;
        if next == self.grammar.rules[rule].productions[production].parts.len() {
            return below;
        }
        let stacks = &mut self.stacks;
        *self.known.entry(frame).or_insert_with(|| {
            stacks.push(Some(frame));
            stacks.len() - 1
        })
    }

    /// The next pieces of text from `point`, each with the point behind it.
    fn next(&mut self, point: Point) -> Vec<(&'g str, Point)> {
        let Some((rule, production, next, below)) = self.stacks[point] else {
            return Vec::new();
        };
        let grammar = self.grammar;
        let after = self.point((rule, production, next + 1, below));
        match &grammar.rules[rule].productions[production].parts[next] {
            Part::Literal(literal) => vec![(literal, after)],
            &Part::Expand(inner) => {
                let count = grammar.rules[inner].productions.len();
                let starts: Vec<Point> = (0..count)
                    .map(|p| self.point((inner, p, 0, after)))
                    .collect();
                starts.into_iter().flat_map(|p| self.next(p)).collect()
            }
            &Part::Draw { class, form } => {
                let words = grammar.classes[class].words.iter();
                words.map(|w| (w.forms[form].as_str(), after)).collect()
            }
            &Part::Mention { class, form } => {
                let words = grammar.classes[class].words.iter();
                let forms: BTreeSet<&str> = words.map(|w| w.forms[form].as_str()).collect();
                forms.into_iter().map(|f| (f, after)).collect()
            }
        }
    }
}

/// The pair of two derivations that write `a` and `b` next, if their texts agree.
fn pair<'g>(a: (&'g str, Point), b: (&'g str, Point)) -> Option<Pair<'g>> {
    let (long, short) = if a.0.len() < b.0.len() {
        (b, a)
    } else {
        (a, b)
    };
    long.0.strip_prefix(short.0).map(|lead| Pair {
        ahead: long.1,
        lead,
        behind: short.1,
    })
}

/// The first text found behind which two derivations of `grammar` meet again, or `None`: every text has at most one.
pub(super) fn ambiguity(grammar: &Grammar) -> Option<String> {
    let mut points = Points {
        grammar,
        stacks: vec![None],
        known: HashMap::new(),
    };
    let starts: Vec<Point> = (0..grammar.rules[grammar.root].productions.len())
        .map(|p| points.point((grammar.root, p, 0, END)))
        .collect();
    let mut choices: Vec<(&str, Point)> = starts.iter().flat_map(|&p| points.next(p)).collect();
    // Every point is visited, and every pair of different choices made at one is noted.
    let mut pairs: Vec<(Pair<'_>, String)> = Vec::new();
    let mut open: Vec<Point> = Vec::new();
    let mut seen: HashSet<Point> = HashSet::new();
    loop {
        for (index, &a) in choices.iter().enumerate() {
            for &b in &choices[index + 1..] {
                // One text begins the other, so the greater is the longer.
                pairs.extend(pair(a, b).map(|pair| (pair, a.0.max(b.0).to_owned())));
            }
            if seen.insert(a.1) {
                open.push(a.1);
            }
        }
        let Some(point) = open.pop() else { break };
        choices = points.next(point);
    }
    let mut seen: HashSet<Pair<'_>> = HashSet::new();
    while let Some((both, text)) = pairs.pop() {
        if both.ahead == both.behind && both.lead.is_empty() {
            return Some(text);
        }
        for (piece, point) in points.next(both.behind) {
            if let Some(next) = pair((both.lead, both.ahead), (piece, point))
                && seen.insert(next.clone())
            {
                let longer = piece.strip_prefix(both.lead).unwrap_or_default();
                pairs.push((next, text.clone() + longer));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::storybook::Language;

    #[test]
    fn no_story_has_two_derivations() {
        for language in Language::ALL {
            assert_eq!(ambiguity(language.grammar()), None);
        }
    }

    #[test]
    fn no_story_belongs_to_two_languages() {
        assert!(include_str!("english.txt").is_ascii());
        let chinese = Language::Chinese.grammar();
        assert!(!(0..128_u8).any(|first| chinese.begins_sentence(char::from(first))));
    }

    #[test]
    fn ambiguity_is_found() {
        let found = |text: &str| ambiguity(&Grammar::read(text).unwrap());
        let same = "plot story\n1 {S}\nsentence S\n1 Yes.\n1 Yes.";
        assert_eq!(found(same), Some("Yes.".to_owned()));
        let split =
            "plot story\n1 {S}\nsentence S\n1 {a}{b}.\nphrase a\n1 x\n1 xy\nphrase b\n1 yz\n1 z";
        assert_eq!(found(split), Some("xyz".to_owned()));
        let plots = "plot story\n1 {S}{S}\n1 {S}{S}{S}\nsentence S\n1 a.\n1 a.a.";
        assert!(found(plots).is_some());
        let word =
            "words w: a b\n1 x | c\n1 y | d\nplot story\n1 {S}\nsentence S\n1 {new w}{w.b}\n1 xc";
        assert_eq!(found(word), Some("xc".to_owned()));
        let fine =
            "plot story\n1 {S}\nsentence S\n1 {a}{b}.\nphrase a\n1 x\n1 xy\nphrase b\n1 w\n1 z";
        assert_eq!(found(fine), None);
    }
}
