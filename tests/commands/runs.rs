//! runs, show, metric, compare; and readers that have seen enough.

use super::{Place, Told, number, trained};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

fn step(step: u64, attempt: u32, loss: &Value) -> String {
    let event = json!({
        "event": "step", "step": step, "attempt": attempt, "loss": loss, "lr": 1e-3, "grad_norm": 1.0, "clipped": false,
        "tokens": 64 * step, "tokens_per_second": 100.0, "step_seconds": 0.64, "data_wait_seconds": 0.0,
        "time": "2026-01-01T00:00:00Z",
    });
    format!("{event}\n")
}

/// A run that was stopped after step 6, and went on from the checkpoint of step 4 up to step 8.
fn resumed_twice() -> Place {
    let place = Place::new();
    let mut events = String::new();
    for number in 1..=6 {
        events += &step(number, 1, &json!(number as f64));
    }
    let resumed = json!({ "event": "resumed", "step": 4, "path": "checkpoints/step_00000004", "attempt": 2,
        "time": "2026-01-01T00:00:00Z" });
    events += &resumed.to_string();
    events += "\n";
    for number in 5..=8 {
        events += &step(number, 2, &json!(10.0 + number as f64));
    }
    events += &step(9, 2, &json!("NaN"));
    place.file("runs/again/events.jsonl", events);
    place
}

#[test]
fn of_a_step_trained_twice_the_last_attempt_counts() {
    let place = resumed_twice();
    let rows = place.run(&["metric", "again", "loss"]).good();
    let want = "1\t1.0\n2\t2.0\n3\t3.0\n4\t4.0\n5\t15.0\n6\t16.0\n7\t17.0\n8\t18.0\n9\tNaN\n";
    assert_eq!(rows, want);
    let near = [
        "metric", "again", "loss", "--around", "6", "--window", "1", "--json",
    ];
    let told = place.run(&near).json();
    assert_eq!(
        (&told["steps"], &told["values"]),
        (&json!([5, 6, 7]), &json!([15.0, 16.0, 17.0]))
    );
    assert_eq!(
        place
            .run(&["metric", "again", "tokens"])
            .good()
            .lines()
            .count(),
        9
    );
    // A run's folder may be named too.
    assert_eq!(place.run(&["metric", "./runs/again", "loss"]).good(), want);
    let shown = place.run(&["show", "again", "--json"]).json();
    assert_eq!(shown["steps"].as_array().expect("steps").len(), 9);
    assert_eq!(shown["steps"][8]["loss"], "NaN");
}

