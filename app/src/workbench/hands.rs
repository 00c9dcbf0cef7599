//! The hands of the screen: lines, palette, forms, mouse, remapped keys.

use std::sync::Arc;

use engine::link::Command;
use ratatui::layout::Position;

use super::Workbench;
use super::fixture::{applied, asked, line, normal, press, set, text, type_text};
use crate::actions::{ALL, Refused};
use crate::chart::glyph::GlyphSet;
use crate::keymap::Keymap;
use crate::lang::Lang;
use crate::mouse::{Mouse, What};
use crate::prompt::Prompt;
use crate::seat::Seat;
use crate::theme::Palette;

#[test]
fn every_action_is_reached_by_a_key_the_command_line_and_the_palette() {
    for action in ALL {
        let mut bench = normal();
        bench.press("ctrl-p");
        type_text(&mut bench, action.name);
        let shown = text(&bench, 100, 30);
        assert!(shown.contains(action.name), "{}\n{shown}", action.name);
        bench.press("enter");
        assert!(!matches!(bench.prompt, Some(Prompt::Palette(_))) || action.name == "palette");
        text(&bench, 80, 24);

        let mut bench = normal();
        line(&mut bench, action.name);
        text(&bench, 80, 24);
    }
}

#[test]
fn the_made_up_run_has_a_configuration_that_the_engine_would_take() {
    let told = engine::config::with_edits(&normal().state.config, &[]);
    assert!(told.is_ok(), "{told:?}");
}

#[test]
fn typed_lines_do_what_they_say() {
    let mut bench = normal();
    for (typed, command) in [
        ("pause", Command::Pause { hard: false }),
        ("pause hard", Command::Pause { hard: true }),
        ("resume", Command::Resume),
        ("ckpt", Command::Checkpoint { tag: None }),
        (
            "ckpt tag before it",
            Command::Checkpoint {
                tag: Some("before it".into()),
            },
        ),
        ("eval", Command::Eval),
        ("sample", Command::Sample),
        ("profile", Command::Profile),
        ("reload", Command::Reload),
        (
            "note a = b",
            Command::Note {
                text: "a = b".into(),
            },
        ),
        (
            "rollback",
            Command::Rollback {
                step: None,
                lr_scale: None,
            },
        ),
        (
            "rollback 500 0.5",
            Command::Rollback {
                step: Some(500),
                lr_scale: Some(0.5),
            },
        ),
        ("set train.clip_norm 0.5", set("train.clip_norm", "0.5")),
        ("set train.keep_last=7", set("train.keep_last", "7")),
        ("stop discard", Command::Stop { checkpoint: false }),
    ] {
        line(&mut bench, typed);
        assert!(bench.prompt.is_none(), "{typed}");
        assert_eq!(asked(&mut bench), [command], "{typed}");
    }
    for (typed, is) in [
        ("screen log", "log"),
        ("screen 6", "config"),
        ("help", "everywhere"),
        ("theme none", ""),
        ("lang zh", ""),
        ("glyphs octant", ""),
        ("goto 100", ""),
        ("mouse off", ""),
    ] {
        line(&mut bench, typed);
        assert!(bench.prompt.is_none(), "{typed}");
        assert!(text(&bench, 120, 30).contains(is), "{typed}");
    }
    assert_eq!(bench.view.theme.palette(), Palette::Mono);
    assert_eq!(
        (bench.view.lang, bench.view.glyphs),
        (Lang::Zh, GlyphSet::Octant)
    );
    assert_eq!((bench.view.cursor, bench.mouse), (Some(100), false));
    line(&mut bench, "theme");
    assert_eq!(bench.view.theme.palette(), Palette::Dark);
}

#[test]
fn a_refused_line_stays_with_its_reason() {
    let mut bench = normal();
    bench.state.versions.clear();
    for (typed, why) in [
        ("evaluate", "there is no command"),
        ("eval now", "takes nothing"),
        ("theme pink", "colour-blind"),
        ("set optimizer.lr fast", "a number"),
        ("set optimizer.rate 1", "there is no key"),
        ("set model.layers 3", "start a new one"),
        ("set train.clip_norm -1", "from 0 on"),
        ("goto there", "expected a step"),
        ("rollback x", "expected a step"),
        ("rollback 500 x", "expected a factor"),
        ("rollback 500 nan", "from 0 on"),
        ("rollback 500 1e400", "found inf"),
        ("rollback 500 -1", "found -1.0"),
        ("screen cellar", "there is no screen"),
        ("undo", "no live edit"),
        ("write optimizer.lr", "no configuration file"),
    ] {
        line(&mut bench, typed);
        let shown = text(&bench, 100, 24);
        // What touches the learning rate is refused in its form.
        assert!(shown.contains(why), "{typed}: {shown}");
        assert_eq!(asked(&mut bench), [], "{typed}");
        bench.press("esc");
        assert!(bench.prompt.is_none());
    }
    bench.seat = Seat::ReadOnly;
    line(&mut bench, "pause");
    assert!(text(&bench, 100, 24).contains("looks on only"));
    assert!(matches!(bench.may_ask("x"), Err(Refused::Because(_))));
}

