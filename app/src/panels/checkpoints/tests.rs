//! The list at several widths, what its keys ask for, and what is said where nothing can be asked.

use engine::checkpoint::{Surveyed, folder_name};
use engine::link::{Body, Command, Event};
use std::path::PathBuf;
use std::sync::Arc;

use super::diff::differences;
use crate::errand::{Errand, News, Verdict};
use crate::lang::Lang;
use crate::seat::Seat;
use crate::workbench::Workbench;
use crate::workbench::fixture::{
    applied, asked, bench, checkpoint, event, events, hear_all, line, press, text, type_text,
};

fn surveyed(step: u64, lr: &str) -> Surveyed {
    Surveyed {
        step,
        path: PathBuf::from("runs/demo/checkpoints").join(folder_name(step)),
        bytes: 54_601_728,
        reason: "interval".to_owned(),
        tag: None,
        best: false,
        fault: None,
        stamps: Vec::new(),
        config_version: Some(if step < 900 { 1 } else { 2 }),
        config: Arc::new(vec![
            ("optimizer.lr".to_owned(), lr.to_owned()),
            ("train.clip_norm".to_owned(), "1.0".to_owned()),
        ]),
    }
}

/// A run with a tagged, a damaged, a best and an ordinary checkpoint, on the screen of checkpoints.
fn shelf() -> Workbench {
    let mut bench = bench();
    hear_all(&mut bench, &events(1240));
    bench.hear(&applied(3, "train.keep_last", "3", "2"));
    hear_all(
        &mut bench,
        &[checkpoint(1200, "best"), checkpoint(1240, "command")],
    );
    let found = [
        Surveyed {
            tag: Some("before the spike".to_owned()),
            ..surveyed(500, "0.001")
        },
        surveyed(1000, "0.0005"),
        Surveyed {
            best: true,
            ..surveyed(1200, "0.0005")
        },
        surveyed(1240, "0.0005"),
    ];
    let number = bench.state.num_shelved;
    bench.deliver(&News::Survey(number, Ok(Arc::new(found.to_vec()))));
    let verified = |step: u64, message: Option<&str>| Body::CheckpointVerified {
        step,
        path: format!("checkpoints/{}", folder_name(step)),
        valid: message.is_none(),
        seconds: 0.2,
        message: message.map(str::to_owned),
    };
    bench.hear(&event(verified(1240, None), 230));
    let why = "model.safetensors is not what was written (its hash differs)";
    bench.hear(&event(verified(1000, Some(why)), 231));
    press(&mut bench, &["5"]);
    bench
}

#[test]
fn columns_fall_away_by_priority() {
    let mut bench = shelf();
    press(&mut bench, &["k", "k"]);
    for (width, height) in [(40, 10), (80, 24), (160, 50)] {
        insta::assert_snapshot!(
            format!("shelf-{width}x{height}"),
            text(&bench, width, height)
        );
    }
    bench.view.lang = Lang::Zh;
    insta::assert_snapshot!("shelf-zh", text(&bench, 80, 24));
    let all = [
        "step", "loss", "kept", "verified", "val", "size", "config", "took", "why",
    ];
    let mut before = usize::MAX;
    bench.view.lang = Lang::En;
    for width in (30..120).rev() {
        let seen = text(&bench, width, 24);
        let head = seen
            .lines()
            .find(|line| line.contains("step "))
            .unwrap_or("");
        let head = seen
            .lines()
            .find(|line| line.contains(" loss "))
            .unwrap_or(head);
        let num = all.iter().take_while(|name| head.contains(*name)).count();
        assert!(num <= before && num >= 2, "{width}: {head}");
        assert_eq!(
            all.iter().filter(|name| head.contains(*name)).count(),
            num,
            "{width}: {head}"
        );
        before = num;
    }
    assert!(before < all.len());
}

