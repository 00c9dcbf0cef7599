//! In Chinese no English is left: every screen, bar, dialog, palette line, help line, hint and refusal is drawn and read.
//!
//! What may stand in Latin letters is listed here: the field's terms, what a person types (commands, keys, values), and
//! what came from a person or a model.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use engine::config;
use engine::link::{Alert, Body};
use engine::watch::RULES;

use super::Workbench;
use super::fixture::{event, hear_all, line, normal, states, text, type_text};
use crate::actions::{ALL, Refused};
use crate::book::query::FIGURES;
use crate::chart::glyph::GlyphSet;
use crate::lang::Lang;
use crate::panels;
use crate::seat::Seat;
use crate::theme::Palette;

/// Terms that Chinese practitioners write in Latin letters, units, keys of the keyboard, names.
const TERMS: &str = "loss lr token tok bits/byte nat perplexity rms grad ctx bf cpu gpu json csv toml http tensorboard \
    prometheus stdin utf ascii id ids dropout logits gib mib kib gflop gflops gb ms us utc eta zerollm enter esc tab space \
    ctrl pgdn pgup home end up down left right demo embed head norm linear attention classifier nvidia cos sqrt pi hugging \
    face gelu relu silu rmsnorm jsonl markdown params top-k top-p max-tokens temperature weights newest now chatml and or \
    osc tokens sh fg seed cuda rocm nan max heads window momentum emulated merges tanh gemma endoftext ndjson tiktoken \
    archive backtab best sigint sigterm sigusr1 sighup slow";

/// Texts of the made-up runs that nobody translates: what a model wrote, what a system said, what a person noted.
pub const FREE: &str = "The small fox sees a red house near the river. She asks the old farmer for bread, and gives her a \
    warm apple. child runs home before rain begins. is its median person's own words qq good";

/// Every word that may stand in Latin letters.
fn allowed() -> &'static BTreeSet<String> {
    static ALLOWED: OnceLock<BTreeSet<String>> = OnceLock::new();
    ALLOWED.get_or_init(gathered)
}

fn gathered() -> BTreeSet<String> {
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
        add(key.split('.').next().unwrap_or_default());
        add(&form.choices.join(" "));
    }
    for rule in RULES {
        add(rule.name());
    }
    add(&FIGURES.join(" "));
    add(&GlyphSet::WORDS.join(" "));
    add(&Palette::ALL.map(|(word, _)| word).join(" "));
    add("default file flag edit checkpoint preset true false");
    words
}

/// The words of a line that are not in it: whole ones, as edges cut the last, and the wrapping of lines the first.
fn unknown<'a>(line: &'a str, allowed: &BTreeSet<String>) -> Vec<&'a str> {
    let apart =
        |c: char| !c.is_ascii() || c.is_whitespace() || "()[]{}<>,;:\"`?!|+*^~%#$&@".contains(c);
    let mut tokens = line.split_inclusive(apart).peekable();
    let mut first = true;
    let mut found = Vec::new();
    while let Some(whole) = tokens.next() {
        let token = whole.trim_end_matches(apart);
        let behind = whole[token.len()..].chars().next();
        let token = token.trim_matches(['.', '/', '-', '=', '\'']);
        // What lies over the screen cuts the words beside it too.
        let begins = behind.is_some_and(is_frame);
        if token.is_empty() {
            first |= begins;
            continue;
        }
        let is_first = std::mem::replace(&mut first, begins);
        let is_cut =
            behind.is_none_or(|c| "~|".contains(c) || is_frame(c)) || tokens.peek().is_none();
        let known = |word: &str| {
            let word = word.to_lowercase();
            let mut wholes = allowed.iter();
            // A letter alone is a key, a mark or a unit.
            word.len() < 2
                || allowed.contains(&word)
                || (is_cut && wholes.any(|whole| whole.starts_with(&word)))
                || (is_first && wholes.any(|whole| whole.ends_with(&word)))
        };
        // A key of the configuration, a path, a figure with its unit, an operation; what is left of one.
        let is_name = token.contains(|c: char| c.is_ascii_digit() || c == '_')
            || token.contains('.')
            || behind == Some('~');
        let mut parts = token.split(['/', '-', '=', '\'', '.']);
        if !(is_name || known(token) || parts.all(known)) {
            found.push(token);
        }
    }
    found
}

