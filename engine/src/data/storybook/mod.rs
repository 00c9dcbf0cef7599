//! The storybook: an endless corpus of children's stories, in English and Chinese, whose entropy is known exactly.
//!
//! It is what the demo trains on. A grammar of our own (`english.txt`, `chinese.txt`) writes stories of a few short
//! sentences in which somebody wants, loses, finds, shares, fears or learns something; since the program knows the
//! probability of every choice that it made, it knows -ln p of each story, and the least loss that any model of these
//! stories can reach. The screen shows that floor beside the loss.
//!
//! # What the floor is per
//!
//! A story has exactly one derivation, so -ln p(story) is the sum over its choices; where it ends is among them, so that
//! a model pays the same nats over the story's bytes *and one end-of-text symbol after them*, each given the bytes
//! before. [`Expected`] gives the mean story's nats, bytes and symbols (bytes + 1). The program's `bits_per_byte` divides
//! the nats of everything predicted by the bytes of text alone, and its floor is [`Expected::bits_per_byte`]. The floor
//! holds for a model that sees a story from its beginning; one whose context starts amid a story stays a little above.
//!
//! ```
//! use engine::data::storybook::{Storybook, readable};
//!
//! let story = Storybook::new(1).story(2);
//! assert_eq!(Storybook::derivations(&story.text).len(), 1);
//! assert_eq!(readable(&story.text).share(), 1.0);
//! assert!(Storybook::expected().bits_per_byte() < 0.2);
//! ```
//!
//! # Where to go next
//!
//! `english.txt` to read the stories' grammar and its notation; `grammar.rs` for drawing and expectations; `notation.rs`
//! for
//! what a grammar must fulfil; `ambiguity.rs` for the proof that no story has two derivations; `parser.rs` for [`readable`]; `philox.rs` for the random numbers. Nothing here
//! touches files or other parts of the engine.

mod grammar;
mod notation;
mod parser;
mod philox;

#[cfg(test)]
mod ambiguity;
#[cfg(test)]
mod tests;

use std::f64::consts::LN_2;
use std::ops::{AddAssign, Mul};
use std::sync::LazyLock;

use grammar::Grammar;
use philox::Random;

/// The languages that stories are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Three stories of four.
    English,
    /// One story of four.
    Chinese,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The language's share of the stories, in quarters.
    const fn quarters(self) -> u32 {
        match self {
            Self::English => 3,
            Self::Chinese => 1,
        }
    }

    /// -ln of the probability that a story is told in this language.
    fn nats(self) -> f64 {
        (4.0 / f64::from(self.quarters())).ln()
    }

    fn grammar(self) -> &'static Grammar {
        static ENGLISH: LazyLock<Grammar> = LazyLock::new(|| {
            Grammar::read(include_str!("english.txt")).expect("the tests read this grammar")
        });
        static CHINESE: LazyLock<Grammar> = LazyLock::new(|| {
            Grammar::read(include_str!("chinese.txt")).expect("the tests read this grammar")
        });
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }

    /// The expectations of a story told in this language; choosing the language costs nothing here.
    pub fn expected(self) -> Expected {
        self.grammar().expected()
    }
}

/// One story.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The text, one line without a line break at its end.
    pub text: String,
    /// -ln of the story's probability, its language and its end included.
    pub nats: f64,
    /// The language that it is told in.
    pub language: Language,
}

/// Exact expectations of one story.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Expected {
    /// -ln p of the story, over its bytes and its end mark.
    pub nats: f64,
    /// Bytes of UTF-8 text, without the end mark.
    pub bytes: f64,
    /// Sentences.
    pub sentences: f64,
}

impl Expected {
    /// What a byte-level model predicts: the bytes, and one end-of-text symbol.
    pub fn symbols(self) -> f64 {
        self.bytes + 1.0
    }

