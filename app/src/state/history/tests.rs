//! That a run which was recorded shows as one that was heard, its forebears' part included.

use engine::link::{Body, Event};

use crate::chart::series::XUnit;
use crate::state::tests::{happen, state};
use crate::state::{History, Past, State};
use crate::workbench::fixture::{event, events, started, step};

/// Asserts that a run that was read from its index shows as one that was heard.
fn same(read: &State, heard: &State) {
    assert_eq!((read.step(), read.tokens()), (heard.step(), heard.tokens()));
    assert!((read.elapsed() - heard.elapsed()).abs() < 1e-6);
    assert_eq!(read.evals, heard.evals);
    assert_eq!(read.samples, heard.samples);
    assert_eq!(read.layers.steps(), heard.layers.steps());
    assert_eq!(read.config, heard.config);
    for (a, b) in [
        (&read.loss, &heard.loss),
        (&read.speed, &heard.speed),
        (&read.clipped, &heard.clipped),
    ] {
        let rows = 0..heard.track.len();
        assert_eq!(a.series.len(), rows.len());
        for row in rows.clone() {
            assert_eq!(a.series.at(row), b.series.at(row));
            let (x, y) = (a.ema.at(row).unwrap(), b.ema.at(row).unwrap());
            assert!((x - y).abs() <= 1e-4 * y.abs(), "row {row}: {x} {y}");
        }
        for width in [1, 7, 100, 333] {
            for start in rows.clone().step_by(width) {
                let (x, y) = (
                    a.series.query(start..start + width),
                    b.series.query(start..start + width),
                );
                assert_eq!(x.extremes(), y.extremes());
                assert!(
                    (x.mean().unwrap() - y.mean().unwrap()).abs()
                        < 1e-3 * y.mean().unwrap().abs().max(1.0)
                );
            }
        }
    }
    for unit in [XUnit::Step, XUnit::Tokens, XUnit::Time] {
        let window = heard.track.extent(unit).unwrap();
        let (a, b) = (
            read.track.columns(unit, window, 80),
            heard.track.columns(unit, window, 80),
        );
        let rows: usize = a.iter().map(ExactSizeIterator::len).sum();
        assert_eq!((rows, a.len()), (heard.track.len(), b.len()));
        if unit == XUnit::Step {
            assert_eq!(a, b);
        }
    }
}

#[test]
fn a_recorded_run_is_the_same_as_one_that_was_heard() {
    let place = tempfile::tempdir().unwrap();
    let mut all = events(1000);
    let resumed = |step, attempt| Body::Resumed {
        step,
        path: "checkpoints/x".into(),
        attempt,
    };
    all.push(event(resumed(500, 2), 0));
    all.extend((501..=720).map(step));
    let text: Vec<String> = all
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n")
        .collect();
    std::fs::write(place.path().join("events.jsonl"), text.concat()).unwrap();
    let mut heard = state(&[]);
    heard.recall(&History {
        events: all.clone(),
        ..History::default()
    });
    let mut read = state(&[]);
    read.recall(&History::read(place.path()).unwrap());
    same(&read, &heard);
    // It goes on, back into what was recorded, and behind it.
    for (from, to) in [(721, 800), (600, 650), (300, 310)] {
        for state in [&mut read, &mut heard] {
            happen(state, resumed(from - 1, 3));
            (from..=to).for_each(|number| state.apply(&step(number)));
        }
        same(&read, &heard);
    }
    for beta in crate::view::SMOOTHINGS {
        assert!(engine::run_folder::index::BETAS.contains(&beta));
        read.smooth(beta);
        heard.smooth(beta);
        same(&read, &heard);
    }
}

#[test]
fn a_fork_continues_what_its_forebears_recorded() {
    let runs = tempfile::tempdir().unwrap();
    let write = |name: &str, events: &[Event]| {
        let folder = runs.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let text: Vec<String> = events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap() + "\n")
            .collect();
        std::fs::write(folder.join("events.jsonl"), text.concat()).unwrap();
        folder
    };
    // Losses of their own, so that each row tells whose it is.
    let steps = |from: u64, to: u64, more: f64| -> Vec<Event> {
        let own = (from..=to).map(|number| {
            let mut event = step(number);
            if let Body::Step(step) = &mut event.body {
                step.loss += more;
            }
            event
        });
        own.collect()
    };
    let grandparent = [vec![started()], steps(1, 300, 0.0)].concat();
    let parent = steps(221, 500, 1.0);
    let own = steps(431, 520, 2.0);
    let mut past = Past::default();
    past.then(&write("a", &grandparent), 220).unwrap();
    past.then(&write("b", &parent), 430).unwrap();
    assert!(past.then(&runs.path().join("none"), 430).is_err());
    let mut read = state(&[]);
    let history = History::read(&write("c", &own)).unwrap().behind(past);
    assert!(
        history
            .events
            .iter()
            .all(|event| !matches!(event.body, Body::Step(_)))
    );
    read.recall(&history);
    let mut heard = state(&[]);
    let all = [&grandparent[..221], &parent[..210], &own];
    heard.recall(&History {
        events: all.concat(),
        ..History::default()
    });
    assert_eq!(heard.track.len(), 520);
    same(&read, &heard);
    for beta in crate::view::SMOOTHINGS {
        read.smooth(beta);
        heard.smooth(beta);
        same(&read, &heard);
    }
    // Back behind where the fork began, and behind where its parent did.
    for to in [425, 100] {
        for state in [&mut read, &mut heard] {
            let path = "checkpoints/x".into();
            happen(
                state,
                Body::Resumed {
                    step: to,
                    path,
                    attempt: 2,
                },
            );
            (to + 1..to + 30).for_each(|number| state.apply(&step(number)));
        }
        same(&read, &heard);
    }
}