/// Whether it is a line of a frame, under which a word goes on.
fn is_frame(c: char) -> bool {
    ('\u{2500}'..='\u{257f}').contains(&c)
}

/// The lines of a drawn screen that hold English, each behind the words.
pub fn english(shown: &str) -> Vec<String> {
    left(shown, allowed())
}

/// The same beside the words of `free`, which came from a person or a model.
pub fn english_but(free: &str, shown: &str) -> Vec<String> {
    let free = free.split_whitespace().map(str::to_lowercase);
    let allowed = allowed().iter().cloned().chain(free).collect();
    left(shown, &allowed)
}

fn left(shown: &str, allowed: &BTreeSet<String>) -> Vec<String> {
    let found = shown.lines().map(|line| (unknown(line, allowed), line));
    found
        .filter(|(words, _)| !words.is_empty())
        .map(|(words, line)| format!("{words:?} in {line}"))
        .collect()
}

/// Draws it in Chinese at several sizes and fails on English.
fn check(name: &str, bench: &mut Workbench) {
    bench.view.lang = Lang::Zh;
    // With colours no letters stand for them.
    bench.view.colour(Palette::Dark);
    for (width, height) in [(40, 10), (80, 24), (160, 50)] {
        let shown = text(bench, width, height);
        let left = english(&shown);
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

/// Draws what keys and lines lead to, one after the other.
fn walk(name: &str, bench: &mut Workbench, keys: &[&str]) {
    bench.view.lang = Lang::Zh;
    for key in keys {
        bench.press(key);
        check(&format!("{name}, {key}"), bench);
    }
}

#[test]
fn every_screen_of_every_state() {
    for (name, mut bench) in states() {
        for panel in 0..bench.panels.len() {
            bench.show(panel);
            check(&format!("{name}, screen {panel}"), &mut bench);
        }
    }
}

#[test]
fn what_keys_lead_to_on_every_screen() {
    let mut bench = normal();
    for panel in 0..bench.panels.len() {
        bench.show(panel);
        let name = format!("screen {panel}");
        // In the past, in another order, filtered, with whatever page or question a key opens.
        walk(
            &name,
            &mut bench,
            &["h", "esc", "v", "V", "esc", "o", "o", "d", "d"],
        );
        walk(
            &name,
            &mut bench,
            &[
                "/", "q", "q", "esc", "esc", "x", "x", "enter", "esc", "esc", "esc",
            ],
        );
        walk(
            &name,
            &mut bench,
            &[
                "r", "esc", "F", "esc", "T", "esc", "N", "esc", "D", "esc", "b", "i", "esc",
            ],
        );
        bench.show(panel);
    }
}

#[test]
fn everything_that_lies_over_the_screen() {
    let mut bench = normal();
    // The whole help, the whole palette, the whole list of commands and of each command's words.
    bench.press("?");
    for _ in 0..12 {
        walk("help", &mut bench, &["pgdn"]);
    }
    walk("palette", &mut bench, &["?", "ctrl-p"]);
    for _ in 0..30 {
        walk("palette", &mut bench, &["pgdn"]);
    }
    walk("palette", &mut bench, &["esc", ":"]);
    for _ in 0..ALL.len() {
        walk("commands", &mut bench, &["tab"]);
    }
    bench.press("esc");
    for action in ALL {
        bench.open_line(&format!("{} ", action.name));
        check(action.name, &mut bench);
        bench.press("esc");
    }
    bench.open_line("set ");
    for _ in 0..config::keys().len() {
        walk("keys", &mut bench, &["tab"]);
    }
    bench.press("esc");
    // Forms, questions, what the screen itself costs.
    for key in config::keys() {
        bench.start(&format!("set {key}"));
        check(&key, &mut bench);
        type_text(&mut bench, "x");
        check(&key, &mut bench);
        bench.press("esc");
    }
    for line in [
        "rollback",
        "rollback 500 0.5",
        "stop",
        "stop discard",
        "undo",
        "undo 2",
        "leave",
        "debug",
    ] {
        bench.start(line);
        check(line, &mut bench);
        bench.press("esc");
    }
    for seat in [Seat::Attached, Seat::ReadOnly, Seat::Watching] {
        bench.seat = seat;
        walk("seat", &mut bench, &["p", "q"]);
        bench.dialog = None;
    }
    bench.disconnected();
    walk("seat", &mut bench, &["7", "1", "p"]);
}

/// Every action with nothing and with nonsense: what comes of it, and what the log says of it.
#[test]
fn every_refusal() {
    for action in ALL.iter().filter(|action| action.name != "suspend") {
        for words in [
            "",
            "x9",
            "x9 y9",
            "9",
            "9 x9 y9",
            "tag",
            "schedule.kind x9",
            "optimizer.x9",
        ] {
            let mut bench = normal();
            bench.view.lang = Lang::Zh;
            line(&mut bench, format!("{} {words}", action.name).trim());
            check(&format!("{} {words}", action.name), &mut bench);
            bench.press("esc");
            if let Err(Refused::Because(why)) = bench.run_line(&format!("{} {words}", action.name))
            {
                bench.complain(Err(Refused::Because(why)));
                bench.show(6);
                check(&format!("{} {words}, the log", action.name), &mut bench);
            }
        }
    }
}

#[test]
fn columns_stand_below_their_heads() {
    let mut bench = normal();
    bench.view.lang = Lang::Zh;
    for (key, name) in [
        ("4", "system"),
        ("6", "config"),
        ("7", "log"),
        ("9", "memory"),
    ] {
        bench.press(key);
        insta::assert_snapshot!(format!("zh-{name}"), text(&bench, 80, 24));
    }
}

/// What the engine says, as events of the record.
#[test]
fn everything_that_the_engine_says() {
    let mut bench = normal();
    let reply = |command: &str, refused: bool, message: &str| Body::Reply {
        step: 640,
        id: 9,
        command: command.into(),
        refused,
        message: message.into(),
    };
    let alert = |rule: &str, action: &str, message: &str| {
        Body::Alert(Box::new(Alert {
            step: 640,
            rule: rule.into(),
            level: "warning".into(),
            message: message.into(),
            action: action.into(),
            ..Alert::default()
        }))
    };
    let paused = |reason: Option<&str>, hard| Body::Paused {
        step: 640,
        reason: reason.map(str::to_owned),
        hard,
    };
    let rejected = |message: &str| Body::ConfigRejected {
        step: 640,
        line: 3,
        column: 7,
        message: message.into(),
    };
    let full = "/9/r: no room on the disk (9); free some space and go on; training waits for room on the disk";
    let bodies = [
        Body::Resumed { step: 500, path: "checkpoints/step_00000500".into(), attempt: 2 },
        paused(None, false),
        reply("pause", false, "paused after step 640"),
        Body::ResumedFromPause { step: 640 },
        paused(None, true),
        reply("checkpoint", true, "the memory of the run is given back while it is paused; resume it first"),
        paused(Some("loss of step 640 is not finite"), false),
        paused(Some(full), false),
        rejected("c.toml:3:7: optimizer.lr: expected a number above 0, found \"x9\""),
        rejected("model.layers, model.dim cannot change in a run that is on: start a new one"),
        reply("set", false, "train.micro_batch will be applied at the next pause or checkpoint"),
        reply("rollback", true, "there is no checkpoint of step 9; there are those of 500, 600"),
        reply("note", false, "a person's own words"),
        alert("disk", "warn", "the disk has room for 2 more checkpoints after step 640: 99 MiB are free, each takes 40 MiB"),
        alert("throughput", "pause", "training is slow: 900 tokens/s at step 640, 20 steps in a row below 4000 (median 9000)"),
        alert("divergence", "warn", "the validation loss rose 3 times in a row, to 4.1000; its minimum was 3.9000; no rollback: there were three already"),
        alert("stall", "warn", "the loss does not fall: its mean over 2000 steps is 2.1000, over those before it was 2.0900"),
        alert("dead_units", "warn", "63 % of the units of blocks.2.ffn give the same at every token at step 640 (and 3 more layers)"),
        Body::Warning { step: 640, message: "no checkpoint of step 640: /9/r: no room on the disk (9); free some space, earlier checkpoints are intact".into(), note: false },
        Body::Failed { step: 640, message: "the device failed: 9".into() },
    ];
    for body in bodies {
        let name = format!("{body:?}");
        hear_all(&mut bench, &[event(body, 120)]);
        for screen in [0, 5, 6] {
            bench.show(screen);
            check(&name, &mut bench);
        }
    }
}
