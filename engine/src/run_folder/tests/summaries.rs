//! What the summary of a run says after going back, of a fork, and of a live edit.

use super::super::list::Summary;
use super::*;
use crate::link::Change;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// A checkpoint that tells tokens and loss of its step.
fn save_with(folder: &RunFolder, step: u64, loss: f64) {
    let trainer = TrainerState {
        step,
        tokens: 10 * step,
        counters: vec![(TrainerState::LOSS.to_owned(), loss)],
        ..TrainerState::default()
    };
    save_as(folder, &trainer);
}

fn resumed(step: u64, attempt: u32) -> Event {
    event(Body::Resumed {
        step,
        path: format!("checkpoints/step_{step:08}"),
        attempt,
    })
}

fn finished(step: u64, loss: f64) -> Event {
    event(Body::Finished {
        step,
        loss,
        seconds: 1.0,
        reason: "stopped".to_owned(),
    })
}

fn applied(key: &str, to: &str) -> Event {
    event(Body::ConfigApplied {
        step: 3,
        version: 2,
        changes: vec![Change {
            key: key.to_owned(),
            from: String::new(),
            to: to.to_owned(),
        }],
    })
}

/// Step, tokens, loss, validation loss.
fn stands(summary: &Summary) -> (u64, u64, Option<f64>, Option<f64>) {
    let Summary {
        step,
        tokens,
        loss,
        validation_loss,
        ..
    } = *summary;
    (step, tokens, loss, validation_loss)
}

/// More of a record than is looked at from its end.
fn bury(events: &mut EventWriter) {
    let text = "x".repeat(1 << 16);
    for _ in 0..17 {
        let message = text.clone();
        let note = true;
        let step = 0;
        let said = event(Body::Warning {
            step,
            message,
            note,
        });
        events.append(&said).unwrap();
    }
}

#[test]
fn after_going_back_it_tells_the_step_that_counts() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let mut events = folder.events().unwrap();
    events.append(&started(1, 0)).unwrap();
    for s in 1..=4 {
        events.append(&step(s, 1)).unwrap();
    }
    events.append(&eval(2, 0.5)).unwrap();
    for s in 5..=8 {
        events.append(&step(s, 1)).unwrap();
    }
    events.append(&eval(8, 0.25)).unwrap();
    let there = |expected| assert_eq!(stands(&summary(folder.path())), expected);
    there((8, 80, Some(1.008), Some(0.25)));
    // To a step that the record has; with the checkpoint gone too.
    events.append(&resumed(5, 2)).unwrap();
    there((5, 50, Some(1.005), Some(0.5)));
    assert_eq!(summary(folder.path()).attempt, 2);
    events.append(&finished(5, 1.005)).unwrap();
    there((5, 50, Some(1.005), Some(0.5)));
    // The same where all of that lies far back.
    bury(&mut events);
    drop(events);
    there((5, 50, Some(1.005), Some(0.5)));
    // Another attempt that begins further back, before its first step and behind it.
    let mut events = folder.events().unwrap();
    events.append(&started(3, 1)).unwrap();
    events.append(&resumed(1, 3)).unwrap();
    there((1, 10, Some(1.001), None));
    events.append(&step(2, 3)).unwrap();
    there((2, 20, Some(3.002), None));
    // The loss of a step whose update was not made is not that of the last one done.
    events.append(&finished(2, f64::NAN)).unwrap();
    there((2, 20, Some(3.002), None));
}

#[test]
fn a_fork_without_a_step_stands_where_its_parent_stood() {
    let runs = scratch();
    let parent = Some(Parent {
        run: "base".to_owned(),
        step: 500,
    });
    let origin = Origin { parent, ..origin() };
    let folder = RunFolder::create(runs.path(), "fork", NameFrom::Flag, &origin).unwrap();
    save_with(&folder, 500, 1.5);
    folder.save_config(1, "[train]\nmax_steps = 900\n").unwrap();
    let path = folder.path().to_owned();
    let expected = (500, 5000, Some(1.5), None);
    let found = summary(&path);
    assert_eq!((stands(&found), found.max_steps), (expected, Some(900)));
    let mut events = folder.events().unwrap();
    events.append(&started(1, 500)).unwrap();
    events.append(&resumed(500, 1)).unwrap();
    assert_eq!(stands(&summary(&path)), expected);
    events.append(&step(501, 1)).unwrap();
    assert_eq!(
        stands(&summary(&path)),
        (501, 5010, Some(1.501), None),
        "its own"
    );
    // A checkpoint that is gone tells nothing; the end of the run does.
    events.append(&resumed(500, 2)).unwrap();
    fs::remove_dir_all(folder.checkpoints()).unwrap();
    assert_eq!(stands(&summary(&path)), (500, 0, None, None));
    events.append(&finished(500, 1.5)).unwrap();
    assert_eq!(stands(&summary(&path)), (500, 0, Some(1.5), None));
}

#[test]
fn a_live_edit_moves_the_end() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    folder.save_config(1, "[train]\nmax_steps = 100\n").unwrap();
    set_up_events(&folder);
    let end = || summary(folder.path()).max_steps;
    assert_eq!(end(), Some(100));
    let mut events = folder.events().unwrap();
    events.append(&applied("optimizer.lr", "7")).unwrap();
    assert_eq!(end(), Some(100));
    folder
        .save_config(2, "[train]\nmax_steps = 5000 # more\n")
        .unwrap();
    events.append(&applied("train.max_steps", "5000")).unwrap();
    assert_eq!(end(), Some(5000));
    // Far back in the record, the newest configuration knows it still.
    bury(&mut events);
    assert_eq!(end(), Some(5000));
    events.append(&applied("train.max_steps", "6000")).unwrap();
    assert_eq!(
        end(),
        Some(6000),
        "a disk that was full has no version of it"
    );
    events.append(&started(2, 3)).unwrap();
    assert_eq!(end(), Some(100), "the next attempt says its own");
}

#[test]
fn a_folder_whose_name_is_no_text_is_told_all_the_same() {
    let runs = scratch();
    let runs = runs.path().join(OsStr::from_bytes(b"nu\xff"));
    drop(create(&runs, "a"));
    let found = list(&runs).unwrap();
    let told = serde_json::to_value(&found).unwrap();
    let path = told[0]["path"].as_str().unwrap();
    assert!(path.ends_with("nu\u{fffd}/a"), "{path}");
    assert_eq!(found[0].path, runs.join("a"), "the path itself is whole");
}
