//! The screen of a run that another process trains, or nobody: what it may ask, and what it says of the run.

use std::time::Duration;

use engine::link::{Body, Command};

use super::chinese::english;
use super::fixture::{asked, bench, event, events, hear_all, normal, press, text};
use super::{Exit, Workbench};
use crate::errand::{Errand, News};
use crate::lang::Lang;
use crate::seat::Seat;
use crate::state::Status;

#[test]
fn who_looks_on_asks_for_nothing_and_leaves_without_a_word() {
    for (seat, word) in [(Seat::ReadOnly, "READ-ONLY"), (Seat::Watching, "WATCHING")] {
        let mut bench = normal();
        bench.seat = seat;
        for key in ["p", "P", "c", "s", "e"] {
            bench.press(key);
        }
        assert_eq!(asked(&mut bench), [], "{seat:?}");
        assert!(bench.state.pending.is_empty());
        let shown = text(&bench, 100, 24);
        assert!(
            shown.contains(word) && !shown.contains("p pause"),
            "{shown}"
        );
        for key in ["q", "ctrl-c"] {
            bench.exit = None;
            bench.press(key);
            assert_eq!(
                (bench.exit, bench.dialog.is_some()),
                (Some(Exit::Detach), false)
            );
        }
        assert_eq!(asked(&mut bench), []);
    }
    let mut bench = normal();
    bench.seat = Seat::Watching;
    bench.disconnected();
    let shown = text(&bench, 100, 24);
    let header = shown.lines().next().unwrap();
    assert!(header.contains("INTERRUPTED  RECORD"), "{header}");
    assert_eq!(bench.exit, None, "the screen stays");
}

/// A run without samples and checkpoints.
fn young() -> Workbench {
    let mut bench = bench();
    hear_all(&mut bench, &events(3));
    bench.state.samples.clear();
    bench
}

#[test]
fn keys_are_named_only_where_the_engine_takes_them() {
    // The screen, a key that is pressed there, and in each language a hint and what stands there anyhow.
    let screens = [
        [
            "samples",
            "",
            "s writes one now",
            "no sample yet",
            "按 s 立即生成",
            "尚无样本",
        ],
        [
            "checkpoints",
            "",
            "c writes one now",
            "no checkpoint yet",
            "按 c 立即保存",
            "尚无检查点",
        ],
        ["checkpoints", "", "go back", "verify", "回退", "校验"],
        [
            "system",
            "",
            "r times the next five",
            "no step was timed",
            "按 r 测量",
            "尚未测量",
        ],
        [
            "attention",
            "",
            "Enter takes a prompt",
            "nothing was looked at",
            "按 Enter",
            "尚未查看",
        ],
        ["attention", "", " again ", " layer ", " 重看 ", " 层 "],
        [
            "config",
            "v",
            "Enter takes the chosen",
            "no live edit",
            "Enter 撤销",
            "尚无在线修改",
        ],
        [
            "chat",
            "enter",
            ": c writes one",
            "there is no checkpoint",
            ": 按 c 保存一个",
            "尚无检查点",
        ],
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("checkpoints")).unwrap();
    for (seat, over, asks) in [
        (Seat::Own, false, true),
        (Seat::Attached, false, true),
        (Seat::ReadOnly, false, false),
        (Seat::Watching, false, false),
        (Seat::Watching, true, false),
        (Seat::Own, true, false),
    ] {
        let mut bench = young();
        bench.seat = seat;
        bench.state.reach.folder = Some(folder.path().to_owned());
        if let Some(head) = &mut bench.state.started {
            head.chat_bytes = 0;
        }
        if over {
            bench.disconnected();
        }
        for [screen, key, hint, said, zh_hint, zh_said] in screens {
            bench.view.lang = Lang::En;
            bench.start(&format!("screen {screen}"));
            press(&mut bench, &[key]);
            bench.message = None;
            for (lang, hint, said) in [(Lang::En, hint, said), (Lang::Zh, zh_hint, zh_said)] {
                bench.view.lang = lang;
                let seen = text(&bench, 120, 30);
                assert!(seen.contains(said), "{screen}: {said}\n{seen}");
                assert_eq!(
                    seen.contains(hint),
                    asks,
                    "{seat:?} {over} {screen}: {hint}\n{seen}"
                );
            }
        }
    }
}

#[test]
fn a_folder_that_is_gone_is_said() {
    let mut bench = normal();
    bench.seat = Seat::Watching;
    bench.state.reach.folder = Some("runs/demo".into());
    bench.now += Duration::from_secs(2);
    bench.tick();
    assert!(bench.errands.contains(&Errand::Look));
    let told = |bench: &Workbench| {
        let lines = bench.state.log.iter();
        let told = lines.filter(|line| line.text.get(Lang::En).starts_with("runs/demo is"));
        (told.count(), text(bench, 80, 24).contains("FOLDER GONE"))
    };
    for (gone, lines) in [(false, 0), (true, 1), (true, 1), (false, 2), (true, 3)] {
        bench.deliver(&News::Gone(gone));
        assert_eq!(told(&bench), (lines, gone));
    }
    let header = text(&bench, 80, 24);
    let header = header.lines().next().unwrap();
    assert!(header.contains("WATCHING  FOLDER GONE"), "{header}");
    bench.view.lang = Lang::Zh;
    assert_eq!(english(&text(&bench, 160, 50)), [] as [String; 0]);
    assert_eq!(bench.state.status, Status::Running, "as far as is known");
    assert_eq!(english(&text(&bench, 160, 50)), [] as [String; 0]);
}

#[test]
fn an_attached_screen_asks_but_leaves_the_run_alone() {
    let mut bench = normal();
    (bench.seat, bench.next_id) = (Seat::Attached, 1 << 40);
    bench.press("p");
    bench.press("c");
    let ids: Vec<u64> = bench.outbox.iter().map(|request| request.id).collect();
    assert_eq!(ids, [1 << 40, (1 << 40) + 1]);
    let shown = text(&bench, 100, 24);
    assert!(
        shown.contains("ATTACHED") && shown.contains("p pause"),
        "{shown}"
    );
    bench.outbox.clear();
    bench.press("ctrl-c");
    assert_eq!(bench.exit.take(), Some(Exit::Detach));
    bench.press("q");
    bench.press("enter");
    assert_eq!(bench.exit.take(), Some(Exit::Detach));
    assert_eq!(asked(&mut bench), []);
    bench.press("q");
    bench.press("s");
    assert_eq!(asked(&mut bench), [Command::Stop { checkpoint: true }]);
    let mut bench = normal();
    bench.seat = Seat::Attached;
    bench.hear(&event(
        Body::Finished {
            step: 640,
            loss: 1.0,
            seconds: 1.0,
            reason: "preempted".into(),
        },
        99,
    ));
    assert_eq!(
        bench.exit, None,
        "only the machine's own process makes room"
    );
}
