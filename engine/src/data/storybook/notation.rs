//! Reads a grammar from its notation (`english.txt` explains it) and refuses one whose floor could be false.
//!
//! Refused are: weights of zero, names that mean nothing, rules that recurse, rules and words that no text can reach, a
//! word mentioned before it is drawn or drawn twice, a draw in a form that two words of the class share, and sentences
//! inside sentences. That no text has two derivations is more than can be seen here: `ambiguity.rs` proves it.

use std::collections::HashSet;

use thiserror::Error;

use super::grammar::{Class, Grammar, Kind, MAX_CLASSES, Part, Production, Rule, Word};

/// Why a grammar was refused; lines count from 1.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("grammar, line {line}: {what}")]
pub(super) struct NotationError {
    line: usize,
    what: String,
}

/// A rule or class as it stands in the text, its lines not yet understood.
struct Block<'t> {
    line: usize,
    keyword: &'t str,
    name: &'t str,
    forms: Vec<String>,
    /// (line number, weight, text)
    rows: Vec<(usize, u32, &'t str)>,
}

fn refuse<T>(line: usize, what: impl Into<String>) -> Result<T, NotationError> {
    let what = what.into();
    Err(NotationError { line, what })
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, NotationError> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (index, row) in text.lines().enumerate() {
        let line = index + 1;
        if row.trim().is_empty() || row.starts_with('#') {
            continue;
        }
        let (head, rest) = row.split_once(' ').unwrap_or((row, ""));
        if head.starts_with(|c: char| c.is_ascii_digit()) {
            let Ok(weight @ 1..=1000) = head.parse::<u32>() else {
                return refuse(
                    line,
                    format!("the weight `{head}` is not between 1 and 1000"),
                );
            };
            let Some(block) = blocks.last_mut() else {
                return refuse(line, "a row before the first rule or class");
            };
            if rest.trim().is_empty() {
                return refuse(line, "a row without text");
            }
            block.rows.push((line, weight, rest.trim()));
            continue;
        }
        let (name, forms) = rest.split_once(':').unwrap_or((rest, ""));
        let forms = forms.split_whitespace().map(str::to_owned).collect();
        if blocks.iter().any(|block| block.name == name.trim()) {
            return refuse(line, format!("`{name}` is there already"));
        }
        blocks.push(Block {
            line,
            keyword: head,
            name: name.trim(),
            forms,
            rows: Vec::new(),
        });
    }
    match blocks.iter().find(|block| block.rows.is_empty()) {
        Some(empty) => refuse(empty.line, format!("`{}` has no rows", empty.name)),
        None => Ok(blocks),
    }
}

/// -ln(weight / total).
fn nats(weight: u32, total: u32) -> f64 {
    (f64::from(total) / f64::from(weight)).ln()
}

fn total(block: &Block<'_>) -> u32 {
    block.rows.iter().map(|row| row.1).sum()
}

fn class(block: &Block<'_>) -> Result<Class, NotationError> {
    let mut words = Vec::new();
    for &(line, weight, text) in &block.rows {
        let forms: Vec<String> = text.split('|').map(|f| f.trim().to_owned()).collect();
        if forms.len() != block.forms.len() || forms.iter().any(String::is_empty) {
            return refuse(line, format!("expected {} forms", block.forms.len()));
        }
        words.push(Word {
            weight,
            nats: nats(weight, total(block)),
            forms,
        });
    }
    Ok(Class {
        name: block.name.to_owned(),
        forms: block.forms.clone(),
        words,
    })
}

