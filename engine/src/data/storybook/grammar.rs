//! The weighted grammar: what it is made of, how a text is drawn from it, and what it costs to know which.
//!
//! A grammar has *rules* (weighted productions, no recursion) and *classes* of words (weighted too). A production is a
//! row of [`Part`]s. [`Part::Draw`] draws a word of a class and binds the class to it for the rest of the text;
//! [`Part::Mention`] writes another form of that word, which is no choice and has probability 1. So names, pronouns,
//! articles and measure words agree by construction, and
//!
//! p(text) = product of (weight / total weight) over the productions and the words drawn.
//!
//! Next: `notation.rs` reads a grammar from text and checks it, `parser.rs` finds the choices again in a finished text.

use super::Expected;
use super::philox::Random;

/// What is bound to each class: the word's index, or [`UNBOUND`]. One slot a class.
pub(super) type Bindings = [u16; MAX_CLASSES];
/// The most classes that a grammar may have.
pub(super) const MAX_CLASSES: usize = 16;
/// The mark of a class of which no word is drawn yet.
pub(super) const UNBOUND: u16 = u16::MAX;

/// One piece of a production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands as it is.
    Literal(String),
    /// A rule to be expanded.
    Expand(usize),
    /// A word of the class is drawn, bound, and written in the form.
    Draw { class: usize, form: usize },
    /// The word bound to the class, in the form.
    Mention { class: usize, form: usize },
}

/// What a rule's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole sentences, parted by the language's separator.
    Plot,
    /// One sentence, from its first letter to its last mark.
    Sentence,
    /// A piece of a sentence.
    Phrase,
}

/// One way to expand a rule.
#[derive(Debug)]
pub(super) struct Production {
    pub(super) weight: u32,
    /// -ln(weight / the rule's total weight).
    pub(super) nats: f64,
    pub(super) parts: Vec<Part>,
}

/// A nonterminal.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) productions: Vec<Production>,
}

/// A word and how it is written.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) weight: u32,
    /// -ln(weight / the class's total weight).
    pub(super) nats: f64,
    pub(super) forms: Vec<String>,
}

/// A class of words, all with the same forms.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) forms: Vec<String>,
    pub(super) words: Vec<Word>,
}

/// A checked grammar; [`Grammar::read`] makes one.
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) rules: Vec<Rule>,
    pub(super) classes: Vec<Class>,
    /// The rule that a text starts from.
    pub(super) root: usize,
}

/// What has a weight: what [`choose`] chooses among.
trait Weighted {
    fn weight(&self) -> u32;
}

impl Weighted for Production {
    fn weight(&self) -> u32 {
        self.weight
    }
}

impl Weighted for Word {
    fn weight(&self) -> u32 {
        self.weight
    }
}

/// An index into `choices`, each with its weight's share of the probability.
fn choose<W: Weighted>(choices: &[W], random: &mut Random) -> usize {
    let mut rest = random.below(choices.iter().map(W::weight).sum());
    for (index, choice) in choices.iter().enumerate() {
        match rest.checked_sub(choice.weight()) {
            Some(less) => rest = less,
            None => return index,
        }
    }
    unreachable!("the number drawn lies below the sum of the weights")
}

impl Grammar {
    /// Appends a text drawn from the grammar to `text`; returns -ln of its probability.
    pub(super) fn write(&self, random: &mut Random, text: &mut String) -> f64 {
        self.write_rule(self.root, random, &mut [UNBOUND; MAX_CLASSES], text)
    }

    fn write_rule(
        &self,
        rule: usize,
        random: &mut Random,
        bindings: &mut Bindings,
        text: &mut String,
    ) -> f64 {
        let productions = &self.rules[rule].productions;
        let production = &productions[choose(productions, random)];
        let mut nats = production.nats;
        for part in &production.parts {
            match *part {
                Part::Literal(ref literal) => text.push_str(literal),
                Part::Expand(rule) => nats += self.write_rule(rule, random, bindings, text),
                Part::Draw { class, form } => {
                    let words = &self.classes[class].words;
                    let index = choose(words, random);
                    bindings[class] = index as u16;
                    nats += words[index].nats;
                    text.push_str(&words[index].forms[form]);
                }
                Part::Mention { class, form } => {
                    let word = &self.classes[class].words[usize::from(bindings[class])];
                    text.push_str(&word.forms[form]);
                }
            }
        }
        nats
    }

    /// The exact expectations of a text of this grammar, its end mark not yet counted in.
    ///
    /// Every choice is made with the same weights whatever was drawn before, so expectations add up: a rule expects
    /// sum of p (-ln p + what its parts expect) over its productions; a draw expects its class's entropy; and a
    /// mention expects 0 nats and its form's mean length over the class, since the word bound was drawn once (the
    /// notation's checks see to that) and from the class's own weights.
    pub(super) fn expected(&self) -> Expected {
        let mut memo = vec![None; self.rules.len()];
        self.expected_rule(self.root, &mut memo)
    }

    fn expected_rule(&self, rule: usize, memo: &mut [Option<Expected>]) -> Expected {
        if let Some(known) = memo[rule] {
            return known;
        }
        let mut sum = Expected::default();
        for production in &self.rules[rule].productions {
            let mut one = Expected {
                nats: production.nats,
                ..Expected::default()
            };
            for part in &production.parts {
                one += match *part {
                    Part::Literal(ref literal) => Expected {
                        bytes: literal.len() as f64,
                        ..Expected::default()
                    },
                    Part::Expand(rule) => self.expected_rule(rule, memo),
                    Part::Draw { class, form } => self.expected_word(class, form),
                    Part::Mention { class, form } => Expected {
                        nats: 0.0,
                        ..self.expected_word(class, form)
                    },
                };
            }
            sum += one * (-production.nats).exp();
        }
        if self.rules[rule].kind == Kind::Sentence {
            sum.sentences = 1.0;
        }
        memo[rule] = Some(sum);
        sum
    }

    fn expected_word(&self, class: usize, form: usize) -> Expected {
        let mut sum = Expected::default();
        for word in &self.classes[class].words {
            let one = Expected {
                nats: word.nats,
                bytes: word.forms[form].len() as f64,
                sentences: 0.0,
            };
            sum += one * (-word.nats).exp();
        }
        sum
    }
}
