//! A run that is on obeys signals, edits of its configuration file and policies, in whatever phase it is, and never
//! loses a checkpoint over it.

#![cfg(unix)]

mod common;
#[path = "common/course.rs"]
mod course;
#[path = "control/exit_codes.rs"]
mod exit_codes;
#[path = "control/full_disk.rs"]
mod full_disk;
#[path = "control/grace.rs"]
mod grace;
#[path = "control/nonfinite.rs"]
mod nonfinite;
#[path = "control/preparation.rs"]
mod preparation;
#[path = "control/standing.rs"]
mod standing;

use common::{ENDLESS, Place, Process, config, text};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// Steps that last long enough for something to happen between two of them, without making the record large.
const SLOW: (&str, &str) = ("train.batch_size", "32");

/// Something that a run is busy with, made long, and how to tell that it is.
struct Phase {
    name: &'static str,
    keys: &'static [(&'static str, &'static str)],
    busy: fn(&Place, &mut Process),
}

const PHASES: &[Phase] = &[
    Phase {
        name: "step",
        keys: &[("train.batch_size", "1024")],
        busy: first_step,
    },
    Phase {
        name: "evaluation",
        keys: &[
            ("data.train", "[\"long.txt\"]"),
            ("data.validation_fraction", "0.8"),
            ("train.eval_batches", "100000000"),
            ("train.eval_interval", "1"),
        ],
        busy: first_step,
    },
    Phase {
        name: "sampling",
        keys: &[
            ("model.max_positions", "4096"),
            ("sample.interval", "1"),
            ("sample.max_tokens", "4096"),
            (
                "sample.prompts",
                "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"]",
            ),
        ],
        busy: first_step,
    },
    Phase {
        name: "checkpoint",
        keys: &[
            ("model.max_positions", "100000"),
            ("model.position.kind", "\"learned\""),
            ("train.checkpoint_interval", "1"),
        ],
        busy: writing,
    },
    Phase {
        name: "pause",
        keys: &[SLOW],
        busy: |place, process| paused(place, process, &[]),
    },
    Phase {
        name: "hard pause",
        keys: &[SLOW],
        busy: |place, process| paused(place, process, &["--hard"]),
    },
];

fn paused(place: &Place, process: &mut Process, how: &[&str]) {
    first_step(place, process);
    place.expect(0, &[&["ctl", "r", "pause"], how].concat());
}

fn first_step(place: &Place, process: &mut Process) {
    place.wait_for(process, "r", "step", |_| true);
}

fn writing(place: &Place, process: &mut Process) {
    process.wait_until("a checkpoint being written", || {
        let entries = fs::read_dir(place.run_path("r", "checkpoints")).ok()?;
        let mut names = entries.flatten().map(|entry| entry.file_name());
        names
            .any(|name| name.to_string_lossy().starts_with(".tmp-"))
            .then_some(())
    });
}

#[test]
fn a_signal_stops_every_phase_with_a_checkpoint_that_goes_on() {
    for phase in PHASES {
        for (signal, code) in [(Signal::INT, 0), (Signal::TERM, 75), (Signal::USR1, 75)] {
            let what = format!("{signal:?} in {}", phase.name);
            let place = Place::new(&[phase.keys, &[ENDLESS]].concat());
            place.write("long.txt", text(400_000));
            let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
            (phase.busy)(&place, &mut process);
            process.signal(signal);
            let said = process.expect(code);
            assert_eq!(said, "", "{what}");
            let events = place.events("r");
            let step = place.losses("r").len() as u64;
            assert!(step < 50, "{what}: {step} steps");
            assert_eq!(place.checkpoints("r").last(), Some(&step), "{what}");
            let last = events.last().expect("events");
            let reason = if code == 0 { "stopped" } else { "preempted" };
            assert_eq!(
                (&last["event"], &last["reason"], &last["step"]),
                (&"finished".into(), &reason.into(), &step.into()),
                "{what}"
            );
            if phase.name == "evaluation" {
                assert!(
                    !events.iter().any(|event| event["event"] == "eval"),
                    "{what}"
                );
            }
            let steps = format!("train.max_steps={}", step + 1);
            let said = place.expect(
                0,
                &[
                    &["train", "--run", "r", "--resume", "--ui", "plain", "--set"][..],
                    &[&steps, "--set", "train.eval_interval=0"],
                    &[
                        "--set",
                        "sample.interval=0",
                        "--set",
                        "train.checkpoint_interval=0",
                    ],
                ]
                .concat(),
            );
            assert!(!said.contains("skipped"), "{what}: {said}");
            assert_eq!(place.losses("r").len() as u64, step + 1, "{what}");
        }
    }
}

