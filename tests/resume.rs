//! A run that is stopped in any way, however often, and resumed trains as if nothing had happened: the same losses to the
//! last bit.

#![cfg(unix)]

mod common;

use common::{ENDLESS, Place, Random, config, losses, text};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Everything that takes random numbers or memory, in small.
const STEPS: u64 = 60;
const BUSY: &[(&str, &str)] = &[
    ("sample.interval", "25"),
    ("telemetry.layer_interval", "5"),
    ("train.batch_size", "8"),
    ("train.checkpoint_interval", "7"),
    ("train.eval_interval", "20"),
    ("train.max_steps", "60"),
];

#[test]
fn killed_fifty_times_at_any_moment_the_losses_are_those_of_a_run_left_alone() {
    let place = Place::new(BUSY);
    place.expect(0, &["train", "c.toml", "--run", "whole", "--ui", "none"]);
    let whole = place.losses("whole");
    assert_eq!(whole.len() as u64, STEPS);
    let mut random = Random(1);
    let (mut kills, mut runs) = (0, 0);
    while kills < 50 {
        runs += 1;
        let run = format!("r{runs}");
        loop {
            // A kill before the run has a folder leaves nothing to resume.
            let mut arguments = vec!["train", "--run", &run, "--ui", "none"];
            let begun = place.run_path(&run, "run.lock").exists();
            arguments.push(if begun { "--resume" } else { "c.toml" });
            let mut process = place.start(&arguments);
            if random.below(3) > 0 {
                // Some kills wait for a step, so that the others may fall into preparation and the run still gets on.
                let before = place.events(&run).len();
                process.wait_until("a new event", || {
                    (place.events(&run).len() > before + 1).then_some(())
                });
                sleep(Duration::from_micros(random.below(30_000)));
            } else {
                sleep(Duration::from_millis(random.below(150)));
            }
            process.signal(Signal::KILL);
            let output = process.end();
            if output.status.success() {
                break;
            }
            let killed = output.status.code().is_none();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                killed,
                "{arguments:?} ends with {}: {stderr}",
                output.status
            );
            kills += 1;
        }
        assert_eq!(place.losses(&run), whole, "{run}");
        assert_eq!(place.checkpoints(&run).last(), Some(&STEPS));
    }
}

#[test]
fn signals_stop_with_a_checkpoint_and_no_screen_changes_a_loss() {
    let place = Place::new(BUSY);
    place.expect(0, &["train", "c.toml", "--run", "whole", "--ui", "plain"]);
    let whole = place.losses("whole");
    let json = place.run(&["train", "c.toml", "--run", "json", "--ui", "json"]);
    let lines: Vec<_> = String::from_utf8(json.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("nothing but events on stdout"))
        .collect();
    assert_eq!(
        lines,
        place.events("json"),
        "stdout has the record's events"
    );
    assert_eq!(losses(&lines), whole);
    place.expect(0, &["train", "c.toml", "--run", "none", "--ui", "none"]);
    assert_eq!(place.losses("none"), whole);

    for (signal, code, reason) in [
        (Signal::INT, 0, "stop"),
        (Signal::TERM, 75, "preempted"),
        (Signal::USR1, 75, "preempted"),
    ] {
        let run = format!("s{}", signal.as_raw());
        let mut process = place.start(&["train", "c.toml", "--run", &run, "--ui", "json"]);
        place.wait_for(&mut process, &run, "step", |_| true);
        process.signal(signal);
        process.expect(code);
        let events = place.events(&run);
        let step = losses(&events).len() as u64;
        if step < STEPS {
            assert_eq!(place.checkpoints(&run).last(), Some(&step), "{run}");
            let last = events.iter().rev().find(|e| e["event"] == "checkpoint");
            let last = last.expect("a checkpoint event");
            assert!(
                last["step"] == step && (last["reason"] == reason || step.is_multiple_of(7)),
                "{last}"
            );
        }
        let resumed = place.run(&["train", "--run", &run, "--resume", "--ui", "json"]);
        assert_eq!(resumed.status.code(), Some(0));
        let told = String::from_utf8(resumed.stdout).expect("UTF-8");
        assert!(told.starts_with("{\"event\":\"started\""), "{told}");
        assert!(told.contains(&format!("\"event\":\"resumed\",\"step\":{step}")));
        assert_eq!(place.losses(&run), whole, "{run}");
    }

    let mut process = place.start(&["train", "c.toml", "--run", "usr2", "--ui", "none"]);
    let at = place.wait_for(&mut process, "usr2", "step", |_| true);
    process.signal(Signal::USR2);
    process.expect(0);
    assert_eq!(place.losses("usr2"), whole, "from step {}", at["step"]);
}