#[test]
fn nothing_is_asked_or_typed_for_what_is_refused_anyhow() {
    let looking_on = || {
        let mut bench = normal();
        bench.seat = Seat::ReadOnly;
        bench
    };
    // A key's line: what weighs, what wants more words, what opens a form.
    for line in ["stop", "rollback", "delete 500", "tag 500", "ckpt tag"] {
        let mut bench = looking_on();
        bench.start(line);
        let seen = text(&bench, 100, 24);
        assert!(seen.contains("looks on only"), "{line}: {seen}");
        assert!(bench.prompt.is_none() && !bench.leaving, "{line}");
    }
    for action in ALL.iter().filter(|action| action.asks) {
        let mut bench = looking_on();
        bench.start(action.name);
        assert!(bench.prompt.is_none(), "{}", action.name);
        assert!(
            text(&bench, 100, 24).contains("looks on only"),
            "{}",
            action.name
        );
    }
    // A screen's own field.
    let mut bench = looking_on();
    bench.start("screen attention");
    bench.press("enter");
    assert!(!bench.panels[bench.current].types());
    assert!(text(&bench, 100, 24).contains("attention: this screen looks on only"));
    // What needs nobody's consent is still done.
    bench.press("T");
    assert!(!text(&bench, 100, 24).contains("looks on only"));
}

#[test]
fn lines_are_completed_and_remembered() {
    let mut bench = normal();
    bench.press(":");
    type_text(&mut bench, "ck");
    insta::assert_snapshot!("command-line", text(&bench, 80, 24));
    bench.press("tab");
    assert!(text(&bench, 80, 24).contains(":ckpt"), "the first of them");
    press(&mut bench, &["ctrl-u"]);
    type_text(&mut bench, "set opt");
    insta::assert_snapshot!("command-line-keys", text(&bench, 80, 24));
    bench.press("tab");
    assert!(text(&bench, 80, 24).contains(":set optimizer.kind_"));
    bench.press("tab");
    assert!(text(&bench, 80, 24).contains(":set optimizer.lr_"));
    press(&mut bench, &["backtab", "backtab", "ctrl-u"]);
    type_text(&mut bench, "set schedule.kind ");
    press(&mut bench, &["tab", "tab", "tab"]);
    assert!(text(&bench, 80, 24).contains(":set schedule.kind cosine_"));
    press(&mut bench, &["ctrl-u"]);
    type_text(&mut bench, "screen che");
    press(&mut bench, &["tab", "enter"]);
    assert!(text(&bench, 80, 24).contains("[5 Checkpoints]"));
    line(&mut bench, "eval");
    press(&mut bench, &[":", "up", "up", "enter"]);
    assert_eq!(bench.history, ["eval", "screen checkpoints"]);
    press(&mut bench, &[":", "up", "down", "down"]);
    assert!(text(&bench, 80, 24).contains(":_"));
    press(&mut bench, &["backspace"]);
    assert!(bench.prompt.is_none());
    bench.press(":");
    bench.paste("note pasted\nmore");
    bench.press("enter");
    assert_eq!(
        asked(&mut bench).last(),
        Some(&Command::Note {
            text: "note pasted".trim_start_matches("note ").into()
        })
    );
}

#[test]
fn the_palette_finds_and_runs() {
    let mut bench = normal();
    bench.press("ctrl-p");
    insta::assert_snapshot!("palette", text(&bench, 80, 24));
    type_text(&mut bench, "lrsc");
    insta::assert_snapshot!("palette-found", text(&bench, 80, 24));
    bench.press("enter");
    assert!(matches!(bench.prompt, Some(Prompt::Edit(_))));
    press(&mut bench, &["esc", "ctrl-p"]);
    type_text(&mut bench, "memory");
    bench.press("enter");
    assert!(text(&bench, 80, 24).contains("9 Memory]"));
    // What weighs is asked, and what wants more is finished on the command line.
    bench.press("ctrl-p");
    type_text(&mut bench, "rollback");
    bench.press("enter");
    assert!(matches!(bench.prompt, Some(Prompt::Confirm(_))));
    press(&mut bench, &["esc", "ctrl-p"]);
    type_text(&mut bench, "goto");
    bench.press("enter");
    assert!(text(&bench, 80, 24).contains(":goto _"));
    assert_eq!(asked(&mut bench), []);
}