#[test]
fn a_signal_that_ends_nothing_leaves_every_phase_as_it_was() {
    // Short enough to be waited for.
    let short = [
        ENDLESS,
        ("sample.max_tokens", "200"),
        ("train.eval_batches", "1000"),
    ];
    for phase in PHASES {
        let place = Place::new(&[phase.keys, &short].concat());
        place.write("long.txt", text(400_000));
        let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "plain"]);
        (phase.busy)(&place, &mut process);
        let stat = format!("/proc/{}/stat", process.child.id());
        process.signal(Signal::HUP);
        process.signal(Signal::USR2);
        if fs::read(&stat).is_ok() {
            process.signal(Signal::TSTP);
            process.wait_until("a stopped process", || {
                let stat = fs::read_to_string(&stat).ok()?;
                stat.contains(") T ").then_some(())
            });
            process.signal(Signal::CONT);
        }
        // The checkpoint that was asked for, of whatever step is the last.
        place.wait_for(&mut process, "r", "checkpoint", |_| true);
        if phase.name.contains("pause") {
            let count = place.losses("r").len();
            place.expect(0, &["ctl", "r", "note", "x"]);
            assert_eq!(place.losses("r").len(), count, "{}", phase.name);
            place.expect(0, &["ctl", "r", "resume"]);
        }
        let step = place.losses("r").len() as u64;
        place.wait_for(&mut process, "r", "step", |event| event["step"] == step + 1);
        process.signal(Signal::INT);
        process.expect(0);
    }
}

#[test]
fn an_evaluation_that_a_signal_cut_short_is_made_by_the_resume() {
    let long = [
        ("data.train", "[\"long.txt\"]"),
        ("train.eval_batches", "100000000"),
    ];
    let keys = [
        ENDLESS,
        ("data.validation_fraction", "0.8"),
        ("train.eval_interval", "1"),
    ];
    let place = Place::new(&[&long[..], &keys].concat());
    place.write("long.txt", text(400_000));
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    first_step(&place, &mut process);
    process.signal(Signal::INT);
    process.expect(0);
    let resume = [
        "train",
        "--run",
        "r",
        "--resume",
        "--ui",
        "none",
        "--max-steps",
        "2",
    ];
    place.expect(
        0,
        &[&resume[..], &["--set", "train.eval_batches=2"]].concat(),
    );
    let events = place.events("r");
    let evaluated = events.iter().filter(|event| event["event"] == "eval");
    let steps: Vec<&Value> = evaluated.map(|event| &event["step"]).collect();
    assert_eq!(steps, [1, 2]);
}