#[test]
fn a_checkpoint_is_written_on_usr2_and_training_goes_on() {
    let place = Place::new(&[ENDLESS]);
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut process, "r", "step", |_| true);
    process.signal(Signal::USR2);
    let saved = place.wait_for(&mut process, "r", "checkpoint", |_| true);
    assert_eq!(saved["reason"], "command");
    let behind = |event: &serde_json::Value| event["step"].as_u64() > saved["step"].as_u64();
    place.wait_for(&mut process, "r", "step", behind);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn one_run_has_one_process_and_one_name() {
    let place = Place::new(&[ENDLESS]);
    let mut first = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut first, "r", "step", |_| true);
    let said = place.expect(2, &["train", "--run", "r", "--resume", "--ui", "none"]);
    assert!(
        said.contains(&format!("process {}", first.child.id())),
        "{said}"
    );
    let said = place.expect(2, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    assert!(said.contains("--resume"), "{said}");
    first.signal(Signal::INT);
    first.expect(0);
    let said = place.expect(2, &["train", "--run", "other", "--resume", "--ui", "none"]);
    assert!(said.contains("other"), "{said}");
    assert!(!place.run_path("other", "").exists());
    // Of two that begin it at once, one gets it.
    let both: Vec<Option<i32>> = ["a", "b"]
        .map(|_| place.start(&["train", "c.toml", "--run", "s", "--max-steps", "3"]))
        .iter_mut()
        .map(|process| process.end().status.code())
        .collect();
    assert!(
        both.contains(&Some(0)) && both.contains(&Some(2)),
        "{both:?}"
    );
    assert_eq!(place.losses("s").len(), 3);
    // A name from the configuration gets a number.
    for name in ["c", "c-2"] {
        place.expect(0, &["train", "c.toml", "--max-steps", "2", "--ui", "none"]);
        assert_eq!(place.losses(name).len(), 2);
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_is_taken() {
    let place = Place::new(&[
        ("train.checkpoint_interval", "5"),
        ("train.keep_last", "0"),
        ("train.max_steps", "12"),
    ]);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    let whole = place.losses("r");
    let folder = place.run_path("r", "checkpoints/step_00000012");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the last step's checkpoint")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    let resume = ["train", "--run", "r", "--resume", "--ui", "plain"];
    for (number, name) in names.iter().enumerate() {
        let file = folder.join(name);
        let mut bytes = fs::read(&file).expect("a file of the checkpoint");
        if number % 2 == 0 {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        fs::write(&file, bytes).expect("a temporary file can be written");
        let said = place.expect(0, &resume);
        let told = said.lines().any(|line| {
            line.contains("warning: skipped")
                && (line.contains(&*name.to_string_lossy()) || name == "manifest.json")
        });
        assert!(told, "{name:?}: {said}");
        assert!(said.contains("step_00000010"), "{name:?}: {said}");
        assert_eq!(place.losses("r"), whole, "{name:?}");
        assert_eq!(place.checkpoints("r"), [5, 10, 12]);
    }
    fs::write(place.run_path("r", "run.json"), "{\"schema\": 1, \"na").expect("written");
    fs::remove_dir_all(&folder).expect("removed");
    let said = place.expect(0, &resume);
    assert!(said.contains("run.json"), "{said}");
    assert_eq!(place.losses("r"), whole);
    let record = fs::read(place.run_path("r", "run.json")).expect("written anew");
    assert!(serde_json::from_slice::<serde_json::Value>(&record).is_ok());

    // Without any usable checkpoint the run begins at its first step.
    fs::remove_dir_all(place.run_path("r", "checkpoints")).expect("removed");
    place.expect(0, &resume);
    assert_eq!(place.losses("r"), whole);
}

#[test]
fn a_copied_run_goes_on_elsewhere() {
    let place = Place::new(&[("train.checkpoint_interval", "5")]);
    place.expect(0, &["train", "c.toml", "--run", "whole", "--ui", "none"]);
    let stop = [
        "train",
        "c.toml",
        "--run",
        "r",
        "--max-steps",
        "10",
        "--ui",
        "none",
    ];
    place.expect(0, &stop);
    let elsewhere = place.path("other machine");
    copy(&place.run_path("r", ""), &elsewhere.join("moved"));
    let runs = elsewhere.to_str().expect("UTF-8");
    let go_on = [
        "train",
        "--runs",
        runs,
        "--resume",
        "--max-steps",
        "20",
        "--ui",
        "none",
    ];
    place.expect(0, &go_on);
    let text = fs::read_to_string(elsewhere.join("moved/events.jsonl")).expect("a record");
    let events: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    assert_eq!(losses(&events), place.losses("whole"));
    assert_eq!(place.losses("r").len(), 10, "the original is left alone");

    // Where the data lie elsewhere too, a flag says so.
    fs::rename(place.path("text.txt"), elsewhere.join("data.txt")).expect("renamed");
    let further = ["train", "--runs", runs, "--resume", "--max-steps", "22"];
    let said = place.expect(2, &further);
    assert!(said.contains("text.txt"), "{said}");
    let data = ["--set", "data.train=[\"other machine/data.txt\"]"];
    place.expect(0, &[&further[..], &data].concat());
}

#[test]
fn a_file_beats_the_checkpoint_in_live_keys_and_may_not_change_others() {
    let place = Place::new(&[
        ("train.checkpoint_interval", "5"),
        ("train.max_steps", "10"),
    ]);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.write(
        "c.toml",
        config(&[
            ("optimizer.lr", "3e-3"),
            ("train.checkpoint_interval", "5"),
            ("train.max_steps", "12"),
        ]),
    );
    let resume = ["train", "c.toml", "--run", "r", "--resume", "--ui", "plain"];
    let said = place.expect(0, &resume);
    assert!(said.contains("optimizer.lr = 0.003"), "{said}");
    let lr = |place: &Place, step: u64| {
        let losses = place.losses("r");
        losses[&step]
            .rsplit(' ')
            .next()
            .expect("three numbers")
            .to_owned()
    };
    assert_eq!(lr(&place, 11), "0.003");
    // A flag beats the file.
    let flags = [
        &resume[..],
        &["--max-steps", "14", "--set", "optimizer.lr=2e-3"],
    ]
    .concat();
    let said = place.expect(0, &flags);
    assert!(said.contains("optimizer.lr = 0.002"), "{said}");
    assert_eq!(lr(&place, 13), "0.002");

    for (key, value) in [
        ("model.dim", "32"),
        ("run.seed", "5"),
        ("train.batch_size", "4"),
    ] {
        place.write("c.toml", config(&[(key, value), ("train.max_steps", "20")]));
        let before = place.events("r").len();
        let said = place.expect(2, &resume);
        assert!(said.contains(key) && said.lines().count() <= 6, "{said}");
        assert_eq!(
            place.events("r").len(),
            before,
            "a refused resume writes nothing"
        );
    }
}

#[test]
fn a_run_goes_on_without_the_model_that_it_began_with() {
    let end = [("train.checkpoint_interval", "5")];
    let place = Place::new(&end);
    place.expect(0, &["train", "c.toml", "--run", "donor", "--ui", "none"]);
    copy(
        &place.run_path("donor", "checkpoints/step_00000020"),
        &place.path("donor"),
    );
    // The tokenizer comes from there too, and the shape.
    let keys = [
        ("model.init_from", "\"donor\""),
        ("model.dim", ""),
        ("model.ffn.hidden", ""),
        ("model.ffn.kind", ""),
        ("model.heads", ""),
        ("model.layers", ""),
        ("tokenizer.algorithm", ""),
    ];
    place.write("c.toml", config(&[&end[..], &keys].concat()));
    place.expect(0, &["train", "c.toml", "--run", "whole", "--ui", "none"]);
    for run in ["own", "file"] {
        let begin = ["train", "c.toml", "--run", run, "--ui", "none"];
        place.expect(0, &[&begin[..], &["--max-steps", "10"]].concat());
    }
    fs::rename(place.path("donor"), place.path("gone")).expect("renamed");
    // A new run cannot begin so.
    let said = place.expect(2, &["train", "c.toml", "--run", "new"]);
    assert!(said.contains("model.init_from"), "{said}");
    for (run, file) in [("own", &[][..]), ("file", &["c.toml"])] {
        let resume = ["--run", run, "--resume", "--max-steps", "20"];
        place.expect(0, &[&["train"][..], file, &resume].concat());
        assert_eq!(place.losses(run), place.losses("whole"), "{run}");
    }
}

#[test]
fn what_dead_processes_left_among_the_runs_is_swept() {
    let place = Place::new(&[("train.max_steps", "2")]);
    let leftover = place.run_path(".tmp-r-99999999", "");
    fs::create_dir_all(&leftover).expect("a temporary folder");
    fs::write(leftover.join("run.lock"), "99999999\n").expect("written");
    let own = place.run_path(&format!(".tmp-r-{}", std::process::id()), "");
    fs::create_dir_all(&own).expect("a temporary folder");
    fs::write(own.join("run.lock"), "").expect("written");
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    assert!(!leftover.exists(), "nobody has it any more");
    assert!(own.exists(), "its process lives");
}

#[test]
fn a_finished_run_is_finished_once() {
    let place = Place::new(BUSY);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    let before = place.events("r");
    place.expect(0, &["train", "--run", "r", "--resume", "--ui", "none"]);
    let after = place.events("r");
    let new: Vec<_> = after[before.len()..].iter().map(|e| &e["event"]).collect();
    assert_eq!(new, ["started", "resumed", "plan", "finished"]);
    let (first, second) = (before.last(), after.last());
    let loss = |event: Option<&serde_json::Value>| event.expect("finished")["loss"].clone();
    assert_eq!(loss(first), loss(second));
}

#[test]
fn other_data_are_refused_and_the_same_elsewhere_are_not() {
    let place = Place::new(&[("train.checkpoint_interval", "5")]);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    let before = place.events("r").len();
    let old = text(4000);
    place.write("text.txt", old.replace("cat", "rat"));
    let resume = ["train", "--run", "r", "--resume", "--max-steps", "24"];
    let said = place.expect(2, &resume);
    assert!(said.contains("other data"), "{said}");
    assert_eq!(place.events("r").len(), before);
    place.write("text.txt", old);
    place.expect(0, &resume);
    assert_eq!(place.losses("r").len(), 24);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("copied");
        }
    }
}
