//! The hard timer: a run that does not answer a signal ends within `shutdown.grace_s`, whatever it is stuck in, and goes on
//! from its last good checkpoint as if nothing had been.

use crate::common::{ENDLESS, PATIENCE, Place, Process};
use rustix::process::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

const KEYS: &[(&str, &str)] = &[
    ("train.checkpoint_interval", "2"),
    ("train.keep_last", "1"),
    ("train.max_steps", "6"),
];
const TRAIN: [&str; 6] = ["train", "c.toml", "--run", "r", "--ui", "none"];

/// Where a run is stuck, and what is said of it.
struct Stuck {
    drill: &'static str,
    keys: &'static [(&'static str, &'static str)],
    left: &'static str,
    /// The last good checkpoint.
    good: u64,
}

const STUCK: &[Stuck] = &[
    Stuck {
        drill: "step@5",
        keys: &[],
        left: "in step 5",
        good: 4,
    },
    Stuck {
        drill: "evaluation@4",
        keys: &[("train.eval_interval", "4")],
        left: "in the evaluation after step 4",
        good: 2,
    },
    Stuck {
        drill: "samples@4",
        keys: &[("sample.interval", "4")],
        left: "in the samples after step 4",
        good: 2,
    },
    Stuck {
        drill: "write@4",
        keys: &[],
        left: "while the checkpoint of step 4 was written",
        good: 2,
    },
    Stuck {
        drill: "pruning@4",
        keys: &[],
        left: "while the checkpoint of step 4 was written",
        good: 4,
    },
];

/// Starts a run that will stand still; none where the program has no drills.
fn start(place: &Place, drill: &str, more: &[&str]) -> Option<Process> {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: drills are not in release builds");
        return None;
    }
    let mut command = place.command(&[&TRAIN[..], more].concat());
    let mut process = place.start_command(command.env("ZEROLLM_DRILL", drill));
    let begin = Instant::now();
    while !process.stderr().contains("a drill") {
        let over = process.child.try_wait().expect("a child");
        assert!(over.is_none(), "ended: {}", process.stderr());
        assert!(begin.elapsed() < PATIENCE, "no drill in time");
        sleep(Duration::from_millis(5));
    }
    Some(process)
}

/// What a process said besides that it stands still.
fn said(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with("a drill"))
        .collect();
    lines.join("\n")
}

fn keys<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [KEYS, &[("shutdown.grace_s", "1")], more].concat()
}

#[test]
fn a_run_that_is_stuck_ends_in_time_and_goes_on_from_its_last_good_checkpoint() {
    for (at, stuck) in STUCK.iter().enumerate() {
        let place = Place::new(&keys(stuck.keys));
        // Every signal is tried at least once, and what the machine is asked for everywhere.
        let (signal, name, code, more) = match at {
            1 => (
                Signal::USR1,
                "SIGUSR1",
                85,
                &["--preempt-exit-code", "85"][..],
            ),
            3 => (Signal::INT, "SIGINT", 130, &[][..]),
            _ => (Signal::TERM, "SIGTERM", 75, &[][..]),
        };
        let Some(mut process) = start(&place, stuck.drill, more) else {
            return;
        };
        process.signal(signal);
        let told = said(&process.expect(code));
        let (left, good) = (stuck.left, stuck.good);
        let line = format!(
            "zerollm: {name} was not answered within 1 s (shutdown.grace_s): left {left}; the last good checkpoint is that \
             of step {good}; go on with zerollm train --run r --resume"
        );
        assert_eq!(told, line, "{}", stuck.drill);
        let saved = place.checkpoints("r");
        assert_eq!(saved.last(), Some(&good), "{}", stuck.drill);
        place.expect(0, &["train", "--run", "r", "--resume", "--ui", "none"]);
        let whole = Place::new(&keys(stuck.keys));
        whole.expect(0, &TRAIN);
        assert_eq!(place.losses("r"), whole.losses("r"), "{}", stuck.drill);
        let left = std::fs::read_dir(place.run_path("r", "checkpoints")).expect("a folder");
        for entry in left.flatten() {
            let name = entry.file_name();
            assert!(
                !name.to_string_lossy().starts_with(".tmp-"),
                "{name:?} is left"
            );
        }
    }
}

#[test]
fn a_preparation_that_is_stuck_ends_in_time_and_leaves_no_run() {
    // Of the first the run's own watch takes notice, at once; of the second only the timer does.
    for (drill, told) in [
        ("preparation@0", "before the first step"),
        (
            "folder@0",
            "left while the run was prepared; nothing was trained",
        ),
    ] {
        for (signal, code) in [(Signal::TERM, 85), (Signal::INT, 130)] {
            let place = Place::new(&keys(&[]));
            let Some(mut process) = start(&place, drill, &["--preempt-exit-code", "85"]) else {
                return;
            };
            process.signal(signal);
            let told_of = said(&process.expect(code));
            assert!(told_of.contains(told), "{drill}: {told_of}");
            assert_eq!(told_of.lines().count(), 1, "{drill}: {told_of}");
            assert!(!place.run_path("r", "run.json").exists(), "{drill}");
        }
    }
}

#[test]
fn what_takes_long_but_ends_in_time_is_not_cut() {
    for seconds in ["30", "0"] {
        let grace = [ENDLESS, ("shutdown.grace_s", seconds)];
        let place = Place::new(&[KEYS, &grace].concat());
        let Some(mut process) = start(&place, "write@4:1500", &[]) else {
            return;
        };
        process.signal(Signal::TERM);
        assert_eq!(said(&process.expect(75)), "");
        let events = place.events("r");
        assert_eq!(events.last().expect("events")["reason"], "preempted");
        assert_eq!(place.checkpoints("r"), [4]);
    }
}

#[test]
fn a_checkpoint_that_might_be_cut_is_warned_of_once() {
    for (drill, warnings) in [("write@4:700", 1), ("write@4:1", 0)] {
        let place = Place::new(&keys(&[]));
        let Some(mut process) = start(&place, drill, &[]) else {
            return;
        };
        process.expect(0);
        let events = place.events("r");
        let warned = events.iter().filter(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["event"] == "warning" && message.contains("raise shutdown.grace_s")
        });
        let warned = warned.count();
        // A disk that is slow by itself is warned of too.
        assert!((warnings..=1).contains(&warned), "{drill}: {events:?}");
    }
}

#[test]
fn the_timer_is_a_live_key_and_can_be_turned_off() {
    let place = Place::new(&[ENDLESS, ("shutdown.grace_s", "0")]);
    let Some(mut process) = start(&place, "step@3", &[]) else {
        return;
    };
    process.signal(Signal::TERM);
    sleep(Duration::from_millis(1500));
    assert!(process.child.try_wait().expect("a child").is_none());
    process.signal(Signal::TERM);
    assert_eq!(said(&process.expect(143)), "");

    let place = Place::new(&[ENDLESS]);
    let mut command = place.command(&TRAIN);
    let mut process = place.start_command(command.env("ZEROLLM_DRILL", "evaluation@0"));
    place.wait_for(&mut process, "r", "step", |_| true);
    place.expect(0, &["ctl", "r", "set", "shutdown.grace_s=1"]);
    place.expect(1, &["ctl", "r", "eval", "--timeout", "1"]);
    let begin = Instant::now();
    process.signal(Signal::TERM);
    let told = said(&process.expect(75));
    assert!(told.contains("there is no checkpoint"), "{told}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}