#[test]
fn lists_are_filtered_and_searched() {
    let mut bench = normal();
    press(&mut bench, &["?", "/"]);
    type_text(&mut bench, "ZOOM");
    let shown = text(&bench, 100, 24);
    assert!(
        shown.contains("whole run") && !shown.contains("checkpoint after"),
        "{shown}"
    );
    assert!(shown.contains("everywhere") && shown.contains(":zoom"));
    press(&mut bench, &["enter", "n", "n", "N", "esc"]);
    assert!(text(&bench, 100, 24).contains("pause"));
    press(&mut bench, &["2", "/"]);
    type_text(&mut bench, "blocks.3");
    let shown = text(&bench, 100, 24);
    assert!(
        shown.contains("blocks.3.mixer") && !shown.contains("blocks.2"),
        "{shown}"
    );
    press(&mut bench, &["enter", "n", "n", "n", "v", "esc"]);
    assert!(text(&bench, 100, 24).contains("blocks.2"));
    press(&mut bench, &["7", "/"]);
    type_text(&mut bench, "ckpt");
    let shown = text(&bench, 100, 24);
    assert!(
        shown.contains("ckpt") && !shown.contains("perplexity"),
        "{shown}"
    );
    press(&mut bench, &["enter", "n", "Y"]);
    let copied = bench.clipboard.take().unwrap();
    assert!(
        copied.contains("ckpt") && copied.ends_with('\n'),
        "{copied}"
    );
}

#[test]
fn figures_are_copied_as_csv() {
    let mut bench = normal();
    press(&mut bench, &["g", "Y"]);
    let copied = bench.clipboard.take().unwrap();
    let rows: Vec<&str> = copied.lines().collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].starts_with("step,tokens,loss") && rows[1].starts_with("1,8192,"));
    assert!(text(&bench, 100, 24).contains("copied 2 lines"));
    press(&mut bench, &["esc", "Y"]);
    assert_eq!(bench.clipboard.take().unwrap().lines().count(), 641);
    press(&mut bench, &["z", "z", "Y"]);
    let visible = bench.clipboard.take().unwrap().lines().count();
    assert!((150..170).contains(&visible), "{visible}");
}

#[test]
fn a_pane_gets_the_whole_area() {
    let mut bench = normal();
    let wide = |bench: &Workbench| text(bench, 160, 50);
    assert!(wide(&bench).contains("events"));
    bench.press("x");
    assert!(!wide(&bench).contains("events"));
    insta::assert_snapshot!("expanded", text(&bench, 80, 24));
    press(&mut bench, &["j", "j"]);
    assert!(wide(&bench).contains("|grad|") && !wide(&bench).contains("floor"));
    bench.press("esc");
    assert!(wide(&bench).contains("events"));
    for _ in 0..8 {
        press(&mut bench, &["k", "x"]);
        wide(&bench);
        press(&mut bench, &["x"]);
    }
    assert_eq!(bench.view.cursor, None);
}

#[test]
fn the_mouse_goes_where_it_points() {
    let mut bench = normal();
    let point = |bench: &mut Workbench, x: u16, y: u16, what| {
        text(bench, 80, 24);
        bench.point(Mouse {
            at: Position::new(x, y),
            what,
        });
    };
    let column = |bench: &Workbench, row: usize, word: &str| {
        let shown = text(bench, 80, 24);
        let line = shown.lines().nth(row).unwrap().to_owned();
        let at = line.find(word).unwrap();
        line[..at].chars().count() as u16
    };
    let tab = column(&bench, 1, "6");
    point(&mut bench, tab, 1, What::Press);
    assert!(text(&bench, 80, 24).contains("[6 Config]"));
    // A row is chosen, and opened when it is pressed again.
    let shown = text(&bench, 80, 24);
    let row = shown
        .lines()
        .position(|l| l.contains("optimizer.lr"))
        .unwrap() as u16;
    let chosen = |bench: &Workbench| {
        let shown = text(bench, 80, 24);
        shown
            .lines()
            .find(|l| l.starts_with("\u{2502}>"))
            .unwrap()
            .to_owned()
    };
    point(&mut bench, 10, row, What::Press);
    assert!(chosen(&bench).contains("optimizer.lr"));
    point(&mut bench, 10, row, What::Drag);
    assert!(bench.prompt.is_none());
    let shown = text(&bench, 80, 24);
    let row = shown
        .lines()
        .position(|l| l.contains("optimizer.lr"))
        .unwrap() as u16;
    point(&mut bench, 10, row, What::Press);
    assert!(bench.prompt.is_some());
    bench.press("esc");
    point(&mut bench, 10, row, What::Down);
    assert!(!chosen(&bench).contains("optimizer.lr"));

    let tab = column(&bench, 1, "1");
    point(&mut bench, tab, 1, What::Press);
    point(&mut bench, 40, 8, What::Press);
    let here = bench.view.cursor.unwrap();
    assert!((250..400).contains(&here), "{here}");
    assert_eq!(bench.view.zoom, 0);
    point(&mut bench, 50, 8, What::Drag);
    let there = bench.view.cursor.unwrap();
    assert!(there > here);
    point(&mut bench, 50, 8, What::Up);
    point(&mut bench, 50, 8, What::Up);
    assert_eq!(bench.view.zoom, 2);
    point(&mut bench, 50, 8, What::Press);
    assert!(bench.view.cursor.unwrap().abs_diff(there) < 12);
    point(&mut bench, 50, 8, What::Down);
    assert_eq!(bench.view.zoom, 1);
    // Nowhere is harmful, whatever is open.
    for (width, height) in [(0, 0), (1, 1), (40, 10), (80, 24), (160, 50)] {
        for panel in 0..bench.panels.len() {
            bench.show(panel);
            for what in [What::Press, What::Drag, What::Up, What::Down] {
                for (x, y) in [(0, 0), (3, 3), (30, 9), (79, 23), (159, 49), (500, 500)] {
                    text(&bench, width, height);
                    bench.point(Mouse {
                        at: Position::new(x, y),
                        what,
                    });
                }
            }
            bench.prompt = None;
        }
    }
}

