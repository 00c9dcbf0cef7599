//! What events make of the state.

use engine::link::{Alert, Body, Change, Command, Event, Started};

use super::{History, Level, Mark, Metric, Quantity, State, Status};
use crate::chart::series::XUnit;
use crate::lang::Lang;
use crate::workbench::fixture::{event, events, started, step};

pub(super) fn state(events: &[Event]) -> State {
    let mut state = State::new(0.9);
    for event in events {
        state.apply(event);
    }
    state
}

/// The smoothed line, row by row.
fn smoothed(metric: &Metric) -> Vec<f32> {
    let rows = 0..metric.series.len();
    rows.map(|row| metric.ema.at(row).unwrap()).collect()
}

pub(super) fn happen(state: &mut State, body: Body) {
    state.apply(&event(body, 0));
}

#[test]
fn a_run_is_folded_together() {
    let state = state(&events(1000));
    assert_eq!(state.status, Status::Running);
    assert_eq!((state.step(), state.max_steps()), (1000, Some(2000)));
    assert_eq!(state.track.len(), 1000);
    assert_eq!(state.evals.len(), 5);
    assert_eq!(state.checkpoints.len(), 2);
    assert_eq!(state.layers.steps().len(), 40);
    assert!((state.elapsed() - 174.0).abs() < 1e-6);
    assert!((state.remaining().unwrap() - 174.0).abs() < 0.1);
    assert_eq!(state.best_eval().unwrap().step, 1000);
    let scale = state
        .config
        .iter()
        .find(|v| v.key == "schedule.lr_scale")
        .unwrap();
    assert_eq!(
        (scale.value.as_str(), scale.source.as_str()),
        ("0.5", "edit")
    );
    assert_eq!(state.config_version, 2);
    assert!(state.marks.contains(&(900, Mark::Edit)));
}

#[test]
fn a_resume_supersedes_the_rows_behind_its_checkpoint() {
    let mut whole = state(&events(1000));
    happen(
        &mut whole,
        Body::Resumed {
            step: 500,
            path: "checkpoints/step_00000500".into(),
            attempt: 2,
        },
    );
    let fresh = state(&events(500));
    assert_eq!(whole.track.len(), 500);
    assert_eq!(whole.loss.series.values(), fresh.loss.series.values());
    assert_eq!(smoothed(&whole.loss), smoothed(&fresh.loss));
    assert_eq!(whole.elapsed(), fresh.elapsed());
    assert_eq!(whole.evals, fresh.evals);
    assert_eq!(whole.layers.steps(), fresh.layers.steps());
    assert_eq!(whole.marks.last(), Some(&(500, Mark::Resume)));
    assert_eq!(whole.step(), 500);
    // A step trained again takes the place of the old one, even without a word before.
    whole.apply(&step(501));
    whole.apply(&step(501));
    assert_eq!(whole.track.last_step(), Some(501));
    assert_eq!(whole.track.len(), 501);
}

#[test]
fn a_second_attempt_keeps_what_came_before_its_step() {
    let mut state = state(&events(1000));
    let head = Started {
        step: 500,
        attempt: 2,
        max_steps: 3000,
        ..Started::default()
    };
    happen(&mut state, Body::Started(Box::new(head)));
    assert_eq!(
        (state.track.len(), state.step(), state.max_steps()),
        (500, 500, Some(3000))
    );
}

#[test]
fn what_is_asked_stays_pending_until_the_engine_confirms_it() {
    let mut state = state(&[started(), step(1)]);
    let reply = |id, command: &str, refused| Body::Reply {
        step: 1,
        id,
        command: command.into(),
        refused,
        message: "taken".into(),
    };
    state.sent(1, Command::Pause { hard: false });
    assert_eq!(state.status, Status::Running);
    happen(&mut state, reply(1, "pause", false));
    // Taken is not done.
    assert_eq!((state.pending.len(), &state.status), (1, &Status::Running));
    happen(
        &mut state,
        Body::Paused {
            step: 1,
            reason: None,
            hard: false,
        },
    );
    assert_eq!(
        (state.pending.len(), &state.status),
        (0, &Status::Paused(None))
    );
    // Pausing twice: the second reply finds the state as asked.
    state.sent(2, Command::Pause { hard: false });
    happen(&mut state, reply(2, "pause", false));
    assert!(state.pending.is_empty());
    state.sent(3, Command::Resume);
    happen(&mut state, Body::ResumedFromPause { step: 1 });
    assert_eq!((state.pending.len(), &state.status), (0, &Status::Running));
    state.sent(4, Command::Eval);
    happen(&mut state, reply(4, "eval", true));
    assert!(state.pending.is_empty());
    assert_eq!(state.log.back().unwrap().level, Level::Warn);
    // A checkpoint that was due anyway is not the one that was asked for.
    state.sent(5, Command::Checkpoint { tag: None });
    let checkpoint = |reason: &str| Body::Checkpoint {
        step: 1,
        path: "checkpoints/step_00000001".into(),
        seconds: 1.0,
        bytes: 1,
        reason: reason.into(),
    };
    happen(&mut state, checkpoint("interval"));
    assert_eq!(state.pending.len(), 1);
    happen(&mut state, checkpoint("command"));
    assert!(state.pending.is_empty());
    assert_eq!(state.checkpoints.len(), 1);
    state.sent(6, Command::Stop { checkpoint: true });
    happen(&mut state, reply(6, "stop", false));
    assert_eq!(state.pending.len(), 1);
    happen(
        &mut state,
        Body::Finished {
            step: 1,
            loss: 2.0,
            seconds: 1.0,
            reason: "stopped".into(),
        },
    );
    assert!(state.pending.is_empty() && state.status.is_over());
}