#[test]
fn before_the_first_step_is_done_there_is_no_checkpoint_to_promise() {
    // A step of seconds, given up between two of its micro-batches.
    let keys = [("train.batch_size", "400000"), ("train.micro_batch", "64")];
    let train = ["train", "c.toml", "--run", "r", "--ui", "none"];
    let calm = Place::new(&[("train.max_steps", "3")]);
    calm.expect(0, &train);
    for (ask, code) in [("INT", 130), ("stop", 130), ("TERM", 75)] {
        let place = Place::new(&keys);
        let mut process = place.start(&train);
        place.wait_for(&mut process, "r", "started", |_| true);
        match ask {
            "INT" => process.signal(Signal::INT),
            "TERM" => process.signal(Signal::TERM),
            _ => {
                // A file that is there when the run begins is obeyed before its first step.
                process.signal(Signal::TERM);
                process.expect(75);
                place.write("runs/r/ctl/stop", "");
                process = place.start(&["train", "--run", "r", "--resume", "--ui", "none"]);
            }
        }
        let said = process.expect(code);
        assert_eq!(
            said.contains("--resume begins at step 0"),
            code == 130,
            "{said}"
        );
        assert_eq!(place.checkpoints("r"), [0; 0], "{ask}");
        let last = place.events("r").pop().expect("events");
        assert_eq!(
            (&last["event"], &last["step"]),
            (&"finished".into(), &0.into())
        );
        place.write("c.toml", config(&[("train.max_steps", "3")]));
        place.expect(0, &[&train[..], &["--resume"]].concat());
        assert_eq!(place.losses("r"), calm.losses("r"), "{ask}");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        // Micro-batches of a second and more, in which no flag is looked at.
        let place = Place::new(&[
            ("data.sequence_length", "1024"),
            ("data.train", "[\"long.txt\"]"),
            ("train.batch_size", "128"),
            ("train.micro_batch", "128"),
        ]);
        place.write("long.txt", text(400_000));
        let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
        place.wait_for(&mut process, "r", "step", |_| true);
        // Nothing tells that the second step is under way; in this time it surely is.
        sleep(Duration::from_millis(300));
        process.signal(signal);
        // Two signals of a kind at once are one.
        sleep(Duration::from_millis(100));
        process.signal(signal);
        process.expect(code);
        assert_eq!(place.losses("r").len(), 1, "it did not wait for the step");
    }
}

#[test]
fn a_reader_that_goes_away_never_stops_training() {
    let place = Place::new(&[
        ("train.max_steps", "300"),
        ("train.checkpoint_interval", "300"),
    ]);
    for (ui, begin) in [
        ("json", "{\"event\":\"started\""),
        ("plain", "run plain attempt 1"),
    ] {
        let mut command = place.command(&["train", "c.toml", "--run", ui, "--ui", ui]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let mut line = String::new();
        let reader: Box<dyn Read> = if ui == "json" {
            Box::new(out)
        } else {
            Box::new(err)
        };
        let mut reader = BufReader::new(reader);
        reader.read_line(&mut line).expect("a line");
        assert!(line.starts_with(begin), "{line}");
        drop(reader);
        assert_eq!(child.wait().expect("a child").code(), Some(0));
        assert_eq!(place.losses(ui).len(), 300);
        assert_eq!(place.checkpoints(ui), [300]);
    }
}

#[test]
fn an_output_that_is_full_does_not_stop_training_and_is_told() {
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: no /dev/full on this system");
        return;
    }
    let keys = [("train.max_steps", "8"), ("train.checkpoint_interval", "8")];
    let place = Place::new(&keys);
    let train = ["train", "c.toml", "--run", "r", "--ui", "json"];
    for (arguments, says) in [
        (&train[..], "in the run's folder has every line"),
        (&["train", "--help-config"], "stdout: "),
    ] {
        let mut command = place.command(arguments);
        let out = fs::OpenOptions::new().write(true).open(full);
        command.stdout(out.expect("a device"));
        let output = command.output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert_eq!(place.losses("r").len(), 8);
    assert_eq!(place.checkpoints("r"), [8]);
}

#[test]
fn a_terminal_that_hangs_up_does_not_stop_training() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "plain"]);
    let at = place.wait_for(&mut process, "r", "step", |_| true);
    process.signal(Signal::HUP);
    let later = at["step"].as_u64().expect("a number") + 5;
    place.wait_for(&mut process, "r", "step", |event| event["step"] == later);
    process.signal(Signal::INT);
    let said = process.expect(0);
    assert!(said.contains("step 1/"), "{said}");
}

