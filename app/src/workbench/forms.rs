//! Forms: a key is changed, a change taken back, and the file told, each with the effect seen first.

use engine::link::{Body, Command};

use super::fixture::{applied, asked, event, line, normal, press, set, text, type_text};
use crate::chart::glyph::GlyphSet;
use crate::prompt::Prompt;

#[test]
fn what_weighs_is_asked_first() {
    let mut bench = normal();
    bench.press("X");
    insta::assert_snapshot!("stop", text(&bench, 80, 24));
    press(&mut bench, &["s", "esc"]);
    assert!(bench.prompt.is_none() && bench.outbox.is_empty() && !bench.leaving);
    press(&mut bench, &["X", "enter"]);
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
    assert!(bench.leaving);
    let mut bench = normal();
    bench.press("C");
    assert!(text(&bench, 80, 24).contains(":ckpt tag _"));
    type_text(&mut bench, "good");
    bench.press("enter");
    let tag = Some("good".to_owned());
    assert_eq!(asked(&mut bench), [Command::Checkpoint { tag }]);
    // Ctrl-C is a way out of everything.
    press(&mut bench, &["X", "ctrl-c"]);
    assert!(bench.prompt.is_none());
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
}

#[test]
fn a_key_is_edited_in_its_form_with_the_effect_seen_first() {
    let mut bench = normal();
    bench.press("6");
    bench.press("enter");
    assert!(text(&bench, 80, 24).contains("start a new one"), "run.name");
    press(&mut bench, &["/"]);
    type_text(&mut bench, "optimizer.lr");
    press(&mut bench, &["enter", "enter"]);
    insta::assert_snapshot!("edit-lr", text(&bench, 80, 24));
    press(&mut bench, &["ctrl-u"]);
    type_text(&mut bench, "0,5");
    assert!(text(&bench, 80, 24).contains("expected a number"));
    bench.press("enter");
    assert!(bench.prompt.is_some() && bench.outbox.is_empty());
    press(&mut bench, &["ctrl-u"]);
    type_text(&mut bench, "5e-4");
    insta::assert_snapshot!("edit-lr-half", text(&bench, 80, 24));
    bench.view.glyphs = GlyphSet::Ascii;
    insta::assert_snapshot!("edit-lr-ascii", text(&bench, 80, 24));
    bench.press("enter");
    assert_eq!(asked(&mut bench), [set("optimizer.lr", "5e-4")]);

    // A choice is chosen, not typed.
    line(&mut bench, "set schedule.kind");
    for kind in ["wsd", "constant", "linear", "cosine", "wsd"] {
        bench.press("right");
        let shown = text(&bench, 100, 30);
        assert!(shown.contains(&format!("[{kind}]")), "{shown}");
    }
    insta::assert_snapshot!("edit-kind", text(&bench, 80, 24));
    bench.press("enter");
    assert_eq!(asked(&mut bench), [set("schedule.kind", "wsd")]);
    // Typed whole, what touches the learning rate is still shown before.
    line(&mut bench, "set train.max_steps 4000");
    assert!(matches!(bench.prompt, Some(Prompt::Edit(_))));
    bench.press("enter");
    assert_eq!(asked(&mut bench), [set("train.max_steps", "4000")]);
    // Keys that contradict each other.
    line(&mut bench, "set schedule.min_lr 3");
    let shown = text(&bench, 80, 24);
    press(&mut bench, &["enter"]);
    let sent = asked(&mut bench);
    assert!(shown.contains("min_lr") && sent.len() <= 1, "{shown}");
}

#[test]
fn the_last_live_edit_is_undone_as_a_new_version() {
    let mut bench = normal();
    bench.state.versions.clear();
    bench.hear(&applied(7, "train.clip_norm", "1.0", "2.0"));
    bench.hear(&applied(8, "schedule.lr_scale", "1.0", "0.5"));
    bench.press("u");
    insta::assert_snapshot!("undo", text(&bench, 80, 24));
    bench.press("enter");
    assert_eq!(asked(&mut bench), [set("schedule.lr_scale", "1.0")]);
    bench.hear(&applied(9, "schedule.lr_scale", "0.5", "1.0"));
    press(&mut bench, &["u", "enter"]);
    assert_eq!(asked(&mut bench), [set("train.clip_norm", "1.0")]);
    press(&mut bench, &["6", "v"]);
    insta::assert_snapshot!("history", text(&bench, 80, 24));
    press(&mut bench, &["k", "enter"]);
    let shown = text(&bench, 80, 24);
    assert!(shown.contains("as it was"), "v8 is taken back: {shown}");
    press(&mut bench, &["g", "enter"]);
    assert!(text(&bench, 80, 24).contains("undo v7"));
}

#[test]
fn an_edit_goes_into_the_file_once_the_engine_has_taken_it() {
    let mut bench = normal();
    bench.file = Some("nano.toml".into());
    let mut edit = |value: &str, refused: bool| {
        line(&mut bench, "set train.clip_norm");
        press(&mut bench, &["ctrl-u", "tab"]);
        type_text(&mut bench, value);
        assert!(text(&bench, 80, 24).contains("[x] also write to nano.toml"));
        bench.press("enter");
        let id = bench.outbox.pop().unwrap().id;
        assert!(bench.to_file.is_empty(), "not before it is taken");
        bench.hear(&event(
            Body::Reply {
                step: 640,
                id,
                command: "set".into(),
                refused,
                message: String::new(),
            },
            640,
        ));
        std::mem::take(&mut bench.to_file)
    };
    assert_eq!(edit("0.5", true), []);
    assert_eq!(
        edit("0.7", false),
        [("train.clip_norm".to_owned(), "0.7".to_owned())]
    );
    press(&mut bench, &["6", "/"]);
    type_text(&mut bench, "weight_decay");
    press(&mut bench, &["enter", "w"]);
    assert_eq!(
        bench.to_file,
        [("optimizer.weight_decay".to_owned(), "0.1".to_owned())]
    );
}

#[test]
fn a_value_has_its_room_before_its_class_and_source() {
    let mut bench = normal();
    bench.press("6");
    press(&mut bench, &["/"]);
    type_text(&mut bench, "optimizer.lr");
    press(&mut bench, &["enter"]);
    let mut before = usize::MAX;
    for width in (30..=160).rev() {
        let seen = text(&bench, width, 12);
        let row = seen
            .lines()
            .find(|line| line.contains("> optimizer") || line.contains(">optimizer"));
        let row = row.unwrap_or_else(|| panic!("{width}\n{seen}"));
        assert!(row.contains("0.001"), "{width}\n{seen}");
        // The class goes first; nothing is cut.
        let beside = ["file", "live"]
            .iter()
            .take_while(|word| row.contains(**word))
            .count();
        assert!(beside == 2 || !row.contains("liv"), "{width}\n{seen}");
        assert!(beside <= before && !row.contains('~'), "{width}\n{seen}");
        before = beside;
    }
    assert_eq!(before, 0);
}