/// The parts of a production: literals between `{...}`.
fn parts(
    line: usize,
    text: &str,
    rules: &[&Block<'_>],
    classes: &[Class],
) -> Result<Vec<Part>, NotationError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        let Some((inside, after)) = after.split_once('}') else {
            return refuse(line, "a `{` without its `}`");
        };
        rest = after;
        if let Some(rule) = rules.iter().position(|rule| rule.name == inside) {
            parts.push(Part::Expand(rule));
            continue;
        }
        let (draws, word) = match inside.strip_prefix("new ") {
            Some(word) => (true, word),
            None => (false, inside),
        };
        let (name, form) = word.split_once('.').unwrap_or((word, ""));
        let Some(index) = classes.iter().position(|class| class.name == name) else {
            return refuse(line, format!("`{name}` is neither a rule nor a class"));
        };
        let class = &classes[index];
        let form = match class.forms.iter().position(|f| f == form) {
            Some(form) => form,
            None if form.is_empty() => 0,
            None => return refuse(line, format!("`{name}` has no form `{form}`")),
        };
        let mut seen = HashSet::new();
        if draws && !class.words.iter().all(|w| seen.insert(&w.forms[form])) {
            return refuse(line, format!("two words look alike in `{{{inside}}}`"));
        }
        let class = index;
        parts.push(if draws {
            Part::Draw { class, form }
        } else {
            Part::Mention { class, form }
        });
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}

impl Grammar {
    /// Reads and checks a grammar; its root is the rule `story`.
    pub(super) fn read(text: &str) -> Result<Self, NotationError> {
        let blocks = blocks(text)?;
        let (words, rules): (Vec<&Block<'_>>, Vec<&Block<'_>>) =
            blocks.iter().partition(|block| block.keyword == "words");
        let classes = words
            .iter()
            .map(|b| class(b))
            .collect::<Result<Vec<_>, _>>()?;
        if classes.len() > MAX_CLASSES {
            return refuse(
                words[MAX_CLASSES].line,
                format!("more than {MAX_CLASSES} classes"),
            );
        }
        let mut grammar = Self {
            rules: Vec::new(),
            classes,
            root: 0,
        };
        for block in &rules {
            let kind = match block.keyword {
                "plot" => Kind::Plot,
                "sentence" => Kind::Sentence,
                "phrase" => Kind::Phrase,
                other => return refuse(block.line, format!("`{other}` is no keyword")),
            };
            let mut productions = Vec::new();
            for &(line, weight, text) in &block.rows {
                productions.push(Production {
                    weight,
                    nats: nats(weight, total(block)),
                    parts: parts(line, text, &rules, &grammar.classes)?,
                });
            }
            grammar.rules.push(Rule {
                name: block.name.to_owned(),
                kind,
                productions,
            });
        }
        let Some(root) = grammar.rules.iter().position(|rule| rule.name == "story") else {
            return refuse(1, "there is no rule `story`");
        };
        grammar.root = root;
        let mut check = Check {
            grammar: &grammar,
            lines: rules.iter().map(|block| block.line).collect(),
            open: Vec::new(),
            reached: vec![false; rules.len()],
            drawn: vec![false; words.len()],
        };
        check.rule(root, Bound::default())?;
        if let Some(rule) = check.reached.iter().position(|reached| !reached) {
            return refuse(
                rules[rule].line,
                format!("no story reaches `{}`", rules[rule].name),
            );
        }
        if let Some(class) = check.drawn.iter().position(|drawn| !drawn) {
            return refuse(
                words[class].line,
                format!("no story draws a `{}`", words[class].name),
            );
        }
        Ok(grammar)
    }
}

/// Bit sets of classes: those bound on every way here, and those bound on some way.
#[derive(Debug, Clone, Copy, Default)]
struct Bound {
    surely: u32,
    perhaps: u32,
}

/// Walks the rules as a text would, every production from the same bindings.
struct Check<'g> {
    grammar: &'g Grammar,
    lines: Vec<usize>,
    open: Vec<usize>,
    reached: Vec<bool>,
    drawn: Vec<bool>,
}

