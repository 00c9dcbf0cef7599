//! The screen of a run that another process trains, or nobody: what it may ask, and what it says of the run.

use std::time::Duration;

use engine::link::{Body, Command};

use super::chinese::english;
use super::fixture::{asked, event, normal, text};
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
    assert!(text(&bench, 100, 24).contains("RECORD"));
    assert_eq!(bench.exit, None, "the screen stays");
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
    bench.disconnected();
    assert_eq!(
        bench.state.status,
        Status::Failed("the run's folder is gone".to_owned())
    );
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