#[test]
fn keys_ask_the_engine() {
    let mut bench = shelf();
    press(&mut bench, &["k", "T"]);
    type_text(&mut bench, "good one");
    press(&mut bench, &["enter"]);
    let tag = Command::Tag {
        step: 1200,
        name: "good one".to_owned(),
    };
    assert_eq!(asked(&mut bench), [tag]);
    press(&mut bench, &["v"]);
    assert_eq!(asked(&mut bench), [Command::Verify { step: 1200 }]);
    press(&mut bench, &["g", "U"]);
    assert_eq!(asked(&mut bench), [Command::Untag { step: 500 }]);
    press(&mut bench, &["D"]);
    let seen = text(&bench, 80, 24);
    for part in [
        "step 500 goes for good: 52.1 MiB",
        "tagged before the spike",
    ] {
        assert!(seen.contains(part), "{part}\n{seen}");
    }
    press(&mut bench, &["esc"]);
    assert_eq!(asked(&mut bench), []);
    press(&mut bench, &["j", "j", "D"]);
    assert!(text(&bench, 80, 24).contains("lowest validation loss"));
    press(&mut bench, &["y"]);
    let id = bench.next_id - 1;
    assert_eq!(asked(&mut bench), [Command::Delete { step: 1200 }]);
    let answer = |id| Body::Reply {
        step: 1240,
        id,
        command: "delete".to_owned(),
        refused: true,
        message: "the disk says no".to_owned(),
    };
    bench.hear(&event(answer(id + 40), 240));
    assert!(
        !text(&bench, 80, 24).contains("the disk says no"),
        "another screen's"
    );
    bench.hear(&event(answer(id), 240));
    assert!(text(&bench, 80, 24).contains("the disk says no"));
    press(&mut bench, &["G", "D"]);
    assert!(text(&bench, 80, 24).contains("newest good one"));
    press(&mut bench, &["esc"]);
    bench.start("delete 1,200");
    assert!(text(&bench, 80, 24).contains("step 1,200 goes for good"));
    press(&mut bench, &["esc"]);
    line(&mut bench, "delete 500");
    assert_eq!(asked(&mut bench), [Command::Delete { step: 500 }]);
    for (wrong, part) in [
        ("delete soon", "expected a step"),
        ("tag -1 x", "expected a step"),
        ("untag 5 6", "expected a step"),
        ("verify 99999999999999999999", "expected a step"),
    ] {
        line(&mut bench, wrong);
        assert!(text(&bench, 100, 24).contains(part), "{wrong}");
        press(&mut bench, &["esc"]);
    }
    assert_eq!(asked(&mut bench), []);
}

fn deleted(step: u64) -> Event {
    let gone = Body::CheckpointDeleted {
        step: 1250,
        path: format!("checkpoints/{}", folder_name(step)),
        bytes: 54_601_728,
        reason: "keep_last".to_owned(),
        leftover: None,
    };
    event(gone, 250)
}

/// The row with the mark of the chosen one.
fn chosen_row(bench: &Workbench) -> String {
    let seen = text(bench, 80, 24);
    let row = seen.lines().find(|line| line.starts_with("\u{2502}>"));
    row.unwrap_or_else(|| panic!("{seen}")).to_owned()
}

#[test]
fn the_chosen_one_stays_whatever_comes_and_goes() {
    let mut bench = shelf();
    bench.hear(&checkpoint(1250, "interval"));
    assert!(chosen_row(&bench).contains("1,250"), "the newest, unasked");
    press(&mut bench, &["k", "k"]);
    assert!(chosen_row(&bench).contains("1,200"));
    hear_all(
        &mut bench,
        &[deleted(500), checkpoint(1260, "interval"), deleted(1000)],
    );
    assert!(chosen_row(&bench).contains("1,200"));
    press(&mut bench, &["v", "U"]);
    let wanted = [
        Command::Verify { step: 1200 },
        Command::Untag { step: 1200 },
    ];
    assert_eq!(asked(&mut bench), wanted);
    // Once it is gone, the one after it.
    bench.hear(&deleted(1200));
    assert!(chosen_row(&bench).contains("1,240"));
    bench.hear(&checkpoint(1270, "interval"));
    assert!(chosen_row(&bench).contains("1,240"));
    press(&mut bench, &["j", "j", "j"]);
    bench.hear(&checkpoint(1280, "interval"));
    assert!(chosen_row(&bench).contains("1,270"), "it was chosen");
    press(&mut bench, &["G"]);
    bench.hear(&checkpoint(1290, "interval"));
    assert!(chosen_row(&bench).contains("1,290"), "the newest, as asked");
}

