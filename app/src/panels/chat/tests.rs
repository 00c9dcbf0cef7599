use engine::infer::chat::Need;
use engine::infer::generate::Finish;
use engine::link::Body;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::*;
use crate::chart::glyph::GlyphSet;
use crate::lang::Lang;
use crate::workbench::Workbench;
use crate::workbench::chinese::{english, english_but};
use crate::workbench::fixture::{self, event, events, hear_all};

fn ready(continues: bool) -> Told {
    Told::Ready(Ready {
        continues,
        context: 64,
        parameters: 1000,
        need: Need {
            weights: 4 << 20,
            caches: 1 << 20,
            arena: 0,
        },
        seconds: 0.1,
    })
}

fn answer(text: &str, seed: u64, finish: Finish) -> Told {
    Told::Answer(Answer {
        text: text.to_owned(),
        tokens: 5,
        finish,
        seed,
        cut: 12,
        tokens_per_second: Some(31.25),
    })
}

/// A chat whose partner is a thread that has nothing to tell but its failure.
fn open(continues: bool) -> Chat {
    let nowhere = Source::Folder("/nonexistent".into());
    let mut chat = Chat {
        link: Link::Opening(Partner::start(nowhere, 8).expect("a thread")),
        choosing: false,
        label: "@500".to_owned(),
        ..Chat::default()
    };
    chat.take(ready(continues));
    chat
}

fn bench() -> Workbench {
    let mut bench = fixture::bench();
    hear_all(&mut bench, &events(640));
    bench
}

fn shown(chat: &Chat, bench: &Workbench, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    let scene = Scene {
        state: &bench.state,
        view: &bench.view,
        silence: Duration::ZERO,
        seat: bench.seat,
        open: true,
    };
    chat.render(&scene, area, &mut buffer);
    fixture::lines(&buffer, area)
}

fn press(chat: &mut Chat, bench: &mut Workbench, keys: &[&str]) -> Vec<Command> {
    let mut asked = Vec::new();
    for key in keys {
        chat.handle(key, &bench.state, &mut bench.view, &mut asked);
    }
    asked
}

#[test]
fn the_pages_look_as_they_should() {
    let mut bench = bench();
    let mut chat = Chat {
        free: Some(3 << 30),
        ..Chat::default()
    };
    insta::assert_snapshot!("chat-settings", shown(&chat, &bench, 80, 20));
    chat.free = Some(1 << 20);
    bench.view.lang = Lang::Zh;
    bench.view.glyphs = GlyphSet::Ascii;
    let page = shown(&chat, &bench, 60, 20);
    assert_eq!(english(&page), [""; 0]);
    insta::assert_snapshot!("chat-no-room-zh", page);
    let mut bench = self::bench();
    let mut chat = open(true);
    chat.speed = Some(47_300.0);
    press(&mut chat, &mut bench, &["O", "n", "e", "enter"]);
    chat.take(Told::Piece(" day a fox \u{1b}[2J".into()));
    assert!(shown(&chat, &bench, 80, 14).contains("Esc stops"));
    chat.take(Told::Piece("saw\n\u{4e2d}\u{6587}\u{5b57}\u{7b26}".into()));
    chat.take(answer(
        " day a fox \u{1b}[2Jsaw\n\u{4e2d}\u{6587}\u{5b57}\u{7b26}",
        0,
        Finish::MaxTokens,
    ));
    insta::assert_snapshot!("chat-talk", shown(&chat, &bench, 80, 14));
    assert_eq!(chat.settings.seed, 1, "the next answer has another seed");
    bench.view.lang = Lang::Zh;
    let page = shown(&chat, &bench, 80, 14);
    assert_eq!(english_but("One day a fox saw", &page), [""; 0]);
    for (row, typed) in [(0, "last"), (1, "-1"), (2, "x"), (3, "0"), (4, "0")] {
        chat.choosing = true;
        chat.note = chat.settings.set(row, typed).err().map(Note::from);
        let page = shown(&chat, &bench, 80, 20);
        assert_eq!(english_but("last", &page), [""; 0]);
    }
}

#[test]
fn no_control_character_of_a_model_reaches_the_screen_at_any_size() {
    let mut bench = bench();
    let mut chat = open(true);
    let nasty: String = (0..0x300u32).filter_map(char::from_u32).collect();
    press(&mut chat, &mut bench, &["enter"]);
    chat.take(Told::Piece(nasty));
    for choosing in [false, true] {
        chat.choosing = choosing;
        for width in (0..160).step_by(7) {
            for height in 0..40 {
                let text = shown(&chat, &bench, width, height);
                assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            }
        }
    }
}