#[test]
fn what_an_event_says_its_reply_does_not_repeat() {
    let mut state = state(&[started(), step(1)]);
    let reply = |command: &str, message: &str| Body::Reply {
        step: 1,
        id: 1,
        command: command.into(),
        refused: false,
        message: message.into(),
    };
    let lines = state.log.len();
    happen(
        &mut state,
        Body::Paused {
            step: 1,
            reason: None,
            hard: false,
        },
    );
    happen(&mut state, reply("pause", "paused after step 1"));
    assert_eq!(state.log.len(), lines + 1);
    // An answer that no event gave is shown.
    happen(&mut state, reply("set", "nothing has changed"));
    assert_eq!(
        state.log.back().unwrap().text.to_string(),
        "set: nothing has changed"
    );
}

#[test]
fn a_resumed_run_shows_its_whole_course() {
    let mut events = events(700);
    let end = Body::Finished {
        step: 700,
        loss: 2.0,
        seconds: 122.0,
        reason: "preempted".into(),
    };
    events.push(event(end, 0));
    let history = History {
        events,
        ..History::default()
    };
    let mut state = state(&[]);
    state.recall(&history);
    assert_eq!(state.status, Status::Waiting);
    let head = Started {
        step: 500,
        attempt: 2,
        ..Started::default()
    };
    happen(&mut state, Body::Started(Box::new(head)));
    let resumed = Body::Resumed {
        step: 500,
        path: "checkpoints/step_00000500".into(),
        attempt: 2,
    };
    happen(&mut state, resumed);
    state.apply(&step(501));
    assert_eq!((state.track.len(), &state.status), (501, &Status::Running));
    assert!((state.elapsed() - 501.0 * 0.174).abs() < 1e-6);
}

#[test]
fn a_refused_edit_is_kept_until_one_is_taken() {
    let mut state = state(&[started(), step(1)]);
    happen(
        &mut state,
        Body::ConfigRejected {
            step: 1,
            line: 31,
            column: 4,
            message: "d/p.toml:31:4: not valid TOML".into(),
        },
    );
    let rejected = state.rejected.as_ref().unwrap();
    assert_eq!((rejected.line, rejected.column), (31, 4));
    assert_eq!(rejected.message, "not valid TOML", "its place once");
    let said = state.log.back().unwrap().text.get(Lang::En).to_owned();
    assert_eq!(said, "refused, v1 stays: line 31:4: not valid TOML");
    assert_eq!(state.config_version, 1);
    let change = Change {
        key: "train.max_steps".into(),
        from: "2000".into(),
        to: "4000".into(),
    };
    happen(
        &mut state,
        Body::ConfigApplied {
            step: 1,
            version: 2,
            changes: vec![change],
        },
    );
    assert_eq!(
        (state.rejected.as_ref(), state.max_steps()),
        (None, Some(4000))
    );
}

#[test]
fn an_engine_that_vanishes_leaves_an_interrupted_run_unless_it_said_goodbye() {
    let mut lost = state(&[started(), step(1)]);
    lost.disconnected();
    assert_eq!(lost.status, Status::Interrupted);
    assert_eq!(lost.num_alerts, 1);
    let mut done = state(&[started(), step(1)]);
    happen(
        &mut done,
        Body::Finished {
            step: 1,
            loss: 2.0,
            seconds: 1.0,
            reason: "max_steps".into(),
        },
    );
    done.disconnected();
    assert_eq!(done.status, Status::Finished("max_steps".into()));
}

#[test]
fn nothing_in_the_log_can_move_the_cursor() {
    let mut state = state(&[]);
    happen(
        &mut state,
        Body::Warning {
            step: 0,
            message: "a\x1b[2Jb\u{202e}".into(),
            note: false,
        },
    );
    let line = &state.log.back().unwrap().text;
    assert_eq!(line.to_string(), "a\\x1b[2Jb\\u{202e}");
    state.apply(&Event {
        body: Body::ResumedFromPause { step: 0 },
        time: "not a time".into(),
    });
    assert_eq!(state.log.back().unwrap().clock, "--:--:--");
}