    /// The floor in bits per byte of text, the end mark's bits counted in and its symbol not: what the program's
    /// `bits_per_byte` cannot fall below.
    pub fn bits_per_byte(self) -> f64 {
        self.nats / LN_2 / self.bytes
    }

    /// The entropy rate in bits per symbol, end marks being symbols: E[-log2 p(story)] / E[bytes + 1].
    pub fn bits_per_symbol(self) -> f64 {
        self.nats / LN_2 / self.symbols()
    }
}

impl AddAssign for Expected {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.bytes += other.bytes;
        self.sentences += other.sentences;
    }
}

impl Mul<f64> for Expected {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            nats: self.nats * factor,
            bytes: self.bytes * factor,
            sentences: self.sentences * factor,
        }
    }
}

/// An endless row of stories: story `i` is a function of the seed and `i` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storybook {
    seed: u64,
}

impl Storybook {
    /// The stories of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Story `index`, in time independent of `index`.
    pub fn story(&self, index: u64) -> Story {
        let mut text = String::with_capacity(512);
        let (language, nats) = self.write(index, &mut text);
        Story {
            text,
            nats,
            language,
        }
    }

    /// Appends story `index` to `text`, as [`Self::story`] gives it; returns its language and nats.
    pub fn write(&self, index: u64, text: &mut String) -> (Language, f64) {
        let mut random = Random::new(self.seed, index);
        let language = if random.below(4) < Language::English.quarters() {
            Language::English
        } else {
            Language::Chinese
        };
        let nats = language.nats() + language.grammar().write(&mut random, text);
        (language, nats)
    }

    /// All stories from the first on; the iterator ends only with the indices.
    pub fn stories(self) -> impl Iterator<Item = Story> {
        (0..u64::MAX).map(move |index| self.story(index))
    }

    /// The exact expectations of a story, whatever the seed.
    pub fn expected() -> Expected {
        let mut sum = Expected::default();
        for language in Language::ALL {
            let mut one = language.expected();
            one.nats += language.nats();
            sum += one * (f64::from(language.quarters()) / 4.0);
        }
        sum
    }

    /// -ln p of each derivation of `text` as a whole story. A text of the storybook has exactly one; others have none.
    pub fn derivations(text: &str) -> Vec<f64> {
        let mut found = Vec::new();
        for language in Language::ALL {
            let nats = language.grammar().derivations(text);
            found.extend(nats.iter().map(|nats| nats + language.nats()));
        }
        found
    }
}

/// How much of a text reads as sentences of the storybook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readable {
    /// Sentences judged.
    pub sentences: usize,
    /// Those that the grammar can write.
    pub parsed: usize,
}

impl Readable {
    /// The share of sentences that parse, from 0 to 1; 0 where there is no sentence.
    pub fn share(self) -> f64 {
        self.parsed as f64 / self.sentences.max(1) as f64
    }
}

/// Counts the sentences of a model's sample, and those that are sentences of either grammar.
///
/// Any bytes will do. A sentence ends at `.`, `!`, `?` or their Chinese kin, with the closing quotes behind it; white
/// space and control characters between sentences do not count. What follows the last mark is taken for cut off and
/// ignored, and so is the first sentence if no sentence begins with its first character. A sentence parses if it is the
/// whole of a sentence that some story could contain; who and what its pronouns stand for is free.
pub fn readable(text: impl AsRef<[u8]>) -> Readable {
    let text = String::from_utf8_lossy(text.as_ref());
    let grammars = Language::ALL.map(Language::grammar);
    let mut readable = Readable::default();
    for (index, piece) in parser::sentences(&text).enumerate() {
        let first = piece.chars().next();
        let begins = |g: &Grammar| first.is_some_and(|c| g.begins_sentence(c));
        if !parser::is_closed(piece) || (index == 0 && !grammars.iter().any(|g| begins(g))) {
            continue;
        }
        readable.sentences += 1;
        readable.parsed += usize::from(grammars.iter().any(|g| g.is_sentence(piece)));
    }
    readable
}
