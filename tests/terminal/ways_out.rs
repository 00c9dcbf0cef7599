//! Every way out of the screen, in one table: what the process ends with, what becomes of the run, and that the terminal is
//! given back byte by byte ([`Terminal::expect`]).

use crate::common::{PATIENCE, Place};
use crate::terminal::Terminal;
use crate::{ENDLESS, SLOW};
use rustix::process::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Micro-batches of a second and more: who does not wait ends before the step.
const LONG: &[(&str, &str)] = &[
    ENDLESS,
    ("data.sequence_length", "1024"),
    ("data.train", "[\"long.txt\"]"),
    ("train.batch_size", "128"),
    ("train.micro_batch", "128"),
];

/// What is done to a screen that shows a run.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Keys, once what stands before them is shown.
    Press(&'static str, &'static str),
    /// A signal.
    Send(Signal),
    /// Waits until the screen is gone and the run has made steps without it.
    TrainsOn,
    /// Waits until the process stands still, with the terminal given back, and continues it.
    Continue,
    /// Waits until a drill stands still.
    Stands,
    /// Lets milliseconds pass: for a step to be under way, or as two signals of a kind at once are one.
    Wait(u64),
}

/// A way out.
struct Way {
    name: &'static str,
    keys: &'static [(&'static str, &'static str)],
    environment: &'static [(&'static str, &'static str)],
    does: &'static [Do],
    code: i32,
    /// How the record ends: the reason of `finished`, or `failed`.
    end: &'static str,
    /// Whether the last step has a checkpoint.
    saved: bool,
    /// What stands in the terminal afterwards.
    says: &'static str,
}

const WAY: Way = Way {
    name: "",
    keys: &[ENDLESS, SLOW],
    environment: &[],
    does: &[],
    code: 0,
    end: "stopped",
    saved: true,
    says: "the run is in",
};

const WAYS: &[Way] = &[
    Way {
        name: "q, stop",
        does: &[Do::Press("", "q"), Do::Press("Leave this run?", "s")],
        ..WAY
    },
    Way {
        name: "q, stay, q, stop",
        does: &[
            Do::Press("", "q"),
            Do::Press("Leave this run?", "\x1b"),
            Do::Press("p pause", "q"),
            Do::Press("Leave this run?", "\r"),
        ],
        ..WAY
    },
    Way {
        name: "q, go on without a screen, Ctrl-C",
        does: &[
            Do::Press("", "q"),
            Do::Press("Leave this run?", "d"),
            Do::TrainsOn,
            Do::Press("", "\x03"),
        ],
        says: "goes on without a screen",
        ..WAY
    },
    Way {
        name: "q, discard",
        does: &[Do::Press("", "q"), Do::Press("Leave this run?", "x")],
        saved: false,
        ..WAY
    },
    Way {
        name: "X",
        does: &[Do::Press("", "X"), Do::Press("y", "y")],
        ..WAY
    },
    Way {
        name: ":stop discard",
        does: &[Do::Press("", ":stop discard\r")],
        saved: false,
        ..WAY
    },
    Way {
        name: "Ctrl-C",
        does: &[Do::Press("", "\x03")],
        ..WAY
    },
    Way {
        name: "Ctrl-C twice",
        keys: LONG,
        does: &[
            Do::Wait(300),
            Do::Press("", "\x03"),
            Do::Press("stopping", "\x03"),
        ],
        code: 130,
        says: "",
        ..WAY
    },
    Way {
        name: "SIGINT",
        does: &[Do::Send(Signal::INT)],
        ..WAY
    },
    Way {
        name: "SIGINT twice",
        keys: LONG,
        does: &[
            Do::Wait(300),
            Do::Send(Signal::INT),
            Do::Wait(100),
            Do::Send(Signal::INT),
        ],
        code: 130,
        says: "",
        ..WAY
    },
    Way {
        name: "SIGTERM",
        does: &[Do::Send(Signal::TERM)],
        code: 75,
        end: "preempted",
        ..WAY
    },
    Way {
        name: "SIGTERM twice",
        keys: LONG,
        does: &[
            Do::Wait(300),
            Do::Send(Signal::TERM),
            Do::Wait(100),
            Do::Send(Signal::TERM),
        ],
        code: 143,
        says: "",
        ..WAY
    },
    Way {
        name: "SIGUSR1",
        does: &[Do::Send(Signal::USR1)],
        code: 75,
        end: "preempted",
        ..WAY
    },
    Way {
        name: "SIGHUP, then SIGINT",
        does: &[Do::Send(Signal::HUP), Do::TrainsOn, Do::Send(Signal::INT)],
        says: "hung up; training goes on without a screen",
        ..WAY
    },
    Way {
        name: "Ctrl-Z, fg, Ctrl-C",
        does: &[
            Do::Press("", "\x1a"),
            Do::Continue,
            Do::Press("RUN", "\x03"),
        ],
        ..WAY
    },
    Way {
        name: "SIGTSTP, fg, Ctrl-C",
        does: &[
            Do::Send(Signal::TSTP),
            Do::Continue,
            Do::Press("RUN", "\x03"),
        ],
        ..WAY
    },
    Way {
        name: "paused, Ctrl-C",
        does: &[Do::Press("", "p"), Do::Press("PAUSED", "\x03")],
        ..WAY
    },
    Way {
        name: "memory given back, SIGTERM",
        does: &[
            Do::Press("", "P"),
            Do::Press("MEMORY FREE", ""),
            Do::Send(Signal::TERM),
        ],
        code: 75,
        end: "preempted",
        ..WAY
    },
    Way {
        name: "finished, q",
        keys: &[("train.max_steps", "30")],
        does: &[Do::Press("DONE", "q")],
        end: "max_steps",
        saved: false,
        ..WAY
    },
    Way {
        name: "a panic while a frame is drawn",
        environment: &[("ZEROLLM_DRILL", "screen")],
        does: &[Do::TrainsOn, Do::Send(Signal::INT)],
        says: "the screen failed while drawing; training goes on without a screen",
        ..WAY
    },
    Way {
        name: "a panic in the engine",
        environment: &[("ZEROLLM_DRILL", "engine")],
        does: &[Do::Press("FAILED", "q")],
        code: 1,
        end: "failed",
        saved: false,
        says: "a drill",
        ..WAY
    },
    Way {
        name: "SIGTERM, and the engine does not answer",
        keys: STUCK,
        environment: &[("ZEROLLM_DRILL", "step@3")],
        does: &[Do::Press("RUN", ""), Do::Stands, Do::Send(Signal::TERM)],
        code: 75,
        end: "",
        says: "SIGTERM was not answered within 1 s (shutdown.grace_s): left in step 3",
        ..WAY
    },
    Way {
        name: "SIGINT, and the disk does not answer",
        keys: STUCK,
        environment: &[("ZEROLLM_DRILL", "write@4")],
        does: &[Do::Press("RUN", ""), Do::Stands, Do::Send(Signal::INT)],
        code: 130,
        says: "left while the checkpoint of step 4 was written",
        ..WAY
    },
];