#[test]
fn keys_of_ones_own_are_used_and_shown() {
    let mut bench = normal();
    let mut keymap = Keymap::default();
    keymap.bind("pause toggle", vec!["f9".into()]).unwrap();
    keymap
        .bind("set schedule.lr_scale 0.5", vec!["f6".into()])
        .unwrap();
    keymap.bind("interrupt", vec!["ctrl-q".into()]).unwrap();
    bench.view.keys = Arc::new(keymap);
    let shown = text(&bench, 100, 24);
    assert!(shown.contains("f9 pause"), "{shown}");
    bench.press("p");
    assert_eq!(asked(&mut bench), []);
    bench.press("f9");
    assert_eq!(asked(&mut bench), [Command::Pause { hard: false }]);
    press(&mut bench, &["f6", "enter"]);
    assert_eq!(asked(&mut bench), [set("schedule.lr_scale", "0.5")]);
    press(&mut bench, &[":", "ctrl-q"]);
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
    bench.press("?");
    assert!(text(&bench, 100, 60).contains("f9 P"));
}

#[test]
fn keys_of_a_screen_can_move() {
    let mut bench = normal();
    let mut keymap = Keymap::default();
    for (screen, usual, key) in [("config", "v", "V"), ("*", "j", "ctrl-n")] {
        keymap.panels.bind(screen, usual, vec![key.into()]).unwrap();
    }
    keymap.panels.bind("log", "enter", Vec::new()).unwrap();
    bench.view.keys = Arc::new(keymap);
    bench.press("6");
    assert!(text(&bench, 100, 24).contains("V history"));
    bench.press("v");
    assert!(!text(&bench, 100, 24).contains("config history"));
    bench.press("V");
    assert!(text(&bench, 100, 24).contains("config history"));
    press(&mut bench, &["V", "g", "j"]);
    let chosen = |bench: &Workbench| text(bench, 100, 24).lines().nth(3).unwrap().contains('>');
    assert!(chosen(&bench), "j is nothing here any more");
    bench.press("ctrl-n");
    assert!(!chosen(&bench));
    // The wheel is no key.
    press(&mut bench, &["g"]);
    text(&bench, 100, 24);
    bench.point(Mouse {
        at: Position::new(20, 8),
        what: What::Down,
    });
    assert!(!chosen(&bench));
    // What is typed is text.
    press(&mut bench, &["/"]);
    type_text(&mut bench, "Vjv");
    assert!(text(&bench, 100, 24).contains("/Vjv"));
    press(&mut bench, &["esc", "7", "k", "enter"]);
    assert_eq!(bench.current, 6, "it was taken from the log");
    bench.press("?");
    let help = text(&bench, 120, 150);
    assert!(
        help.contains("ctrl-n k") && help.contains("   V  "),
        "{help}"
    );
}

#[test]
fn no_size_breaks_what_lies_over_the_screen() {
    let mut bench = normal();
    bench.file =
        Some("a/very/long/path/of/a/configuration/file/that/does/not/fit/nano.toml".into());
    bench.hear(&applied(7, "schedule.kind", "\"cosine\"", "\"wsd\""));
    bench.figures.shown = true;
    for open in [":", "ctrl-p", "X", "u", "C"] {
        bench.prompt = None;
        bench.press(open);
        assert!(bench.prompt.is_some(), "{open}");
        for width in (0..=120).step_by(7).chain([1, 2, 3, 13, 200]) {
            for height in (0..=40).step_by(5).chain([1, 2, 3, 4, 6, 7]) {
                text(&bench, width, height);
            }
        }
    }
    insta::assert_snapshot!("debug", text(&bench, 100, 24));
}
