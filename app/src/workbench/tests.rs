//! The screen as a whole: what it shows, what keys do, that no size breaks it.

use std::time::Duration;

use engine::link::{Body, Command};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::chinese::english;
use super::fixture::{asked, bench, event, events, hear_all, normal, states, step, text};
use super::{Exit, Wants, Workbench};
use crate::actions::ALL;
use crate::chart::glyph::GlyphSet;
use crate::errand::{Errand, ForkWish, News};
use crate::keymap::Keymap;
use crate::lang::Lang;
use crate::state::Status;
use crate::theme::{Palette, Theme};

#[test]
fn screens_look_as_they_should() {
    for (name, bench) in states() {
        for (width, height) in [(40, 10), (80, 24), (100, 30), (160, 50)] {
            insta::assert_snapshot!(
                format!("{name}-{width}x{height}"),
                text(&bench, width, height)
            );
        }
    }
    let mut bench = normal();
    for (key, name) in [
        ("2", "layers"),
        ("3", "samples"),
        ("4", "system"),
        ("5", "checkpoints"),
        ("6", "config"),
        ("7", "log"),
        ("9", "memory"),
        ("?", "help"),
    ] {
        bench.press(key);
        insta::assert_snapshot!(format!("screen-{name}"), text(&bench, 80, 24));
    }
    bench.press("1");
    for key in ["q", "j"] {
        bench.press(key);
    }
    insta::assert_snapshot!("dialog", text(&bench, 80, 24));
    bench.press("esc");
    for key in ["H", "z", "z", "y", "t", "m", "m", "m"] {
        bench.press(key);
    }
    insta::assert_snapshot!("zoomed-ascii", text(&bench, 80, 24));
    bench.view.lang = Lang::Zh;
    bench.press("?");
    insta::assert_snapshot!("help-zh", text(&bench, 100, 40));
}

#[test]
fn screens_show_the_past_where_the_cursor_stands() {
    let mut bench = bench();
    hear_all(&mut bench, &events(1240));
    bench.view.cursor = Some(700);
    for (key, name) in [
        ("2", "layers"),
        ("3", "samples"),
        ("6", "config"),
        ("7", "log"),
    ] {
        bench.press(key);
        for (width, height) in [(80, 24), (160, 50)] {
            let seen = text(&bench, width, height);
            assert!(seen.contains("at step 700"), "{name}: {seen}");
            insta::assert_snapshot!(format!("past-{name}-{width}x{height}"), seen);
        }
    }
    // What was in force then is not edited now.
    bench.press("6");
    for key in ["/", "o", "p", "t", "i", "m", "enter", "G", "enter"] {
        bench.press(key);
    }
    assert!(!text(&bench, 80, 24).contains("optimizer.weight_decay = "));
    bench.press("esc");
    bench.press("esc");
    for key in ["2", "3", "6", "7"] {
        bench.press(key);
        assert!(!text(&bench, 80, 24).contains("at step"), "{key}");
    }
}

#[test]
fn a_checkpoint_is_gone_back_to_or_forked() {
    let mut bench = normal();
    bench.press("5");
    bench.press("r");
    let seen = text(&bench, 100, 24);
    assert!(
        seen.contains("go back in place to step 500: 140 steps are trained again"),
        "{seen}"
    );
    bench.press("enter");
    assert!(asked(&mut bench).is_empty(), "Enter stays");
    bench.press("r");
    bench.press("y");
    let back = Command::Rollback {
        step: Some(500),
        lr_scale: None,
    };
    assert_eq!(asked(&mut bench), [back]);
    bench.press("F");
    for key in ["x", "space", "a", "=", "1", "enter"] {
        bench.press(key);
    }
    let wish = ForkWish {
        step: 500,
        name: Some("x".to_owned()),
        changes: vec!["a=1".to_owned()],
    };
    assert_eq!(
        std::mem::take(&mut bench.errands),
        [Errand::PlanFork(wish.clone())]
    );
    let refused = "a=1: no key a".to_owned();
    bench.deliver(&News::Plan(Err(refused.clone())));
    assert!(text(&bench, 100, 24).contains(&refused));
    bench.press("y");
    assert!(bench.errands.is_empty(), "what is refused is not started");
    for key in ["esc", "F", "x", "space", "a", "=", "1", "enter"] {
        bench.press(key);
    }
    let lines = vec![
        "a fork of demo@500".to_owned(),
        "9 steps are left to train.max_steps = 509".to_owned(),
    ];
    bench.deliver(&News::Plan(Ok(lines)));
    insta::assert_snapshot!("fork-plan", text(&bench, 80, 24));
    bench.view.lang = Lang::Zh;
    let shown = text(&bench, 80, 24);
    assert_eq!(english(&shown), [] as [String; 0]);
    bench.view.lang = Lang::En;
    bench.errands.clear();
    bench.press("y");
    assert_eq!(std::mem::take(&mut bench.errands), [Errand::Fork(wish)]);
    let done = "run x was started in the background (process 7)".to_owned();
    bench.deliver(&News::Done(Ok(done)));
    assert!(text(&bench, 100, 24).contains("run x was started in the background (process 7)"));
    bench.view.lang = Lang::Zh;
    assert!(text(&bench, 100, 24).contains("运行 x 已在后台启动 (进程 7)"));
}