impl Check<'_> {
    /// What is bound after `rule` if `before` was bound before it.
    fn rule(&mut self, rule: usize, before: Bound) -> Result<Bound, NotationError> {
        let this = &self.grammar.rules[rule];
        let line = self.lines[rule];
        if self.open.contains(&rule) {
            return refuse(line, format!("`{}` contains itself", this.name));
        }
        let outer = self
            .open
            .last()
            .map_or(Kind::Plot, |&r| self.grammar.rules[r].kind);
        if (outer == Kind::Plot) == (this.kind == Kind::Phrase) {
            return refuse(
                line,
                format!(
                    "`{}` stands in a {outer:?}: sentences stand in plots, phrases in sentences",
                    this.name
                ),
            );
        }
        self.open.push(rule);
        self.reached[rule] = true;
        let mut after = Bound {
            surely: u32::MAX,
            perhaps: 0,
        };
        for production in &this.productions {
            let mut bound = before;
            for part in &production.parts {
                match *part {
                    Part::Literal(_) => {}
                    Part::Expand(inner) => bound = self.rule(inner, bound)?,
                    Part::Draw { class, .. } => {
                        if bound.perhaps & 1 << class != 0 {
                            let name = &self.grammar.classes[class].name;
                            return refuse(line, format!("`{}` draws `{name}` again", this.name));
                        }
                        bound.surely |= 1 << class;
                        bound.perhaps |= 1 << class;
                        self.drawn[class] = true;
                    }
                    Part::Mention { class, .. } => {
                        if bound.surely & 1 << class == 0 {
                            let name = &self.grammar.classes[class].name;
                            return refuse(
                                line,
                                format!("`{}` mentions `{name}` undrawn", this.name),
                            );
                        }
                    }
                }
            }
            after.surely &= bound.surely;
            after.perhaps |= bound.perhaps;
        }
        self.open.pop();
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest grammar around one sentence's text.
    fn around(sentence: &str) -> String {
        format!("plot story\n1 {{S}}\nsentence S\n1 {sentence}")
    }

    #[test]
    fn faults_are_refused_with_their_line() {
        let words = "words w: a b\n1 x | p\n1 y | p\n";
        let cases = [
            (around("{nobody}"), 4, "neither a rule nor a class"),
            (around("{"), 4, "without its `}`"),
            (around("Yes.\n0 No."), 5, "not between 1 and 1000"),
            (around("Yes.\n1 "), 5, "without text"),
            (around("{p}\nphrase p\n1 {p}"), 5, "contains itself"),
            (around("Yes.\nphrase p\n1 x"), 5, "no story reaches"),
            (around("{T}\nsentence T\n1 No."), 5, "stands in a Sentence"),
            (around("Yes.\nsentence S\n1 No."), 5, "there already"),
            (around("Yes.\nverse v\n1 x"), 5, "no keyword"),
            (around("Yes.\nphrase p"), 5, "no rows"),
            ("1 x".to_owned(), 1, "before the first"),
            ("plot tale\n1 x".to_owned(), 1, "no rule `story`"),
            (
                words.replace(" | p", "") + &around("Yes."),
                2,
                "expected 2 forms",
            ),
            (words.to_owned() + &around("Yes."), 1, "no story draws"),
            (words.to_owned() + &around("{new w}{w.c}"), 7, "no form `c`"),
            (words.to_owned() + &around("{new w.b}"), 7, "look alike"),
            (words.to_owned() + &around("{w}{new w}"), 6, "undrawn"),
            (words.to_owned() + &around("{new w}{new w}"), 6, "again"),
            (
                words.to_owned() + &around("{p}{w}\nphrase p\n1 {new w}\n1 z"),
                6,
                "undrawn",
            ),
        ];
        for (text, line, what) in cases {
            let error = Grammar::read(&text).expect_err(&text);
            assert_eq!(error.line, line, "{error}: {text}");
            assert!(error.what.contains(what), "{error}: {text}");
        }
        assert!(Grammar::read(&(words.to_owned() + &around("{new w}{w.b}"))).is_ok());
    }
}
