use engine::link::{Body, Command};

use super::super::Panel as _;
use super::Attention;
use crate::chart::glyph::GlyphSet;
use crate::lang::Lang;
use crate::theme::{Palette, Theme};
use crate::workbench::Workbench;
use crate::workbench::chinese::english_but;
use crate::workbench::fixture::{attention, bench, event, events, hear_all, text};

fn looking(tokens: &[&str]) -> Workbench {
    let mut bench = bench();
    hear_all(&mut bench, &events(640));
    hear_all(&mut bench, &[attention(640, tokens, 3, 4)]);
    let title = Attention::default().title();
    let panel = bench.panels.iter().position(|panel| panel.title() == title);
    let panel = panel.expect("it is a screen");
    bench.show(panel);
    bench
}

const FOX: [&str; 8] = [
    "The", " small", " fox", " sees", " a", " red", " house", ".",
];

#[test]
fn the_map_looks_as_it_should() {
    let mut bench = looking(&FOX);
    insta::assert_snapshot!("attention", text(&bench, 100, 24));
    bench.press("k");
    bench.press("k");
    insta::assert_snapshot!("attention-narrow", text(&bench, 50, 20));
    let mut bench = looking(&[
        "\u{4e2d}",
        "\u{6587}",
        "\u{5b57}\u{7b26}",
        "\\xe4",
        "\n",
        "x\u{1b}[31m",
    ]);
    bench.view.lang = Lang::Zh;
    bench.view.glyphs = GlyphSet::Ascii;
    let page = text(&bench, 80, 24);
    assert_eq!(english_but("\\xe \\n x\\x", &page), [""; 0]);
    insta::assert_snapshot!("attention-zh-ascii", page);
    let mut bench = looking(&FOX);
    bench.view.theme = Theme::new(Palette::Dark);
    assert!(text(&bench, 100, 24).contains('\u{2588}'));
}

#[test]
fn every_size_is_drawn_with_many_tokens() {
    let tokens: Vec<String> = (0..64).map(|i| format!(" \u{6587}{i}")).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut bench = looking(&tokens);
    for key in ["g", "j", "G", "pgup"] {
        bench.press(key);
        for width in (0..200).step_by(7).chain([75, 76, 77]) {
            for height in 0..40 {
                text(&bench, width, height);
            }
        }
    }
}

#[test]
fn heads_are_asked_for_one_at_a_time_and_the_last_wish_counts() {
    let mut bench = looking(&FOX);
    let asked = |bench: &mut Workbench| -> Vec<Command> {
        bench.outbox.drain(..).map(|r| r.command).collect()
    };
    let look = |layer, head| Command::Attention {
        prompt: super::PROMPT.to_owned(),
        layer,
        head,
    };
    bench.press("l");
    assert_eq!(asked(&mut bench), [look(0, 1)]);
    // An answer is under way.
    for key in ["l", "l", "l", "L"] {
        bench.press(key);
    }
    bench.poll();
    assert_eq!(asked(&mut bench), []);
    hear_all(&mut bench, &[attention(641, &FOX, 3, 4)]);
    bench.poll();
    assert_eq!(asked(&mut bench), [look(1, 3)], "the grid has four heads");
    bench.poll();
    assert_eq!(asked(&mut bench), []);
    bench.state.pending.clear();
    for key in ["enter", "ctrl-u", "\u{4e2d}", "x", "enter"] {
        bench.press(key);
    }
    let Some(Command::Attention { prompt, .. }) = asked(&mut bench).pop() else {
        panic!("nothing was asked");
    };
    assert_eq!(prompt, "\u{4e2d}x");
    // What was refused is told.
    let refused = Body::Reply {
        step: 641,
        id: bench.state.pending[0].id,
        command: "attention".into(),
        refused: true,
        message: "the prompt has 300 tokens".into(),
    };
    hear_all(&mut bench, &[event(refused, 1)]);
    assert!(text(&bench, 100, 24).contains("the prompt has 300 tokens"));
}