#[test]
fn a_question_is_about_the_step_that_it_names() {
    for lang in [Lang::En, Lang::Zh] {
        let ask = || {
            let mut bench = shelf();
            press(&mut bench, &["r"]);
            hear_all(
                &mut bench,
                &[deleted(500), deleted(1000), checkpoint(1250, "interval")],
            );
            assert!(text(&bench, 80, 24).contains("to step 1,240"));
            assert!(chosen_row(&bench).contains("1,240"));
            bench.view.lang = lang;
            bench
        };
        let mut bench = ask();
        press(&mut bench, &["y"]);
        let back = Command::Rollback {
            step: Some(1240),
            lr_scale: None,
        };
        assert_eq!(asked(&mut bench), [back]);
        let mut bench = ask();
        bench.hear(&deleted(1240));
        press(&mut bench, &["y"]);
        assert_eq!(asked(&mut bench), []);
        let seen = text(&bench, 80, 24);
        let told = match lang {
            Lang::En => "the checkpoint of step 1,240 is deleted meanwhile",
            Lang::Zh => "第 1,240 步的检查点其间已被删除",
        };
        assert!(seen.contains(told), "{seen}");
        // A fork of it as well.
        let mut bench = ask();
        press(&mut bench, &["esc", "F", "x", "enter"]);
        bench.deliver(&News::Plan(Ok(vec!["a fork of t@1240".to_owned()])));
        bench.hear(&deleted(1240));
        press(&mut bench, &["y"]);
        let forks = |errand: &Errand| matches!(errand, Errand::Fork(_));
        assert!(!bench.errands.iter().any(forks));
        assert!(text(&bench, 80, 24).contains(told));
    }
}

#[test]
fn questions_are_whole_with_their_keys_at_any_width() {
    let solid = |words: &str| words.replace([' ', '\n', '\u{2502}'], "");
    let plan = [
        "a fork of t@1240",
        "optimizer.lr = 0.0001 (the parent: 0.0005)",
        "schedule.kind = \"cosine\" (the parent: \"wsd\")",
        "760 steps are left to train.max_steps = 2000",
    ];
    let refused = "train.max_steps: expected a whole number from 1 on, found \"abc\"";
    for (lang, back, starts, leaves) in [
        (
            Lang::En,
            "go back in place to step 1,240: 0 steps are trained again y goes back, Esc stays",
            "y starts it in the background, Esc does not",
            "Esc goes back to the list",
        ),
        (
            Lang::Zh,
            "原地回退到步 1,240: 0 步将重新训练 y 回退, Esc 取消",
            "y 在后台启动, Esc 取消",
            "Esc 返回列表",
        ),
    ] {
        for (width, height) in [(80, 24), (60, 20), (40, 24), (40, 12)] {
            let mut bench = shelf();
            bench.view.lang = lang;
            let whole = |bench: &Workbench, words: &str| {
                let seen = text(bench, width, height);
                assert!(solid(&seen).contains(&solid(words)), "{words}\n{seen}");
            };
            press(&mut bench, &["r"]);
            whole(&bench, back);
            press(&mut bench, &["esc", "F"]);
            let hint = match lang {
                Lang::En => "key=value changes, as in: slow optimizer.lr=1e-4",
                Lang::Zh => "key=value 修改, 例如: slow optimizer.lr=1e-4",
            };
            whole(&bench, hint);
            press(&mut bench, &["x", "enter"]);
            let lines = plan.map(str::to_owned).to_vec();
            bench.deliver(&News::Plan(Ok(lines)));
            whole(&bench, starts);
            for line in plan.iter().filter(|_| height > 12) {
                whole(&bench, &lang.say(line));
            }
            press(&mut bench, &["esc", "F", "x", "enter"]);
            bench.deliver(&News::Plan(Err(refused.to_owned())));
            whole(&bench, &lang.say(refused));
            whole(&bench, leaves);
        }
    }
}