/// A signal is answered within a second, or the process ends.
const STUCK: &[(&str, &str)] = &[
    ENDLESS,
    SLOW,
    ("train.checkpoint_interval", "2"),
    ("shutdown.grace_s", "1"),
];

fn stands(terminal: &mut Terminal, place: &Place) {
    let begin = Instant::now();
    let log = place.run_path("r", "engine.log");
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("a drill")) {
        assert!(begin.elapsed() < PATIENCE, "no drill");
        let over = terminal.child.try_wait().expect("a child");
        assert!(over.is_none(), "it has ended: {over:?}");
        sleep(Duration::from_millis(10));
    }
}

fn trains_on(terminal: &mut Terminal, place: &Place) {
    let begin = Instant::now();
    // Before it was claimed it was not there either.
    while !terminal.has_written("\x1b[?1049l") {
        assert!(begin.elapsed() < PATIENCE, "the screen is left");
        sleep(Duration::from_millis(10));
    }
    let at = place.losses("r").len();
    while place.losses("r").len() < at + 3 {
        assert!(begin.elapsed() < PATIENCE, "it goes on");
        let over = terminal.child.try_wait().expect("a child");
        assert!(over.is_none(), "it has ended: {over:?}");
        sleep(Duration::from_millis(10));
    }
}

fn continued(terminal: &Terminal) {
    let stat = format!("/proc/{}/stat", terminal.child.id());
    let begin = Instant::now();
    while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
        assert!(begin.elapsed() < PATIENCE, "it stops");
        sleep(Duration::from_millis(10));
    }
    // Stopped it writes no more: what it wrote before has yet to be read.
    while terminal.shown().screen().alternate_screen() {
        assert!(begin.elapsed() < PATIENCE, "the screen is left");
        sleep(Duration::from_millis(10));
    }
    terminal.signal(Signal::CONT);
}