#[test]
fn a_shrinking_area_within_a_buffer_is_kept() {
    // Drawing stays inside the area even where the buffer is larger.
    let bench = normal();
    let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 40));
    let area = Rect::new(10, 5, 60, 20);
    bench.render(area, &mut buffer);
    for y in 0..40 {
        for x in 0..100 {
            if !area.contains((x, y).into()) {
                assert_eq!(buffer[(x, y)].symbol(), " ", "{x} {y}");
            }
        }
    }
}

#[test]
fn every_key_of_every_table_does_no_harm_anywhere() {
    let keymap = Keymap::default();
    let bound = keymap.bindings().iter().flat_map(|b| b.keys.iter());
    let keys: Vec<&str> = bound.map(String::as_str).collect();
    for (_, mut bench) in states() {
        for panel in 0..bench.panels.len() {
            let own: Vec<&str> = bench.panels[panel]
                .keys()
                .iter()
                .flat_map(|k| k.keys.iter().copied())
                .collect();
            for key in keys
                .iter()
                .chain(&own)
                .chain(&["x", "enter", "esc", "f9", "unknown"])
            {
                bench.show(panel);
                (bench.dialog, bench.prompt) = (None, None);
                bench.press(key);
                text(&bench, 80, 24);
            }
        }
    }
}

#[test]
fn panels_take_the_keys_that_they_list() {
    for (index, _) in bench().panels.iter().enumerate() {
        let keys = bench().panels[index].keys();
        for key in keys.iter().flat_map(|k| k.keys) {
            let mut bench = normal();
            let mut commands = Vec::new();
            let state = bench.state.clone();
            let taken = bench.panels[index].handle(key, &state, &mut bench.view, &mut commands);
            assert!(taken, "panel {index} lists {key} and leaves it");
        }
    }
}

#[test]
fn every_action_and_every_key_stands_in_the_help() {
    for lang in [Lang::En, Lang::Zh] {
        let mut bench = normal();
        bench.view.lang = lang;
        bench.press("?");
        let help = text(&bench, 180, 220);
        for action in ALL {
            assert!(help.contains(action.help.get(lang)), "{}", action.name);
            assert!(help.contains(&format!(":{}", action.name)));
        }
        let digit = |key: &str| key.parse::<u8>().is_ok();
        for binding in bench.view.keys.bindings() {
            for key in binding.keys.iter().filter(|key| !digit(key)) {
                assert!(help.contains(key.as_str()), "{key}");
            }
        }
    }
}

#[test]
fn commands_are_asked_for_and_shown_as_pending_until_confirmed() {
    let mut bench = normal();
    for (key, command) in [
        ("p", Command::Pause { hard: false }),
        ("p", Command::Resume),
        ("P", Command::Pause { hard: true }),
        ("c", Command::Checkpoint { tag: None }),
        ("s", Command::Sample),
        ("e", Command::Eval),
    ] {
        bench.press(key);
        assert_eq!(asked(&mut bench), [command], "{key}");
    }
    let ids: Vec<u64> = bench.state.pending.iter().map(|p| p.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.state.status, Status::Running);
    assert!(text(&bench, 120, 24).contains("evaluating..."));
    hear_all(
        &mut bench,
        &[event(
            Body::Paused {
                step: 640,
                reason: None,
                hard: false,
            },
            0,
        )],
    );
    bench.state.pending.clear();
    bench.press("p");
    assert_eq!(asked(&mut bench), [Command::Resume]);
}

#[test]
fn leaving_asks_what_becomes_of_the_run() {
    let mut bench = normal();
    bench.press("q");
    assert!(bench.exit.is_none());
    bench.press("esc");
    assert!(bench.dialog.is_none() && bench.exit.is_none());
    bench.press("q");
    bench.press("d");
    assert_eq!(bench.exit, Some(Exit::Detach));

    let mut bench = normal();
    bench.press("q");
    bench.press("enter");
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
    assert!(bench.exit.is_none(), "the engine has not confirmed");
    let stopped = Body::Finished {
        step: 641,
        loss: 2.0,
        seconds: 1.0,
        reason: "stopped".into(),
    };
    hear_all(&mut bench, &[step(641), event(stopped, 0)]);
    assert_eq!(bench.exit, Some(Exit::Ended));

    let mut bench = normal();
    bench.press("q");
    bench.press("x");
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: false }]);
}