#[test]
fn without_a_screen_a_run_is_suspended_and_continued_as_any_program() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "plain"]);
    place.wait_for(&mut process, "r", "step", |_| true);
    let stat = format!("/proc/{}/stat", process.child.id());
    if fs::read(&stat).is_err() {
        eprintln!("skipped: no /proc here");
        return;
    }
    process.signal(Signal::TSTP);
    process.wait_until("a stopped process", || {
        fs::read_to_string(&stat)
            .ok()?
            .contains(") T ")
            .then_some(())
    });
    let at = place.losses("r").len() as u64;
    process.signal(Signal::CONT);
    place.wait_for(&mut process, "r", "step", |event| event["step"] == at + 5);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn edits_of_the_file_are_applied_whole_or_refused_whole() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let edited = |keys: &[(&str, &str)]| config(&[&[ENDLESS, SLOW], keys].concat());
    // Its output goes to a file beside the configuration, so that the watched folder is never quiet.
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "json"]);
    place.wait_for(&mut process, "r", "step", |_| true);
    let mut version = 1;
    let mut applied = |process: &mut Process, key: &str, from: &str, to: &str| {
        version += 1;
        let event = place.wait_for(process, "r", "config_applied", |event| {
            event["version"] == version
        });
        assert_eq!(
            event["changes"],
            serde_json::json!([{"key": key, "from": from, "to": to}])
        );
        assert!(
            place
                .run_path("r", &format!("config/v{version:03}.toml"))
                .exists()
        );
        event["step"].as_u64().expect("a number")
    };
    let rejected = |process: &mut Process, word: &str| {
        let has = |event: &Value| event["message"].as_str().is_some_and(|m| m.contains(word));
        place.wait_for(process, "r", "config_rejected", has)
    };
    let step_after = |process: &mut Process, step: u64| {
        let after = |event: &Value| event["step"].as_u64() > Some(step);
        place.wait_for(process, "r", "step", after)
    };

    place.write("c.toml", edited(&[("optimizer.lr", "5e-3")]));
    let at = applied(&mut process, "optimizer.lr", "0.01", "0.005");
    assert_eq!(step_after(&mut process, at)["lr"], 0.005);

    place.write(
        "c.toml",
        edited(&[("optimizer.lr", "4e-3"), ("model.dim", "32")]),
    );
    let event = rejected(&mut process, "model.dim");
    let at = event["step"].as_u64().expect("a number");
    assert_eq!(
        step_after(&mut process, at)["lr"],
        0.005,
        "the old one is in force"
    );

    place.write("c.toml", format!("{}oops = = 3\n", edited(&[])));
    let line = edited(&[]).lines().count() + 1;
    let event = rejected(&mut process, &format!("c.toml:{line}:8"));
    assert_eq!(
        (&event["line"], &event["column"]),
        (&line.into(), &8.into())
    );

    // As vim does it: the old file becomes the backup, the new one is written beside and renamed.
    fs::rename(place.path("c.toml"), place.path("c.toml~")).expect("renamed");
    place.write(".c.toml.new", edited(&[("optimizer.lr", "2e-3")]));
    fs::rename(place.path(".c.toml.new"), place.path("c.toml")).expect("renamed");
    let at = applied(&mut process, "optimizer.lr", "0.005", "0.002");
    assert_eq!(step_after(&mut process, at)["lr"], 0.002);

    // As a shell does it: emptied first, then written in pieces.
    let new = edited(&[("optimizer.lr", "1e-3")]);
    let mut file = fs::File::create(place.path("c.toml")).expect("a temporary file");
    for piece in new.as_bytes().chunks(200) {
        file.write_all(piece).expect("written");
        sleep(Duration::from_millis(5));
    }
    applied(&mut process, "optimizer.lr", "0.002", "0.001");

    // A key of class boundary waits for a checkpoint.
    place.write(
        "c.toml",
        edited(&[("optimizer.lr", "1e-3"), ("train.micro_batch", "2")]),
    );
    place.wait_for(&mut process, "r", "reply", |event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("train.micro_batch will be applied")
    });
    process.signal(Signal::USR2);
    applied(&mut process, "train.micro_batch", "1", "2");

    // A device that is not there is refused, not taken for applied.
    let cuda = [
        ("optimizer.lr", "1e-3"),
        ("device.kind", "\"cuda:999\""),
        ("train.micro_batch", "2"),
    ];
    place.write("c.toml", edited(&cuda));
    rejected(&mut process, "cuda");
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn edits_of_a_resumed_run_start_from_its_own_configuration() {
    let place = Place::new(&[
        ("schedule.lr_scale", "0.5"),
        ("train.checkpoint_interval", "5"),
    ]);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    // The file says nothing of a live key that the checkpoint has.
    place.write(
        "c.toml",
        config(&[ENDLESS, ("train.checkpoint_interval", "5")]),
    );
    let resume = ["train", "c.toml", "--run", "r", "--resume", "--ui", "none"];
    let mut process = place.start(&resume);
    let lr = |event: &Value| event["lr"] == 0.005 && event["step"] == 21;
    place.wait_for(&mut process, "r", "step", lr);
    place.write(
        "c.toml",
        config(&[
            ENDLESS,
            ("optimizer.lr", "4e-3"),
            ("train.checkpoint_interval", "5"),
        ]),
    );
    let event = place.wait_for(&mut process, "r", "config_applied", |_| true);
    assert_eq!(
        event["changes"].as_array().map(Vec::len),
        Some(1),
        "{event}"
    );
    place.wait_for(&mut process, "r", "step", |event| event["lr"] == 0.002);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn an_edit_made_during_preparation_is_not_lost() {
    let keys = [
        ENDLESS,
        SLOW,
        ("data.train", "[\"long.txt\"]"),
        ("tokenizer.algorithm", "\"bpe\""),
        ("tokenizer.vocab_size", "280"),
    ];
    let place = Place::new(&keys);
    place.write("long.txt", text(2_000_000));
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    // The tokenizer is there, the data are not yet encoded.
    process.wait_until("a tokenizer in the cache", || {
        let mut files = fs::read_dir(place.path("cache")).ok()?.flatten();
        files
            .any(|file| file.file_name().to_string_lossy().starts_with("tokenizer-"))
            .then_some(())
    });
    let edit = [("optimizer.lr", "4e-3")];
    place.write("c.toml", config(&[&keys[..], &edit].concat()));
    place.wait_for(&mut process, "r", "config_applied", |_| true);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn a_checkpoint_that_cannot_be_written_at_the_end_is_an_error() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut process, "r", "step", |_| true);
    let checkpoints = place.run_path("r", "checkpoints");
    fs::remove_dir_all(&checkpoints).expect("removed");
    fs::write(&checkpoints, "in the way").expect("written");
    process.signal(Signal::USR2);
    place.wait_for(&mut process, "r", "warning", |_| true);
    process.signal(Signal::INT);
    let said = process.expect(5);
    assert!(
        said.contains("checkpoints") && said.lines().count() <= 6,
        "{said}"
    );
    assert_eq!(place.events("r").last().expect("events")["event"], "failed");
}

#[test]
fn a_lowered_end_is_evaluated_and_saved_as_one() {
    let keys = [
        SLOW,
        ("train.checkpoint_interval", "1000"),
        ("train.eval_interval", "1000"),
    ];
    let place = Place::new(&[&keys[..], &[ENDLESS]].concat());
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut process, "r", "step", |event| event["step"] == 5);
    place.write(
        "c.toml",
        config(&[&keys[..], &[("train.max_steps", "2")]].concat()),
    );
    process.expect(0);
    let events = place.events("r");
    let step = place.losses("r").len() as u64;
    let finished = events.last().expect("events");
    assert_eq!(
        (&finished["event"], &finished["reason"]),
        (&"finished".into(), &"max_steps".into())
    );
    assert!(
        events
            .iter()
            .any(|e| e["event"] == "eval" && e["step"] == step)
    );
    assert_eq!(place.checkpoints("r"), [step]);
}