/// Goes a way. False where there is no terminal to try it in.
fn go(way: &Way) -> bool {
    let place = Place::new(way.keys);
    place.write("long.txt", crate::common::text(400_000));
    let arguments = ["train", "c.toml", "--run", "r"];
    let Some(mut terminal) = Terminal::start_with(&place, &arguments, way.environment) else {
        return false;
    };
    // What happens at the third step needs no waiting for.
    if way.environment.is_empty() {
        terminal.wait("a step", |shown| {
            shown.contains("loss") && !place.losses("r").is_empty()
        });
    }
    for act in way.does {
        match *act {
            Do::Press(before, keys) => {
                if !before.is_empty() {
                    terminal.wait(before, |shown| shown.contains(before));
                }
                terminal.press(keys);
            }
            Do::Send(signal) => terminal.signal(signal),
            Do::Stands => stands(&mut terminal, &place),
            Do::TrainsOn => trains_on(&mut terminal, &place),
            Do::Continue => continued(&terminal),
            Do::Wait(moment) => sleep(Duration::from_millis(moment)),
        }
    }
    let left = terminal.expect(way.code);
    assert!(left.contains(way.says), "{}: {left}", way.name);
    if way.code > 128 {
        // Nothing was waited for: the first of the two may have been obeyed already, or not.
        return true;
    }
    let events = place.events("r");
    let last = events.last().expect("events");
    let end = match last["event"].as_str() {
        Some("finished") => last["reason"].as_str().expect("a reason"),
        Some("failed") => "failed",
        _ => "",
    };
    assert_eq!(end, way.end, "{}", way.name);
    let steps = place.losses("r").len() as u64;
    let saved = place.checkpoints("r").last() == Some(&steps);
    assert_eq!(saved, way.saved, "{}", way.name);
    true
}

/// The table, shared out so that the tests run beside each other.
fn share(number: usize, of: usize) {
    for way in WAYS.iter().skip(number).step_by(of) {
        if way.environment.iter().any(|pair| pair.0 == "ZEROLLM_DRILL") && !cfg!(debug_assertions) {
            eprintln!("skipped: {}: drills are not in release builds", way.name);
            continue;
        }
        if !go(way) {
            return;
        }
    }
}

#[test]
fn every_way_out_gives_the_terminal_back_first_share() {
    share(0, 3);
}

#[test]
fn every_way_out_gives_the_terminal_back_second_share() {
    share(1, 3);
}

#[test]
fn every_way_out_gives_the_terminal_back_third_share() {
    share(2, 3);
}

#[test]
fn a_process_that_is_killed_leaves_a_whole_record() {
    let place = Place::new(&[ENDLESS, SLOW, ("train.checkpoint_interval", "3")]);
    let arguments = ["train", "c.toml", "--run", "r"];
    let Some(mut terminal) = Terminal::start(&place, &arguments) else {
        return;
    };
    terminal.wait("a checkpoint", |_| {
        let events = place.events("r");
        events.iter().any(|event| event["event"] == "checkpoint")
    });
    terminal.signal(Signal::KILL);
    terminal.child.wait().expect("a child");
    // Nobody could tidy up; what counts is whole.
    let steps = place.losses("r").len();
    assert!(steps >= 3 && !place.checkpoints("r").is_empty());
    let end = format!("train.max_steps={}", steps + 2);
    let resume = ["train", "--run", "r", "--resume", "--ui", "none", "--set"];
    place.expect(0, &[&resume[..], &[&*end]].concat());
    assert_eq!(place.losses("r").len(), steps + 2);
}

#[test]
fn what_others_print_does_not_stand_on_the_screen() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let arguments = ["train", "c.toml", "--run", "r"];
    let Some(mut terminal) = Terminal::start(&place, &arguments) else {
        return;
    };
    terminal.wait("a step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    let stray = |terminal: &Terminal, word: &str| {
        for stream in [1, 2] {
            let path = format!("/proc/{}/fd/{stream}", terminal.child.id());
            let line = format!("{word} to {stream}\n");
            let Ok(mut out) = std::fs::File::options().append(true).open(path) else {
                return false;
            };
            std::io::Write::write_all(&mut out, line.as_bytes()).expect("written");
        }
        true
    };
    if !stray(&terminal, "libstray: a warning") {
        eprintln!("skipped: no /proc here");
        return;
    }
    let log = || std::fs::read_to_string(place.run_path("r", "engine.log")).unwrap_or_default();
    let lines = "libstray: a warning to 1\nlibstray: a warning to 2\n";
    assert!(log().contains(lines), "{}", log());
    // Also after the terminal was given back and claimed again.
    terminal.press("\x1a");
    continued(&terminal);
    terminal.wait("the screen", |shown| shown.contains("RUN"));
    assert!(stray(&terminal, "again"));
    assert!(log().contains("again to 2"), "{}", log());
    terminal.press("q");
    terminal.wait("the dialog", |shown| shown.contains("Leave this run?"));
    terminal.press("d");
    // The screen was left once before, at the suspension: only this line says that it is left again.
    terminal.wait("plain lines", |shown| {
        shown.contains("goes on without a screen")
    });
    // Now it is the terminal's again.
    assert!(stray(&terminal, "later"));
    terminal.wait("the line", |shown| shown.contains("later to 2"));
    terminal.signal(Signal::INT);
    let left = terminal.expect(0);
    assert!(
        !left.contains("libstray") && !log().contains("later"),
        "{left}"
    );
}
