//! How every situation looks, cell by cell with its colours; that no size, no order of events and no key breaks a screen.

use std::fmt::Write as _;

use engine::link::Body;
use kernels::philox::Stream;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};

use super::Workbench;
use super::fixture::{bench, event, events, hear_all, samples, states, text};
use crate::chart::glyph::GlyphSet;
use crate::keymap::Keymap;
use crate::lang::Lang;
use crate::leave::Leave;
use crate::mouse::{Mouse, What};
use crate::seat::Seat;
use crate::theme::{Palette, Theme};

/// The styles of a screen: a letter a cell, and what the letters stand for.
fn styles(bench: &Workbench, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    bench.render(area, &mut buffer);
    let of = |cell: &Cell| {
        let mut name = String::new();
        for (word, colour) in [("fg", cell.fg), ("bg", cell.bg)] {
            if colour != ratatui::style::Color::Reset {
                write!(name, " {word} {colour}").unwrap();
            }
        }
        if !cell.modifier.is_empty() {
            write!(name, " {:?}", cell.modifier).unwrap();
        }
        name
    };
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let mut known: Vec<String> = Vec::new();
    let mut out = String::new();
    for y in 0..height {
        let mut line = String::new();
        for x in 0..width {
            let cell = &buffer[(x, y)];
            let name = of(cell);
            // Of an empty cell only the background is seen.
            let unseen = cell.symbol() == " " && cell.bg == ratatui::style::Color::Reset;
            if name.is_empty() || (unseen && cell.modifier.is_empty()) {
                line.push('.');
                continue;
            }
            let at = known.iter().position(|have| *have == name);
            let at = at.unwrap_or_else(|| {
                known.push(name);
                known.len() - 1
            });
            line.push(letters[at]);
        }
        out.push_str(line.trim_end_matches('.'));
        out.push('\n');
    }
    for (letter, name) in letters.iter().zip(&known) {
        writeln!(out, "{letter}{name}").unwrap();
    }
    out
}

#[test]
fn situations_have_the_colours_that_they_should() {
    for (name, mut bench) in states() {
        bench.view.theme = Theme::new(Palette::Dark);
        for (width, height) in [(40, 10), (80, 24), (100, 30), (160, 50)] {
            let shown = styles(&bench, width, height);
            insta::assert_snapshot!(format!("style-{name}-{width}x{height}"), shown);
        }
    }
}

#[test]
fn themes_have_the_colours_that_they_should() {
    for (name, mut bench) in states() {
        if !matches!(name, "alert" | "nonfinite") {
            continue;
        }
        for (theme, palette) in Palette::ALL {
            bench.view.theme = Theme::new(palette);
            let shown = styles(&bench, 80, 24);
            insta::assert_snapshot!(format!("theme-{theme}-{name}"), shown);
        }
    }
}

/// Every width from 0 to 200 and every height from 0 to 60, on every screen. Situations, glyphs and languages take turns.
#[test]
fn no_size_breaks_any_screen() {
    let mut situations: Vec<Workbench> = states().into_iter().map(|(_, bench)| bench).collect();
    situations.extend(samples::situations());
    let num = situations.len();
    for bench in &mut situations {
        bench.view.theme = Theme::new(Palette::Dark);
    }
    let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 60));
    let mut turn = 0;
    for panel in 0..situations[0].panels.len() {
        for width in 0..=200 {
            turn += 1;
            let bench = &mut situations[turn % num];
            bench.show(panel);
            bench.dialog = (turn % 11 == 0).then(|| Leave::from(bench.seat));
            bench.view.glyphs = bench.view.glyphs.next();
            if turn % 3 == 0 {
                bench.view.lang = match bench.view.lang {
                    Lang::En => Lang::Zh,
                    Lang::Zh => Lang::En,
                };
            }
            for height in 0..=60 {
                bench.render(Rect::new(0, 0, width, height), &mut buffer);
            }
        }
    }
}

/// Keys, events, sizes, pasted text and the mouse in any order.
#[test]
fn no_order_of_things_breaks_a_screen() {
    const TEXTS: [&str; 4] = ["", "a\nb", "\u{1b}[2J", "set optimizer.lr 1"];
    let course = events(400);
    let keymap = Keymap::default();
    let bound = keymap.bindings().iter().flat_map(|b| b.keys.clone());
    let mut keys: Vec<String> = bound.collect();
    for panel in &bench().panels {
        let own = panel.keys().iter().flat_map(|key| key.keys);
        keys.extend(own.map(|key| (*key).to_owned()));
    }
    keys.extend(["x", "enter", "backspace", "f9", "\u{4e2d}", "="].map(str::to_owned));
    for seed in 0..24 {
        let mut random = Stream::new(11, seed);
        let mut bench = bench();
        bench.seat = [Seat::Own, Seat::Attached, Seat::ReadOnly, Seat::Watching][seed as usize % 4];
        let mut heard = 0;
        let (mut width, mut height) = (80, 24);
        for _ in 0..250 {
            match random.below(8) {
                0 | 1 => {
                    let more = (heard + 1 + random.below(60) as usize).min(course.len());
                    hear_all(&mut bench, &course[heard..more]);
                    heard = more;
                }
                2 => {
                    (width, height) = (random.below(201) as u16, random.below(61) as u16);
                }
                3 => bench.paste(TEXTS[random.below(4) as usize]),
                4 => {
                    let what = [What::Press, What::Drag, What::Up, What::Down];
                    bench.point(Mouse {
                        at: Position::new(random.below(201) as u16, random.below(61) as u16),
                        what: what[random.below(4) as usize],
                    });
                }
                _ => bench.press(&keys[random.below(keys.len() as u64) as usize]),
            }
            bench.exit = None;
            bench.tick();
            samples::answer(&mut bench);
            let area = Rect::new(0, 0, width, height);
            bench.render(area, &mut Buffer::empty(area));
        }
    }
}

#[test]
fn a_glyph_set_for_every_terminal_draws_only_what_it_can() {
    for (_, mut bench) in states() {
        bench.view.glyphs = GlyphSet::Ascii;
        for panel in 0..bench.panels.len() {
            bench.show(panel);
            let area = Rect::new(0, 0, 160, 50);
            let mut buffer = Buffer::empty(area);
            bench.render(area, &mut buffer);
            for cell in &buffer.content {
                assert!(cell.symbol().is_ascii(), "{:?} on {panel}", cell.symbol());
            }
        }
    }
}

#[test]
fn what_a_sample_says_anew_is_marked() {
    let mut bench = bench();
    hear_all(&mut bench, &events(200));
    let newer = Body::Sample {
        step: 201,
        prompt: "The small fox".into(),
        text: " sees a blue house near the river. She asks the old baker for bread.".into(),
        readable: None,
    };
    bench.hear(&event(newer, 40));
    bench.press("3");
    bench.press("d");
    let shown = text(&bench, 100, 24);
    assert!(shown.contains("new since @200"), "{shown}");
    let key = bench.view.theme.key;
    let area = Rect::new(0, 0, 100, 24);
    let mut buffer = Buffer::empty(area);
    bench.render(area, &mut buffer);
    let body = buffer.content.iter().skip(300);
    let marked: String = body
        .filter(|cell| cell.modifier == key.add_modifier && !key.add_modifier.is_empty())
        .map(Cell::symbol)
        .collect();
    assert!(
        marked.contains("blue") && marked.contains("baker"),
        "{marked}"
    );
    assert!(!marked.contains("house"), "{marked}");
    bench.press("d");
    assert!(!text(&bench, 100, 24).contains("new since"));
}