#[test]
fn a_run_is_listed_shown_and_measured() {
    let place = trained();
    let told = place.run(&["runs", "--json"]).json();
    let run = &told["runs"][0];
    assert_eq!(
        (&run["name"], &run["state"], &run["step"]),
        (&"tiny".into(), &"finished".into(), &6.into())
    );
    assert_eq!(run["checkpoints"], json!([3, 6]));
    let table = place.run(&["runs"]).good();
    assert!(
        table.lines().count() == 2 && table.contains("finished") && table.contains("6/6"),
        "{table}"
    );
    let shown = place.run(&["show", "tiny", "--json"]).json();
    for (key, value) in run.as_object().expect("an object") {
        assert!(key == "depth" || shown[key] == *value, "{key}: {shown}");
    }
    assert_eq!(
        shown["evaluations"].as_array().expect("evaluations").len(),
        2
    );
    let keys = shown["config"].as_array().expect("keys");
    let lr = keys
        .iter()
        .find(|key| key["key"] == "optimizer.lr")
        .expect("a key");
    assert_eq!(
        (&lr["value"], &lr["source"]),
        (&"0.01".into(), &"file".into())
    );
    let text = place.run(&["show", "tiny"]).good();
    for part in [
        "state        finished",
        "optimizer.lr = 0.01   # file",
        "bits per byte",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for name in [
        "validation_loss",
        "validation_bits_per_byte",
        "gradient_rms.blocks.0.mixer",
    ] {
        let told = place.run(&["metric", "tiny", name, "--json"]).json();
        assert_eq!(told["steps"], json!([3, 6]), "{name}");
    }
    // Whatever the record says of a layer can be asked for, and is offered.
    let events =
        std::fs::read_to_string(place.path().join("runs/tiny/events.jsonl")).expect("a record");
    let lines = events.lines().map(serde_json::from_str);
    let mut events = lines.map(|line| line.expect("JSON"));
    let layers: Value = events
        .find(|e: &Value| e["event"] == "layers")
        .expect("statistics");
    let offered = place.run(&["metric", "tiny", "nothing"]).err;
    for (kind, values) in layers.as_object().expect("an object") {
        if kind == "names" || !values.is_array() {
            continue;
        }
        assert!(offered.contains(&**kind), "{kind} is not in {offered}");
        let layer = layers["names"][1].as_str().expect("a layer");
        let name = format!("{kind}.{layer}");
        let told = place.run(&["metric", "tiny", &name, "--json"]).json();
        assert_eq!(told["values"][0], values[1], "{name}");
    }
    let none = Place::new();
    assert_eq!(none.run(&["runs", "--json"]).json(), json!({ "runs": [] }));
    assert!(none.run(&["runs"]).good().contains("zerollm train"));
}

#[test]
fn a_folder_whose_name_is_no_text_hides_no_run() {
    let place = Place::new();
    let runs = OsStr::from_bytes(b"nu\xff");
    let there = place.path().join(runs).join("x");
    std::fs::create_dir_all(&there).expect("a folder");
    std::fs::write(there.join("events.jsonl"), step(1, 1, &json!(1.5))).expect("a record");
    let told = |words: &[&str]| {
        let mut command = place.command(words);
        let output = command.arg("--runs").arg(runs).output();
        Told::new(output.expect("it starts")).json()
    };
    let path = "nu\u{fffd}/x";
    assert_eq!(told(&["runs", "--json"])["runs"][0]["path"], path);
    assert_eq!(told(&["show", "x", "--json"])["path"], path);
    place.file("tiny.toml", super::TINY);
    let train = ["train", "tiny.toml", "--run", "y", "--detach"];
    let mut command = place.command(&train);
    let output = command.arg("--runs").arg(runs).output();
    let said = Told::new(output.expect("it starts")).good();
    assert!(said.starts_with("run y trains in the background"), "{said}");
}

#[test]
fn runs_are_compared() {
    let place = Place::new();
    place.file("tiny.toml", super::TINY);
    for (name, lr) in [("a", "optimizer.lr=1e-2"), ("b", "optimizer.lr=1e-3")] {
        let train = [
            "train",
            "tiny.toml",
            "--run",
            name,
            "--set",
            lr,
            "--ui",
            "none",
        ];
        place.run(&train).good();
    }
    let told = place.run(&["compare", "a", "b", "--json"]).json();
    assert_eq!(
        told["differences"],
        json!({ "optimizer.lr": ["0.01", "0.001"] })
    );
    assert_eq!(told["runs"][1]["name"], "b");
    let best = number(&told["runs"][0]["best_validation_loss"]);
    assert!(
        best < number(&told["runs"][1]["best_validation_loss"]),
        "ten times the rate learned less"
    );
    let text = place.run(&["compare", "a", "b"]).good();
    assert!(
        text.contains("best validation loss") && text.contains("optimizer.lr"),
        "{text}"
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let place = Place::new();
    let events: String = (1..=30_000)
        .map(|number| step(number, 1, &json!(1.5)))
        .collect();
    place.file("runs/long/events.jsonl", events);
    for arguments in [
        &["metric", "long", "loss"][..],
        &["show", "long"],
        &["metric", "long", "lr", "--json"],
    ] {
        let mut child = place
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("stdout"));
        if arguments[0] == "show" {
            // Closed before anything is read.
        } else {
            let mut first = [0; 16];
            out.read_exact(&mut first).expect("a beginning");
        }
        drop(out);
        let output = child.wait_with_output().expect("it ends");
        let told = Told::new(output);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{arguments:?}");
    }
    let mut child = trained()
        .command(&["generate", "--run", "tiny", "--prompt", "a", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let told = Told::new(child.wait_with_output().expect("it ends"));
    assert_eq!((told.code, told.err.as_str()), (0, ""), "generate");
    let mut line = String::new();
    let mut child = trained()
        .command(&["show", "tiny"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "run          tiny\n");
    drop(out);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn runs_are_searched_sorted_and_tagged() {
    let place = resumed_twice();
    place.file("runs/short/events.jsonl", step(1, 1, &json!(0.5)));
    let names = |arguments: &[&str]| -> Vec<String> {
        let mut all = vec!["runs", "--json"];
        all.extend(arguments);
        let told = place.run(&all).json();
        let runs = told["runs"].as_array().expect("runs").iter();
        runs.map(|run| run["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&["--sort", "step"]), ["short", "again"]);
    assert_eq!(names(&["--sort", "-step"]), ["again", "short"]);
    assert_eq!(
        names(&["--where", "step>5 or name~ort", "--sort", "name"]),
        ["again", "short"]
    );
    assert_eq!(names(&["--where", "not (loss < 1)"]), ["again"]);
    place.run(&["runs", "tag", "short", "good", "quick"]).good();
    place.run(&["runs", "note", "short", "a note"]).good();
    assert_eq!(
        names(&["--where", "tag==\"good\" and note~NOTE"]),
        ["short"]
    );
    place.run(&["runs", "untag", "short", "good"]).good();
    assert!(names(&["--where", "tag==good"]).is_empty());
    assert!(place.run(&["runs"]).good().contains("quick"));
    let shown = place.run(&["show", "short"]).good();
    for line in ["tags         quick\n", "note         a note\n"] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let shown = place.run(&["show", "short", "--json"]).json();
    assert_eq!(
        (&shown["tags"], &shown["note"]),
        (&json!(["quick"]), &json!("a note"))
    );
    for (arguments, part) in [
        (
            &["runs", "--where", "val_los<2"][..],
            "did you mean val_loss?",
        ),
        (&["runs", "--where", "step<"], "expected a number"),
        (&["runs", "--where", "step<9k"], "`9k` is none"),
        (
            &["runs", "--sort", "stpe"],
            "--sort: no key `stpe`; did you mean step?\n",
        ),
        (&["train", "--assert", "seconds<1m"], "`1m` is none"),
        (&["runs", "untag", "short", "good"], "no tag good"),
        (&["runs", "tag", "nobody", "x"], "no run nobody"),
    ] {
        let told = place.run(arguments);
        assert_eq!(told.code, 2, "{arguments:?}");
        assert!(told.err.contains(part), "{arguments:?}: {}", told.err);
    }
}

#[test]
fn seeds_of_one_configuration_are_told_together() {
    let place = Place::new();
    place.file("tiny.toml", super::TINY);
    for (name, lr, seed) in [
        ("a0", "1e-2", "0"),
        ("a1", "1e-2", "1"),
        ("b0", "1e-3", "0"),
        ("b1", "1e-3", "1"),
    ] {
        let (lr, seed) = (format!("optimizer.lr={lr}"), format!("run.seed={seed}"));
        let train = [
            "train",
            "tiny.toml",
            "--run",
            name,
            "--set",
            &lr,
            "--set",
            &seed,
            "--ui",
            "none",
        ];
        place.run(&train).good();
    }
    let told = place
        .run(&["compare", "a0", "b0", "a1", "b1", "--json"])
        .json();
    assert_eq!(told["groups"][0]["runs"], json!(["a0", "a1"]));
    assert_eq!(told["groups"][1]["seeds"], json!(["0", "1"]));
    let loss = |index: usize| number(&told["runs"][index]["loss"]);
    let mean = number(&told["groups"][0]["last_loss"]["mean"]);
    assert!((mean - f64::midpoint(loss(0), loss(2))).abs() < 1e-12);
    let pair = &told["pairs"][0];
    assert_eq!(
        (&pair["first"], &pair["n"]),
        (&json!(["a0", "a1"]), &json!(2))
    );
    let difference = (loss(1) - loss(0) + loss(3) - loss(2)) / 2.0;
    assert!((number(&pair["mean_difference"]) - difference).abs() < 1e-12);
    let text = place.run(&["compare", "a0", "b0", "a1", "b1"]).good();
    assert!(
        text.contains("a0, a1 differ only in the seed (0, 1)"),
        "{text}"
    );
}
