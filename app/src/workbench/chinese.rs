//! In Chinese no English is left: every screen, bar, dialog, palette line, help line, hint and refusal is drawn and read.
//!
//! What may stand in Latin letters is listed here: the field's terms, what a person types (commands, keys, values), and
//! what came from a person or a model.

use std::collections::BTreeSet;

use engine::config;
use engine::watch::RULES;

use super::Workbench;
use super::fixture::{normal, states, text};
use crate::actions::ALL;
use crate::lang::Lang;
use crate::panels;

/// Terms that Chinese practitioners write in Latin letters, units, keys of the keyboard, names.
const TERMS: &str = "loss lr token tok bits/byte nat perplexity rms grad ctx bf cpu gpu json csv toml http tensorboard \
    prometheus stdin utf ascii id ids dropout logits gib mib kib gflop gflops gb ms us utc eta zerollm enter esc tab space \
    ctrl pgdn pgup home end up down left right demo embed head norm linear attention classifier nvidia cos sqrt pi hugging \
    face gelu relu silu rmsnorm jsonl markdown params top-k top-p max-tokens temperature weights newest now chatml and or \
    osc tokens sh fg xterm";

/// Texts of the made-up runs that nobody translates: what a model wrote, what a system said, what a person noted.
pub const FREE: &str = "The small fox sees a red house near the river. She asks the old farmer for bread, and gives her a \
    warm apple. child runs home before rain begins. is its median own words";

/// Every word that may stand in Latin letters.
fn allowed() -> BTreeSet<String> {
    let mut words: BTreeSet<String> = BTreeSet::new();
    let mut add = |text: &str| {
        let parts = text.split(|c: char| c.is_whitespace() || "|[].,".contains(c));
        words.extend(parts.map(str::to_lowercase));
    };
    add(TERMS);
    add(FREE);
    // What is typed: the names of actions and what each takes, the screens' names, the words of the keys.
    for action in ALL {
        add(action.name);
        add(action.takes);
    }
    for panel in panels::all() {
        add(&panels::name(&*panel));
    }
    for key in config::keys() {
        let form = config::form(&key).expect("a key");
        add(form.class.word());
        form.choices.iter().for_each(|choice| add(choice));
    }
    for rule in RULES {
        add(rule.name());
    }
    add("default file flag edit checkpoint preset true false");
    words
}

/// The words of a line that are not in it: whole ones, as the edges cut the first and the last.
fn unknown<'a>(line: &'a str, allowed: &BTreeSet<String>) -> Vec<&'a str> {
    let apart = |c: char| !c.is_ascii() || c.is_whitespace() || "()[]{}<>,;:\"`?!|+*^~%#$&\\@".contains(c);
    let tokens: Vec<&str> = line.split(apart).filter(|token| !token.is_empty()).collect();
    let last = tokens.len().saturating_sub(1);
    let known = |at: usize, word: &str| {
        let word = word.to_lowercase();
        let mut cut = allowed.iter();
        // A letter alone is a key, a mark or a unit.
        word.len() < 2
            || allowed.contains(&word)
            || (at == last && cut.any(|whole| whole.starts_with(&word)))
            || (at == 0 && cut.any(|whole| whole.ends_with(&word)))
    };
    let fits = |at: usize, token: &str| {
        // A key of the configuration, a path, a figure with its unit, an operation.
        let is_name = token.contains(|c: char| c.is_ascii_digit() || c == '_')
            || token.trim_matches('.').contains('.');
        let mut parts = token.split(['/', '-', '=', '\'', '.']);
        is_name || known(at, token) || parts.all(|part| known(at, part))
    };
    let tokens = tokens.into_iter().enumerate();
    tokens.filter(|(at, token)| !fits(*at, token)).map(|(_, token)| token).collect()
}

/// The lines of a drawn screen that hold English, each behind the words.
pub fn english(shown: &str) -> Vec<String> {
    let allowed = allowed();
    let lines = shown.lines();
    let found = lines.map(|line| (unknown(line, &allowed), line));
    found
        .filter(|(words, _)| !words.is_empty())
        .map(|(words, line)| format!("{words:?} in {line}"))
        .collect()
}

/// Draws it in Chinese at several sizes and fails on English.
fn check(name: &str, bench: &mut Workbench) {
    bench.view.lang = Lang::Zh;
    for (width, height) in [(40, 10), (80, 24), (160, 50)] {
        let shown = text(bench, width, height);
        let left = english(&shown);
        if std::env::var_os("ALL").is_some() { for l in &left { eprintln!("LEFT {name} {width}: {l}"); } continue; }
        assert!(left.is_empty(), "{name} {width}x{height}: {left:#?}");
    }
}

#[test]
fn the_list_of_terms_lets_no_english_through() {
    for line in [
        "the run is over",
        "nothing has happened yet",
        "steps between lines of plain output",
        "step size time why path",
    ] {
        assert!(!english(line).is_empty(), "{line}");
    }
    assert!(english("loss 3.21 lr 1e-3 checkpoints/step_00000500 optimizer.lr").is_empty());
}

#[test]
fn every_screen_of_every_state() {
    for (name, mut bench) in states() {
        for panel in 0..bench.panels.len() {
            bench.show(panel);
            check(&format!("{name}, screen {panel}"), &mut bench);
        }
    }
    let mut bench = normal();
    bench.view.lang = Lang::Zh;
    for panel in 0..bench.panels.len() {
        bench.show(panel);
        // In the past, filtered, with the second page of those that have one.
        for key in ["h", "v", "V", "o", "d", "/", "q", "esc", "x", "enter", "esc"] {
            bench.offer(key);
            check(&format!("screen {panel}, {key}"), &mut bench);
        }
        bench.press("esc");
    }
}