#[test]
fn a_finished_run_keeps_its_screen_and_takes_no_commands() {
    let mut bench = normal();
    let end = Body::Finished {
        step: 640,
        loss: 2.0,
        seconds: 1.0,
        reason: "max_steps".into(),
    };
    hear_all(&mut bench, &[event(end, 0)]);
    assert!(bench.exit.is_none());
    bench.press("c");
    assert!(bench.outbox.is_empty());
    bench.press("q");
    assert_eq!(bench.exit, Some(Exit::Ended));
    // A machine that is taken away does not wait for a key.
    let mut bench = normal();
    let end = Body::Finished {
        step: 640,
        loss: 2.0,
        seconds: 1.0,
        reason: "preempted".into(),
    };
    hear_all(&mut bench, &[event(end, 0)]);
    assert_eq!(bench.exit, Some(Exit::Ended));
}

#[test]
fn ctrl_c_stops_and_twice_within_five_seconds_exits() {
    let mut bench = normal();
    bench.press("q");
    bench.press("ctrl-c");
    assert!(bench.dialog.is_none());
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
    bench.now = Duration::from_secs(6);
    bench.press("ctrl-c");
    assert!(bench.exit.is_none());
    bench.now = Duration::from_secs(8);
    bench.press("ctrl-c");
    assert_eq!(bench.exit, Some(Exit::Hard));
}

#[test]
fn frozen_the_display_stands_still_and_the_header_goes_on() {
    let mut bench = normal();
    bench.press("f");
    let row = |bench: &Workbench, y: usize| text(bench, 100, 30).lines().nth(y).unwrap().to_owned();
    let (header, chart) = (row(&bench, 0), row(&bench, 5));
    assert!(header.contains("FROZEN"));
    (641..700).for_each(|s| bench.hear(&step(s)));
    assert_ne!(row(&bench, 0), header);
    assert_eq!(row(&bench, 5), chart);
    bench.press("f");
    assert!(!row(&bench, 0).contains("FROZEN"));
    assert_ne!(row(&bench, 5), chart);
}

#[test]
fn an_engine_that_falls_silent_is_noticed() {
    let mut bench = normal();
    bench.now = Duration::from_secs(4);
    assert!(!text(&bench, 120, 24).contains("silent"));
    bench.now = Duration::from_secs(42);
    assert!(text(&bench, 120, 24).contains("silent for 42s"));
    hear_all(
        &mut bench,
        &[event(
            Body::Paused {
                step: 640,
                reason: None,
                hard: false,
            },
            0,
        )],
    );
    bench.now = Duration::from_mins(70);
    assert!(!text(&bench, 120, 24).contains("silent"));
}

#[test]
fn the_view_is_changed_by_keys_and_told_in_the_chart() {
    let mut bench = normal();
    for key in ["y", "t", "z", "S"] {
        bench.press(key);
    }
    let shown = text(&bench, 120, 30);
    for words in ["x tokens", "y log", "zoom 2x", "smooth 0.95"] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    bench.press("G");
    assert_eq!(bench.view.cursor, Some(640));
    bench.press("H");
    assert_eq!(bench.view.cursor, Some(600));
    bench.press("H");
    assert_eq!(bench.view.cursor, Some(500));
    bench.press("L");
    assert_eq!(bench.view.cursor, Some(600));
    bench.press("esc");
    assert_eq!((bench.view.cursor, bench.view.zoom), (None, 1));
    bench.press("esc");
    assert_eq!(bench.view.zoom, 0);
    bench.press("backtab");
    assert_eq!(bench.current, bench.panels.len() - 1);
    bench.press("esc");
    assert_eq!(bench.current, 0);
    bench.press("ctrl-z");
    assert_eq!(bench.wants, Some(Wants::Suspend));
}

#[test]
fn colours_mean_the_same_in_every_palette_and_none_is_used_under_no_color() {
    for (_, palette) in Palette::ALL {
        let mut bench = normal();
        bench.view.theme = Theme::new(palette);
        bench.view.glyphs = GlyphSet::Octant;
        let area = Rect::new(0, 0, 160, 50);
        let mut buffer = Buffer::empty(area);
        bench.render(area, &mut buffer);
        let coloured = buffer.content.iter().filter(|c| {
            c.style()
                .fg
                .is_some_and(|c| c != ratatui::style::Color::Reset)
        });
        assert_eq!(coloured.count() == 0, palette == Palette::Mono);
    }
}

#[test]
fn a_frame_of_a_long_run_is_drawn_in_a_few_milliseconds() {
    let mut bench = bench();
    hear_all(&mut bench, &events(200));
    for s in 201..200_000 {
        bench.hear(&step(s));
    }
    let area = Rect::new(0, 0, 200, 60);
    let mut buffer = Buffer::empty(area);
    bench.render(area, &mut buffer);
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        bench.render(area, &mut buffer);
    }
    // About 2 ms on one core; the bound leaves room for a busy machine.
    assert!(
        begin.elapsed() < Duration::from_millis(250),
        "{:?}",
        begin.elapsed() / 5
    );
    eprintln!("{:?} a frame", begin.elapsed() / 5);
}