#[test]
fn a_plan_without_room_says_how_much_is_not_seen() {
    let mut bench = shelf();
    press(&mut bench, &["F", "x", "enter"]);
    let lines = (1..=40).map(|number| format!("line {number}")).collect();
    bench.deliver(&News::Plan(Ok(lines)));
    for (height, parts) in [
        (24, ["line 16", "... 24 more lines", "y starts it"]),
        (9, ["line 3", "... 37 more lines", "y starts it"]),
        (7, ["line 1", "... 39 more lines", "y starts it"]),
    ] {
        let seen = text(&bench, 80, height);
        assert!(parts.iter().all(|part| seen.contains(part)), "{seen}");
    }
}

#[test]
fn who_cannot_ask_is_told_and_may_still_look() {
    for over in [false, true] {
        let mut bench = shelf();
        bench.state.reach.folder = Some(PathBuf::from("runs/demo"));
        let why = if over {
            let end = Body::Finished {
                step: 1240,
                loss: 1.0,
                seconds: 1.0,
                reason: "stopped".into(),
            };
            bench.hear(&event(end, 240));
            "the run is over"
        } else {
            bench.seat = Seat::Watching;
            "looks on only"
        };
        for key in ["r", "T", "U", "D"] {
            press(&mut bench, &[key]);
            let seen = text(&bench, 100, 24);
            assert!(
                seen.contains(why) && bench.prompt.is_none(),
                "{key}\n{seen}"
            );
            assert!(!seen.contains("go back in place"), "{seen}");
        }
        press(&mut bench, &["v"]);
        assert_eq!(asked(&mut bench), []);
        let errand = Errand::Verify(1240);
        assert_eq!(bench.errands.iter().filter(|e| **e == errand).count(), 1);
        let tell = |bench: &mut Workbench, found: Verdict| {
            let time = "2026-03-02T09:08:07Z".to_owned();
            bench.deliver(&News::Verified(1240, time, found));
            text(bench, 100, 24)
        };
        let seen = tell(&mut bench, Verdict::Damaged("it is short".to_owned()));
        assert!(
            seen.contains("damaged") && seen.contains("it is short"),
            "{seen}"
        );
        let seen = tell(&mut bench, Verdict::Gone);
        assert!(seen.contains("set aside meanwhile"), "{seen}");
    }
}

#[test]
fn configurations_are_compared() {
    let mut bench = shelf();
    press(&mut bench, &["g", "space", "j", "d"]);
    let seen = text(&bench, 80, 24);
    for part in ["500 v1 -> 1,000 v2", "optimizer.lr", "0.001 -> 0.0005"] {
        assert!(seen.contains(part), "{part}\n{seen}");
    }
    assert!(!seen.contains("clip_norm"), "{seen}");
    // The other way round it is the same comparison; and the marked one is compared with what is in force.
    press(&mut bench, &["esc", "space", "g", "d"]);
    assert!(text(&bench, 80, 24).contains("500 v1 -> 1,000 v2"));
    press(&mut bench, &["d", "j", "d"]);
    let seen = text(&bench, 80, 24);
    assert!(seen.contains("1,000 v2 -> now v3"), "{seen}");
    insta::assert_snapshot!("shelf-diff", seen);
    bench.view.lang = Lang::Zh;
    assert!(text(&bench, 80, 24).contains("1,000 v2 -> 现在 v3"));
    bench.view.lang = Lang::En;
    press(&mut bench, &["esc"]);
    assert!(text(&bench, 80, 24).contains("checkpoints 4"));
    let side = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let one = side(&[("a", "1"), ("b", "2")]);
    assert_eq!(differences(&one, &one), []);
    assert_eq!(differences(&one, &side(&[("a", "1"), ("c", "2")])).len(), 2);
}

