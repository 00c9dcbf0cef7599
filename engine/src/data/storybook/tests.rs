//! The storybook's promises, over whole stories.

use std::collections::BTreeSet;

use super::grammar::{Kind, Part};
use super::*;

/// Every stretch of text that a grammar can write as one piece: literals and forms of words.
fn pieces(language: Language) -> impl Iterator<Item = &'static str> {
    let grammar = language.grammar();
    let productions = grammar.rules.iter().flat_map(|rule| &rule.productions);
    let literals = productions.flat_map(|production| &production.parts);
    let literals = literals.filter_map(|part| match part {
        Part::Literal(literal) => Some(literal.as_str()),
        _ => None,
    });
    let words = grammar.classes.iter().flat_map(|class| &class.words);
    literals.chain(words.flat_map(|word| word.forms.iter().map(String::as_str)))
}

fn stories(count: usize) -> Vec<Story> {
    Storybook::new(5).stories().take(count).collect()
}

#[test]
fn built_in_grammars_are_accepted() {
    for text in [include_str!("english.txt"), include_str!("chinese.txt")] {
        if let Err(error) = Grammar::read(text) {
            panic!("{error}");
        }
    }
}

#[test]
fn any_story_can_be_had_alone() {
    let book = Storybook::new(9);
    let in_order: Vec<Story> = book.stories().take(200).collect();
    for index in (0..200).rev() {
        assert_eq!(book.story(index as u64), in_order[index]);
    }
    assert_ne!(Storybook::new(10).story(3), in_order[3]);
}

#[test]
fn every_story_has_one_derivation_and_its_probability() {
    for story in stories(3000) {
        let found = Storybook::derivations(&story.text);
        assert_eq!(found.len(), 1, "{}", story.text);
        assert!((found[0] - story.nats).abs() < 1e-9, "{}", story.text);
        let mut cut = story.text;
        cut.pop();
        assert!(Storybook::derivations(&cut).is_empty(), "{cut}");
    }
}

/// The mean of `count` samples lies within three standard errors of `expected`.
fn assert_mean(what: &str, samples: &[f64], expected: f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    assert!(
        (mean - expected).abs() < 3.0 * error,
        "{what}: mean {mean}, expected {expected}, standard error {error}"
    );
}

#[test]
fn expectations_are_those_of_the_stories() {
    let told = stories(20_000);
    let expected = Storybook::expected();
    let of = |value: &dyn Fn(&Story) -> f64| told.iter().map(value).collect::<Vec<f64>>();
    assert_mean("nats", &of(&|s| s.nats), expected.nats);
    assert_mean("bytes", &of(&|s| s.text.len() as f64), expected.bytes);
    assert_mean(
        "sentences",
        &of(&|s| readable(&s.text).sentences as f64),
        expected.sentences,
    );
    // The ratio itself: nats - rate * bytes has mean zero exactly at the floor.
    let rate = expected.bits_per_byte() * LN_2;
    assert_mean("floor", &of(&|s| s.nats - rate * s.text.len() as f64), 0.0);
    for language in Language::ALL {
        let own = told.iter().filter(|s| s.language == language);
        let nats: Vec<f64> = own.map(|s| s.nats - language.nats()).collect();
        assert_mean("one language", &nats, language.expected().nats);
    }
}

#[test]
fn every_sentence_of_a_story_is_readable() {
    let all: Vec<String> = stories(500).into_iter().map(|s| s.text).collect();
    for text in &all {
        let found = readable(text);
        assert!(found.sentences >= 4, "{text}");
        assert_eq!(found.parsed, found.sentences, "{text}");
    }
    let found = readable(all.join("\n"));
    assert_eq!(found.parsed, found.sentences);
}

#[test]
fn shuffled_words_are_not_readable() {
    let mut random = Random::new(1, 1);
    let mut text = String::new();
    for story in stories(300) {
        let mut words: Vec<&str> = match story.language {
            Language::English => story.text.split(' ').collect(),
            Language::Chinese => story.text.split_inclusive(|_| true).collect(),
        };
        for i in (1..words.len()).rev() {
            words.swap(i, random.below(i as u32 + 1) as usize);
        }
        text += &words.join(if story.language == Language::English {
            " "
        } else {
            ""
        });
        text.push('\n');
    }
    let found = readable(&text);
    assert!(found.sentences > 1000);
    assert!(found.share() < 0.03, "{found:?}");
}

#[test]
fn readable_takes_anything() {
    let count = |text: &str| {
        let found = readable(text);
        (found.sentences, found.parsed)
    };
    assert_eq!(count(""), (0, 0));
    assert_eq!(count("Lily was very hap"), (0, 0));
    assert_eq!(count("ry happy. Lily was very happy. Lily was ve"), (1, 1));
    assert_eq!(count("Lily was very happy. ry happy."), (2, 1));
    assert_eq!(count("Lily was very happy.Tom was very happy."), (2, 2));
    assert_eq!(count("Lily lost his way."), (1, 0));
    assert_eq!(count("There once was an honest child named Tom."), (1, 1));
    assert_eq!(count("There once was a honest child named Tom."), (1, 0));
    assert_eq!(count("她有一只风筝。"), (1, 1));
    assert_eq!(count("她有一个风筝。"), (1, 0));
    assert_eq!(count("Lily was very happy. ... The end."), (5, 2));
    let mut random = Random::new(2, 2);
    let noise: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
    assert_eq!(readable(&noise).parsed, 0);
    assert_eq!(readable([0xff, b'.', 0x00, 0xe4, 0xb8]).parsed, 0);
}

#[test]
fn no_choice_has_probability_zero_and_every_one_is_met() {
    for language in Language::ALL {
        let grammar = language.grammar();
        let told = stories(20_000)
            .into_iter()
            .filter(|s| s.language == language);
        let text: String = told.map(|s| s.text + "\n").collect();
        for rule in &grammar.rules {
            assert!(rule.productions.iter().all(|p| p.nats.is_finite()));
        }
        for class in &grammar.classes {
            assert!(class.words.iter().all(|w| w.nats.is_finite()));
        }
        for piece in pieces(language) {
            assert!(text.contains(piece), "no story has `{piece}`");
        }
    }
}

/// What the manual says of the storybook's size.
#[test]
fn size_of_the_language() {
    let templates = |language: Language| -> usize {
        let rules = language.grammar().rules.iter();
        rules
            .filter(|rule| rule.kind == Kind::Sentence)
            .map(|rule| rule.productions.len())
            .sum()
    };
    let english: BTreeSet<String> = pieces(Language::English)
        .flat_map(|piece| piece.split(|c: char| !c.is_alphabetic()))
        .map(str::to_lowercase)
        .collect();
    let chinese: BTreeSet<char> = pieces(Language::Chinese).flat_map(str::chars).collect();
    let expected = Storybook::expected();
    println!(
        "{} words, {} characters, {} and {} sentence templates, {expected:?}, {} {}",
        english.len(),
        chinese.len(),
        templates(Language::English),
        templates(Language::Chinese),
        expected.bits_per_byte(),
        expected.bits_per_symbol(),
    );
    assert!((250..400).contains(&english.len()));
    assert!((150..300).contains(&chinese.len()));
    assert!((4.0..8.0).contains(&expected.sentences));
}
