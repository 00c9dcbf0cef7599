//! What the record and the disk say of checkpoints, folded together.

use engine::checkpoint::Surveyed;
use engine::link::{Body, Event};
use std::path::{Path, PathBuf};

use super::*;
use crate::workbench::fixture::{applied, bench, checkpoint, event, events, hear_all, step};

fn state_with(steps: &[u64]) -> State {
    let mut state = State::new(0.9);
    state.apply(&events(1)[0]);
    for at in steps {
        state.apply(&step(*at));
        state.apply(&checkpoint(*at, "interval"));
    }
    state
}

fn path(step: u64) -> String {
    format!("checkpoints/{}", folder_name(step))
}

fn tagged(step: u64, tag: Option<&str>) -> Event {
    let body = Body::CheckpointTagged {
        step,
        path: path(step),
        tag: tag.map(str::to_owned),
    };
    event(body, 100)
}

fn deleted(step: u64, reason: &str) -> Event {
    let body = Body::CheckpointDeleted {
        step,
        path: path(step),
        bytes: 7,
        reason: reason.to_owned(),
        leftover: None,
    };
    event(body, 100)
}

fn verified(step: u64, message: Option<&str>) -> Event {
    let body = Body::CheckpointVerified {
        step,
        path: path(step),
        valid: message.is_none(),
        seconds: 1.0,
        message: message.map(str::to_owned),
    };
    event(body, 100)
}

fn on_disk(step: u64) -> Surveyed {
    Surveyed {
        step,
        path: PathBuf::from("runs/r").join(path(step)),
        bytes: 10,
        reason: "interval".to_owned(),
        tag: None,
        best: false,
        fault: None,
        stamps: Vec::new(),
        config_version: Some(4),
        config: Arc::new(vec![("optimizer.lr".to_owned(), "0.001".to_owned())]),
    }
}

fn steps(state: &State) -> Vec<u64> {
    state.checkpoints.iter().map(|c| c.step).collect()
}

#[test]
fn the_record_says_what_the_engine_did() {
    let mut state = state_with(&[10, 20, 30]);
    assert_eq!(state.checkpoints[0].config_version, 1);
    state.apply(&tagged(10, Some("first")));
    state.apply(&deleted(20, "keep_last"));
    let logged = state.log.len();
    assert_eq!(steps(&state), [10, 30]);
    state.apply(&verified(30, None));
    assert_eq!(state.log.len(), logged + 1);
    assert_eq!(
        state.checkpoints[1].checked,
        Checked::Good("03-01 14:01".to_owned())
    );
    assert_eq!(state.newest_good(), Some(30));
    state.apply(&verified(30, Some("its hash differs")));
    assert_eq!(
        state.checkpoints[1].checked,
        Checked::Damaged("its hash differs".to_owned())
    );
    assert_eq!(state.newest_good(), Some(10));
    // Written anew it is another one.
    state.apply(&checkpoint(30, "command"));
    assert_eq!(state.checkpoints[1].checked, Checked::Never);
    assert_eq!(state.kept(&state.checkpoints[0]), [Kept::Tag("first")]);
    state.apply(&tagged(10, None));
    assert_eq!(state.checkpoints[0].tag, None);
    // Its reply repeats what the event has said.
    let lines = state.log.len();
    state.apply(&event(
        Body::Reply {
            step: 30,
            id: 9,
            command: "untag".to_owned(),
            refused: false,
            message: "no tag any more".to_owned(),
        },
        100,
    ));
    assert_eq!(state.log.len(), lines);
}

#[test]
fn what_is_gone_on_from_was_compared_with_its_hashes() {
    let mut state = state_with(&[10, 20]);
    let resumed = Body::Resumed {
        step: 10,
        path: path(10),
        attempt: 2,
    };
    state.apply(&event(resumed, 100));
    assert_eq!(steps(&state), [10]);
    assert!(matches!(state.checkpoints[0].checked, Checked::Good(_)));
    let paused = |hard| Body::Paused {
        step: 20,
        reason: None,
        hard,
    };
    let mut state = state_with(&[20]);
    state.apply(&event(paused(false), 100));
    assert_eq!(state.checkpoints[0].checked, Checked::Never);
    state.apply(&event(paused(true), 100));
    assert!(matches!(state.checkpoints[0].checked, Checked::Good(_)));
}