#[test]
fn what_a_fork_would_be_is_said_in_the_language_of_the_screen() {
    let mut bench = shelf();
    bench.view.lang = Lang::Zh;
    let refused = "train.max_steps: expected a whole number from 1 on, found \"abc\"".to_owned();
    let lines = [
        "a fork of t@500",
        "nothing changes: it trains as its parent did",
    ];
    let lines = lines.map(str::to_owned).to_vec();
    for (plan, part) in [
        (Err(refused), "train.max_steps: 应为"),
        (Ok(lines), "与父训练完全相同"),
    ] {
        press(&mut bench, &["F", "x", "enter"]);
        bench.deliver(&News::Plan(plan));
        let seen = text(&bench, 100, 24);
        assert!(
            seen.contains(part) && !seen.contains("a fork of"),
            "{part}\n{seen}"
        );
        press(&mut bench, &["esc"]);
    }
}

#[test]
fn the_folder_is_looked_at_when_something_changed() {
    let mut bench = shelf();
    bench.poll();
    bench.tick();
    assert!(bench.errands.is_empty(), "no folder is known");
    bench.state.reach.folder = Some(PathBuf::from("runs/demo"));
    let surveys = |bench: &mut Workbench| {
        bench.poll();
        bench.tick();
        let errands = std::mem::take(&mut bench.errands);
        let surveys = errands.iter().filter(|e| matches!(e, Errand::Survey(_)));
        surveys.count()
    };
    assert_eq!(surveys(&mut bench), 1);
    assert_eq!(surveys(&mut bench), 0);
    bench.hear(&checkpoint(1241, "command"));
    assert_eq!(surveys(&mut bench), 1);
    bench.now += std::time::Duration::from_secs(6);
    assert_eq!(surveys(&mut bench), 0, "that look is still to be answered");
    let number = bench.state.num_shelved;
    bench.deliver(&News::Survey(number, Ok(Arc::default())));
    assert_eq!(surveys(&mut bench), 1);
}

#[test]
fn a_folder_that_cannot_be_read_is_said_so() {
    let mut bench = shelf();
    let number = bench.state.num_shelved;
    let why = "checkpoints: cannot be read: Permission denied (os error 13); see to its permissions and the disk";
    let unread = News::Survey(number, Err(why.to_owned()));
    let before = text(&bench, 80, 24);
    for (lang, words) in [
        (
            Lang::En,
            "the list may be old: checkpoints: cannot be read: Permission denied",
        ),
        (Lang::Zh, "列表可能已过时: checkpoints: 无法读取: Perm"),
    ] {
        bench.view.lang = lang;
        bench.deliver(&unread);
        for (width, height) in [(80, 24), (80, 12)] {
            let seen = text(&bench, width, height);
            assert!(seen.contains(words), "{seen}");
        }
    }
    bench.view.lang = Lang::En;
    insta::assert_snapshot!("shelf-unread", text(&bench, 80, 24));
    // What was found before stays, and a look that succeeds takes the line away.
    let found: Vec<Surveyed> = bench
        .state
        .checkpoints
        .iter()
        .map(|c| surveyed(c.step, "0.0005"))
        .collect();
    assert_eq!(found.len(), 4);
    bench.deliver(&News::Survey(number, Ok(Arc::new(found))));
    assert!(!text(&bench, 80, 24).contains("may be old"));
    assert!(!before.contains("may be old"));
    let mut bench = crate::workbench::fixture::bench();
    hear_all(&mut bench, &events(3));
    press(&mut bench, &["5"]);
    bench.deliver(&News::Survey(bench.state.num_shelved, Err(why.to_owned())));
    let seen = text(&bench, 120, 24);
    assert!(
        seen.contains("may be old") && !seen.contains("no checkpoint"),
        "{seen}"
    );
}