#[test]
fn settings_are_edited_and_what_makes_no_sense_is_refused() {
    let mut bench = bench();
    let mut chat = Chat::default();
    let edit = |chat: &mut Chat, bench: &mut Workbench, row: usize, typed: &str| {
        chat.typing = None;
        press(chat, bench, &["g"]);
        press(chat, bench, &vec!["j"; row]);
        press(chat, bench, &["enter", "ctrl-u"]);
        chat.paste(typed);
        press(chat, bench, &["enter"]);
        chat.note.as_ref().map(|note| note.said.clone())
    };
    for (row, typed, value) in [
        (0, "now", "now"),
        (0, "1,500", "1500"),
        (0, "newest", "newest"),
        (1, "0.5", "0.5"),
        (2, "40", "40"),
        (3, "0.9", "0.9"),
        (4, "64", "64"),
        (5, "7", "7"),
    ] {
        assert_eq!(edit(&mut chat, &mut bench, row, typed), None, "{typed}");
        assert_eq!(chat.settings.value(row), value);
    }
    let before = format!("{:?}", chat.settings);
    for (row, typed) in [
        (0, "last"),
        (1, "-1"),
        (1, "inf"),
        (2, "x"),
        (3, "0"),
        (3, "1.1"),
        (4, "0"),
        (5, "-3"),
    ] {
        let why = edit(&mut chat, &mut bench, row, typed)
            .expect("refused")
            .to_string();
        assert!(why.contains("expected"), "{why}");
        assert!(chat.typing.is_some(), "what was typed can be mended");
    }
    assert_eq!(format!("{:?}", chat.settings), before);
    let writing = chat.settings.writing();
    assert_eq!((writing.sampler.top_k, writing.max_tokens), (40, 64));
}

#[test]
fn an_empty_line_lets_a_base_model_go_on_and_says_nothing_to_others() {
    let mut bench = bench();
    let mut base = open(true);
    press(&mut base, &mut bench, &["enter"]);
    assert!(base.busy() && base.turns.len() == 1);
    // While it answers, keys are no text and Enter says nothing more.
    press(&mut base, &mut bench, &["enter", "x", "esc"]);
    assert_eq!(base.turns.len(), 1);
    base.take(answer("a", 3, Finish::Caller));
    assert!(!base.busy() && base.typing.is_some());
    press(&mut base, &mut bench, &["esc", "n"]);
    assert!(base.turns.is_empty());
    let mut turns = open(false);
    press(&mut turns, &mut bench, &["enter"]);
    assert!(!turns.busy() && turns.turns.is_empty());
    turns.take(Told::Failed("it is gone".into()));
    assert!(shown(&turns, &bench, 80, 20).contains("it is gone"));
}

#[test]
fn history_scrolls() {
    let mut bench = bench();
    let mut chat = open(true);
    for number in 0..30 {
        chat.typing = None;
        chat.say(format!("turn {number}"));
        chat.take(answer("yes", number, Finish::EndOfText));
    }
    press(&mut chat, &mut bench, &["esc"]);
    assert!(shown(&chat, &bench, 80, 14).contains("turn 29"));
    press(&mut chat, &mut bench, &["g"]);
    let top = shown(&chat, &bench, 80, 14);
    assert!(top.contains("turn 0") && !top.contains("turn 29"), "{top}");
    press(&mut chat, &mut bench, &["pgdn", "G"]);
    assert!(shown(&chat, &bench, 80, 14).contains("turn 29"));
}

#[test]
fn what_cannot_start_says_why() {
    let mut bench = bench();
    let start = |chat: &mut Chat, bench: &mut Workbench| {
        chat.typing = None;
        let asked = press(chat, bench, &["G", "enter"]);
        let note = chat.note.as_ref().map(|note| note.get(&bench.scene()));
        (note.unwrap_or_default(), asked)
    };
    let mut chat = Chat::default();
    assert!(start(&mut chat, &mut bench).0.contains("folder"));
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    bench.state.reach.folder = Some(dir.path().to_owned());
    assert!(start(&mut chat, &mut bench).0.contains("no checkpoint yet"));
    chat.settings.weights = Weights::Step(12);
    assert!(start(&mut chat, &mut bench).0.contains("step 12"));
    // Elsewhere than in the process that trains, nobody copies.
    chat.settings.weights = Weights::Now;
    assert!(start(&mut chat, &mut bench).0.contains("checkpoint"));
    bench.state.reach.desk = Some(Desk::default());
    let (note, asked) = start(&mut chat, &mut bench);
    assert_eq!((note.as_str(), asked), ("", vec![Command::Weights]));
    bench.ask(Command::Weights);
    chat.poll(&bench.state, &mut Vec::new());
    assert!(
        matches!(chat.link, Link::Ordered(_)),
        "the engine has not answered"
    );
    let refused = Body::Reply {
        step: 640,
        id: 1,
        command: "weights".into(),
        refused: true,
        message: "a chat needs 9 MiB".into(),
    };
    hear_all(&mut bench, &[event(refused, 1)]);
    assert!(chat.poll(&bench.state, &mut Vec::new()));
    assert!(
        chat.note
            .as_ref()
            .is_some_and(|n| n.said.to_string().contains("9 MiB"))
    );
    assert!(
        bench
            .state
            .reach
            .desk
            .as_ref()
            .is_some_and(|d| d.fetch().is_none())
    );
    // Before anything is read, the engine's figure is held against what is free.
    if let (Some(head), Some(_)) = (&mut bench.state.started, available_bytes()) {
        head.chat_bytes = u64::MAX;
        let (note, asked) = start(&mut chat, &mut bench);
        assert!(note.contains("are free") && asked.is_empty(), "{note}");
    }
}