#[test]
fn what_a_fork_was_asked_for_is_told_and_is_no_alert() {
    let mut state = state(&[]);
    for (note, alerts) in [(true, 0), (false, 1)] {
        let message = "optimizer.lr = 3e-4 (the parent: 1e-3)".to_owned();
        let warning = Body::Warning {
            step: 7,
            message,
            note,
        };
        // A record that was written before notes were told apart has none.
        let line = serde_json::to_string(&event(warning, 0)).unwrap();
        assert_eq!(line.contains("note"), note, "{line}");
        let heard: Event = serde_json::from_str(&line).unwrap();
        state.apply(&heard);
        let last = state.log.back().unwrap();
        assert!(last.text.get(Lang::En).contains("3e-4"));
        assert_eq!(state.num_alerts, alerts);
        assert_eq!(last.level == Level::Warn, !note);
    }
}

#[test]
fn the_log_and_the_layers_are_bounded_and_keep_outbursts() {
    let mut state = state(&[]);
    for i in 0..2100 {
        happen(
            &mut state,
            Body::Warning {
                step: i,
                message: "again".into(),
                note: false,
            },
        );
    }
    assert_eq!(state.log.len(), 2000);
    assert_eq!(state.num_alerts, 2100);
    for i in 0..5000u64 {
        let value = if i == 1234 { 1e3 } else { 1.0 };
        let layers = engine::link::Layers {
            step: i + 1,
            names: vec!["a".into()],
            activation_rms: vec![value],
            gradient_rms: vec![if i == 77 { f64::NAN } else { value }],
            weight_rms: vec![1.0],
            update_ratio: vec![1.0],
            activation_sketch: vec![sketch(i)],
            ..Default::default()
        };
        happen(&mut state, Body::Layers(layers));
    }
    let num = state.layers.steps().len();
    assert!(num <= 2048, "{num}");
    assert_eq!(state.layers.steps().last(), Some(&5000));
    assert_eq!(state.layers.range(Quantity::Activation), Some((1.0, 1e3)));
    let broken = (0..num).filter_map(|s| state.layers.value(Quantity::Gradient, 0, s));
    assert_eq!(broken.filter(|v| v.is_nan()).count(), 1);
    // So does a column of the map that stands for many.
    let greatest = |quantity, within| state.layers.greatest(quantity, 0, within);
    assert_eq!(greatest(Quantity::Activation, 0..num), Some(1e3));
    assert!(greatest(Quantity::Gradient, 0..num).unwrap().is_nan());
    assert_eq!(greatest(Quantity::Activation, num..num + 9), None);
    // Fewer histograms are kept, the newest always; each is that of its own step.
    let steps = (1..=5000).filter_map(|step| state.layers.spread(step));
    let mut steps: Vec<u64> = steps.map(|spread| spread.step).collect();
    steps.dedup();
    assert!((128..=256).contains(&steps.len()), "{}", steps.len());
    assert_eq!(steps.last(), Some(&5000));
    let spread = state.layers.spread(2500).unwrap();
    assert!((2440..=2500).contains(&spread.step), "{}", spread.step);
    assert_eq!(spread.activations, [sketch(spread.step - 1)]);
    assert!(spread.gradients.is_empty());
    happen(
        &mut state,
        Body::Resumed {
            step: 2500,
            path: String::new(),
            attempt: 2,
        },
    );
    assert!(state.layers.spread(u64::MAX).unwrap().step <= 2500);
    assert!(state.layers.spread(0).is_none());
}

/// A histogram that tells which it is.
fn sketch(zero: u64) -> engine::sketch::Sketch {
    engine::sketch::Sketch {
        zero: zero as u32,
        ..Default::default()
    }
}

#[test]
fn smoothing_changes_the_lines_and_not_the_rows() {
    let mut state = state(&events(300));
    let rows = state.loss.series.values().to_vec();
    state.smooth(0.0);
    assert_eq!(smoothed(&state.loss), rows);
    assert_eq!(state.loss.series.values(), rows);
    assert_eq!(state.track.extent(XUnit::Step), Some((1.0, 300.0)));
}

#[test]
fn an_alert_is_marked_and_told_once() {
    let mut state = state(&events(300));
    let alert = |rule: &str, action: &str| {
        Body::Alert(Box::new(Alert {
            step: 250,
            rule: rule.into(),
            level: "warning".into(),
            message: "the loss\x1b[31m is high".into(),
            action: action.into(),
            ..Alert::default()
        }))
    };
    let (lines, alerts) = (state.log.len(), state.num_alerts);
    happen(&mut state, alert("spike", "skip"));
    assert!(state.marks.contains(&(250, Mark::Alert)));
    let line = state.log.back().unwrap();
    assert_eq!(
        (line.step, line.level, line.tag),
        (250, Level::Warn, "alert")
    );
    assert_eq!(
        line.text.to_string(),
        "spike: the loss\\x1b[31m is high: skip"
    );
    assert_eq!(state.num_alerts, alerts + 1);
    // What is not finite has said so by an event of its own.
    happen(&mut state, alert("nonfinite", "stop"));
    assert_eq!(state.log.len(), lines + 1);
}