#[test]
fn reasons_to_stay_are_those_that_the_engine_has() {
    let mut bench = bench();
    hear_all(&mut bench, &events(1240));
    bench.hear(&applied(3, "train.keep_last", "3", "1"));
    let state = &bench.state;
    assert_eq!(steps(state), [500, 1000]);
    assert_eq!(state.kept(&state.checkpoints[0]), [Kept::Not]);
    // The best of the evaluations is that of step 1200, which has no checkpoint.
    assert_eq!(state.kept(&state.checkpoints[1]), [Kept::Last]);
    bench.hear(&applied(4, "train.keep_last", "1", "0"));
    let state = &bench.state;
    assert_eq!(state.kept(&state.checkpoints[0]), [Kept::All]);
    let best = Surveyed {
        best: true,
        tag: Some("a".to_owned()),
        ..on_disk(500)
    };
    let number = bench.state.num_shelved;
    bench.state.survey(number, &[best, on_disk(1000)]);
    let state = &bench.state;
    assert_eq!(
        state.kept(&state.checkpoints[0]),
        [Kept::Tag("a"), Kept::Best]
    );
}

#[test]
fn the_disk_has_the_last_word_until_the_engine_speaks_again() {
    let mut state = state_with(&[10, 20, 30]);
    let number = state.num_shelved;
    let damaged = Surveyed {
        fault: Some("model.safetensors has 5 bytes".to_owned()),
        ..on_disk(30)
    };
    // The first of a fork is in no event, and what an older record has deleted neither.
    let found = [on_disk(5), on_disk(20), damaged];
    state.survey(number, &found);
    assert_eq!(steps(&state), [5, 20, 30]);
    assert_eq!(
        (state.checkpoints[0].seconds, state.checkpoints[0].loss),
        (None, None)
    );
    assert_eq!(state.checkpoints[1].config_version, 4);
    assert!(state.checkpoints[1].config.is_some());
    assert_eq!(state.newest_good(), Some(20));
    state.apply(&deleted(5, "command"));
    state.survey(number, &found);
    assert_eq!(steps(&state), [20, 30], "a look from before the deletion");
}

#[test]
fn damage_that_was_mended_is_shown_no_more() {
    let mut state = state_with(&[10, 20]);
    // Two states of a file: these of this source, and none.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let (one, other) = (vec![Stamp::of(&here)], vec![None]);
    let look = |fault: Option<&str>, stamps: &[Option<Stamp>]| {
        let it = Surveyed {
            fault: fault.map(str::to_owned),
            stamps: stamps.to_vec(),
            ..on_disk(20)
        };
        [on_disk(10), it]
    };
    let see = |state: &mut State, fault: Option<&str>, stamps: &[Option<Stamp>]| {
        let number = state.num_shelved;
        state.survey(number, &look(fault, stamps));
        let found = &state.checkpoints[1];
        (
            found.damage().map(str::to_owned),
            found.checked != Checked::Never,
        )
    };
    let short = Some("model.safetensors has 5 bytes");
    assert_eq!(see(&mut state, None, &one), (None, false));
    assert_eq!(
        see(&mut state, short, &[]),
        (short.map(str::to_owned), false)
    );
    assert_eq!(state.newest_good(), Some(10));
    assert_eq!(see(&mut state, None, &one), (None, false));
    assert_eq!(state.newest_good(), Some(20));
    // A comparison counts for the files that it read, and until somebody changes them.
    state.apply(&verified(20, None));
    assert_eq!(see(&mut state, None, &other), (None, true));
    assert_eq!(see(&mut state, None, &other), (None, true));
    assert_eq!(see(&mut state, None, &one), (None, false));
    let hash = Some("its hash differs".to_owned());
    state.apply(&verified(20, hash.as_deref()));
    assert_eq!(see(&mut state, None, &one), (hash.clone(), true));
    assert_eq!(see(&mut state, None, &one), (hash, true));
    assert_eq!(see(&mut state, None, &other), (None, false));
}

#[test]
fn what_a_deletion_leaves_is_in_the_log_whoever_asked() {
    let mut state = state_with(&[10, 20]);
    let lines = state.log.len();
    for reason in ["keep_last", "command"] {
        let mut deleted = deleted(10, reason);
        if let Body::CheckpointDeleted { leftover, .. } = &mut deleted.body {
            let left = "what is left of it (7 bytes in .tmp-x) goes with the next checkpoint: no";
            *leftover = Some(left.to_owned());
        }
        state.apply(&deleted);
    }
    assert_eq!((steps(&state), state.log.len()), (vec![20], lines + 2));
}
