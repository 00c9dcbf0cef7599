//! Forks, and runs as wholes: a fork is its parent's continuation to the bit, lives without it, and is refused what its
//! weights are not made for.

mod common;

use common::{ENDLESS, PATIENCE, Place};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run of 20 steps with a checkpoint every five.
fn parent(keys: &[(&str, &str)]) -> Place {
    let mut all = vec![
        ("train.checkpoint_interval", "5"),
        ("train.keep_last", "0"),
        ("train.eval_interval", "5"),
    ];
    all.extend(keys);
    let place = Place::new(&all);
    go(&place, "train c.toml --run a");
    place
}

/// Runs a command line, its words apart, without a screen to its end, which must be good.
fn go(place: &Place, line: &str) {
    let words = line.split_whitespace().chain(["--ui", "none"]);
    place.expect(0, &words.collect::<Vec<_>>());
}

/// How many folders there are among the runs.
fn num_runs(place: &Place) -> usize {
    fs::read_dir(place.path("runs")).expect("runs").count()
}

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let output = place.run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Contents of every file below a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path.to_string_lossy().into_owned(), bytes);
        }
    }
    found
}

fn after(losses: &BTreeMap<u64, String>, step: u64) -> BTreeMap<u64, String> {
    losses.clone().split_off(&(step + 1))
}

#[test]
fn a_fork_without_changes_is_its_parents_continuation_to_the_bit() {
    let place = parent(&[]);
    let before = contents(&place.path("runs/a"));
    go(&place, "fork a@10 --run b");
    assert_eq!(
        contents(&place.path("runs/a")),
        before,
        "the parent is only read"
    );
    let events = place.events("b");
    assert_eq!(
        (&events[0]["event"], &events[0]["step"], &events[0]["run"]),
        (&json!("started"), &json!(10), &json!("b"))
    );
    let steps = events.iter().filter(|event| event["event"] == "step");
    assert_eq!(steps.clone().count(), 10);
    assert!(steps.clone().all(|event| event["attempt"] == 1));
    assert_eq!(place.losses("b"), after(&place.losses("a"), 10));
    let tokens = |run: &str| -> Vec<Value> {
        let events = place.events(run).into_iter();
        let late =
            events.filter(|event| event["event"] == "step" && event["step"].as_u64() > Some(10));
        late.map(|event| event["tokens"].clone()).collect()
    };
    assert_eq!(tokens("b"), tokens("a"));
    let evals = |run: &str| -> Vec<Value> {
        let events = place.events(run).into_iter();
        let evals =
            events.filter(|event| event["event"] == "eval" && event["step"].as_u64() > Some(10));
        evals
            .map(|event| json!([event["step"], event["loss"], event["best"]]))
            .collect()
    };
    assert_eq!(evals("b"), evals("a"));
    let record: Value = serde_json::from_slice(&record_of(&place, "b")).expect("JSON");
    assert_eq!(record["parent"], json!({ "run": "a", "step": 10 }));
    assert_eq!(record["what"], "c.toml");
    // It needs nothing of its parent any more.
    place.expect(0, &["runs", "delete", "a", "--yes"]);
    go(&place, "train --run b --resume --max-steps 22");
    assert_eq!(place.losses("b").keys().max(), Some(&22));
    assert_eq!(place.checkpoints("b"), [10, 15, 20, 22]);
}

fn record_of(place: &Place, run: &str) -> Vec<u8> {
    fs::read(place.run_path(run, "run.json")).expect("a record")
}

#[test]
fn the_newest_checkpoint_is_the_default_and_names_get_numbers() {
    let place = parent(&[]);
    let said = place.run(&[
        "fork",
        "a",
        "--dry-run",
        "--set",
        "train.max_steps=30",
        "--set",
        "optimizer.lr=1e-3",
    ]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for part in [
        "a fork of a@20",
        "optimizer.lr = 0.001 (the parent: 0.01)",
        "10 steps are left",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(num_runs(&place), 1, "a dry run writes nothing");
    go(&place, "fork a --max-steps 22");
    place.expect(0, &["fork", "a-2@22", "--dry-run"]);
}

#[test]
fn what_the_weights_are_not_made_for_is_refused_and_leaves_nothing() {
    let place = parent(&[]);
    fs::create_dir(place.run_path("taken", "")).expect("a folder");
    fs::write(place.run_path("taken", "mine"), "").expect("a file");
    for (arguments, part) in [
        (&["fork", "a@7"][..], "the nearest is a@5"),
        (&["fork", "a@18"], "the nearest is a@20"),
        (&["fork", "a@x"], "expected RUN or RUN@STEP"),
        (&["fork", "nobody"], "no run nobody"),
        (
            &["fork", "a", "--set", "model.dim=32"],
            "model.dim is 16: 32 needs a new run",
        ),
        (
            &["fork", "a", "--set", "tokenizer.special=<x>"],
            "tokenizer.special is []",
        ),
        (&["fork", "a", "--set", "optimizer.lrr=1"], "optimizer.lr"),
        (&["fork", "a", "--run", "a"], "exists already"),
        (&["fork", "a", "--run", "archive"], "set aside"),
        (&["fork", "a", "--run", "b/c"], "a folder's name"),
        (&["fork", "a", "--run", "taken"], "exists already"),
        // What would be refused is refused where it is only asked for.
        (&["fork", "a", "--run", "a", "--dry-run"], "exists already"),
        (
            &["fork", "a", "--run", "b/c", "--dry-run"],
            "a folder's name",
        ),
        (
            &["fork", "a", "--run", "taken", "--dry-run"],
            "exists already",
        ),
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--ui", "none"]);
        let said = place.expect(2, &all);
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(said.lines().count() <= 6, "{said}");
    }
    assert_eq!(num_runs(&place), 2, "with the folder that is none");
    fs::remove_dir_all(place.run_path("a", "checkpoints")).expect("removed");
    let said = place.expect(2, &["fork", "a", "--ui", "none"]);
    assert!(said.contains("no checkpoint to fork from"), "{said}");
}

#[test]
fn an_optimizer_of_another_kind_starts_empty_and_resumes_to_the_bit() {
    let place = parent(&[]);
    let sgd = "--set optimizer.kind=sgd --set optimizer.lr=0.1";
    for (name, steps) in [("whole", 18), ("halved", 14)] {
        let fork = format!("fork a@10 --run {name} --max-steps {steps}");
        go(&place, &format!("{fork} {sgd}"));
    }
    let said: Vec<Value> = place.events("whole");
    // It is what was asked for: nobody need be warned.
    let said = said
        .iter()
        .filter(|event| event["event"] == "warning" && event["note"] == true);
    let said: Vec<&str> = said.filter_map(|event| event["message"].as_str()).collect();
    assert!(
        said.iter()
            .any(|line| line.contains("its state starts empty")),
        "{said:?}"
    );
    go(&place, "train --run halved --resume --max-steps 18");
    assert_eq!(place.losses("halved"), place.losses("whole"));
    assert_ne!(place.losses("whole")[&12], place.losses("a")[&12]);
    // Adam's moments of a fork back are corrected for the steps that they have seen, not for those of the run.
    let adamw = "--set optimizer.kind=adamw --set optimizer.lr=1e-2";
    go(
        &place,
        &format!("fork whole@18 --run back --max-steps 20 {adamw}"),
    );
    assert!(place.losses("back").contains_key(&20));
}

#[test]
fn other_data_keep_the_trained_tokenizer_even_before_the_forks_first_checkpoint() {
    let place = parent(&[
        ("tokenizer.algorithm", "\"bpe\""),
        ("tokenizer.vocab_size", "280"),
    ]);
    place.write("other.txt", "a zebra quizzed the jolly fox. ".repeat(200));
    let other = "--set data.train=other.txt";
    go(&place, &format!("fork a@10 --run b --max-steps 10 {other}"));
    // It ended where it began: what it resumes from is its parent's checkpoint under its own configuration.
    go(&place, "train --run b --resume --max-steps 14");
    go(&place, &format!("fork a@10 --run c --max-steps 14 {other}"));
    assert_eq!(place.losses("b"), place.losses("c"));
    let tokenizer =
        |run: &str| fs::read(place.run_path(run, "checkpoints/step_00000010/tokenizer.json"));
    assert_eq!(tokenizer("b").expect("b's"), tokenizer("a").expect("a's"));
    // Data that changed without being said are another matter.
    place.write("text.txt", "something else entirely. ".repeat(300));
    let said = place.expect(2, &["fork", "a@10", "--run", "d", "--ui", "none"]);
    assert!(said.contains("other data"), "{said}");
}

#[test]
fn forks_of_forks_are_a_tree() {
    let place = parent(&[]);
    go(&place, "fork a@10 --run b --max-steps 16");
    go(&place, "fork b@15 --run c --max-steps 17");
    go(&place, "fork a@5 --run d --max-steps 6");
    let told = json_of(&place, &["runs", "--tree", "--sort", "name", "--json"]);
    let rows: Vec<(Value, Value)> = told["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| (run["name"].clone(), run["depth"].clone()))
        .collect();
    let row = |name: &str, depth: u64| (json!(name), json!(depth));
    assert_eq!(rows, [row("a", 0), row("b", 1), row("c", 2), row("d", 1)]);
    assert_eq!(
        after(&place.losses("c"), 15),
        after(&place.losses("a"), 15)
            .into_iter()
            .filter(|(step, _)| *step <= 17)
            .collect()
    );
    // Set aside, a parent is no row any more; its fork stays, and keeps saying whose it is.
    place.expect(0, &["runs", "archive", "b"]);
    let told = json_of(&place, &["runs", "--where", "parent==b@15", "--json"]);
    assert_eq!(told["runs"][0]["name"], "c");
    assert_eq!(told["runs"].as_array().expect("runs").len(), 1);
    assert!(place.path("runs/archive/b/run.json").is_file());
}

#[test]
fn a_run_that_a_process_has_is_not_deleted() {
    let place = Place::new(&[ENDLESS]);
    let mut process = place.start(&["train", "c.toml", "--run", "live", "--ui", "none"]);
    place.wait_for(&mut process, "live", "step", |_| true);
    for action in [
        &["runs", "delete", "live", "--yes"][..],
        &["runs", "archive", "live"],
    ] {
        let said = place.expect(2, action);
        assert!(said.contains("in use by process"), "{said}");
    }
    // Tags and notes are not the engine's: they can be given while it trains.
    place.expect(0, &["runs", "tag", "live", "endless"]);
    let told = json_of(
        &place,
        &[
            "runs",
            "--where",
            "status==running and tag==endless",
            "--json",
        ],
    );
    assert_eq!(told["runs"][0]["name"], "live");
    process.signal(rustix::process::Signal::TERM);
    process.expect(75);
    let said = place.expect(2, &["runs", "delete", "live"]);
    assert!(said.contains("--yes does it"), "{said}");
    place.expect(0, &["runs", "delete", "live", "--yes"]);
    assert_eq!(num_runs(&place), 0);
}

#[cfg(unix)]
#[test]
fn a_fork_trains_in_the_background() {
    let place = parent(&[]);
    let output = place.run(&[
        "fork",
        "a@10",
        "--run",
        "b",
        "--set",
        "train.max_steps=100000000",
        "--detach",
    ]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("run b trains in the background"), "{said}");
    // A stop may be obeyed before the first step.
    let begin = Instant::now();
    while !place.losses("b").contains_key(&11) {
        assert!(begin.elapsed() < PATIENCE, "it trains");
        sleep(Duration::from_millis(10));
    }
    place.expect(0, &["ctl", "b", "stop"]);
}

#[cfg(unix)]
#[test]
fn a_fork_of_a_run_that_is_on_is_made_without_disturbing_it() {
    let place = parent(&[]);
    let steps = ["--set", "train.max_steps=100000000"];
    let live = ["train", "c.toml", "--run", "live", "--ui", "none"];
    let mut process = place.start(&[&live[..], &steps].concat());
    place.wait_for(&mut process, "live", "checkpoint", |e| e["step"] == 20);
    let ctl = |words: &[&'static str]| [&["ctl", "live", "fork", "--at", "10"][..], words].concat();
    let end = "train.max_steps=20";
    let slow = ["--set", "optimizer.lr=5e-3", "--set", end];
    let told = json_of(
        &place,
        &ctl(&[&["--run", "b", "--json"][..], &slow].concat()),
    );
    assert_eq!(
        (&told["run"], &told["parent"], &told["step"]),
        (&json!("b"), &json!("live"), &json!(10))
    );
    let folder = told["folder"].as_str().expect("a path");
    assert_eq!(place.path(folder), place.path("runs/b"));
    // Nobody has trained it.
    assert!(place.events("b").is_empty());
    let listed = json_of(&place, &["runs", "--where", "status==new", "--json"]);
    assert_eq!(listed["runs"][0]["name"], "b");
    assert_eq!(place.checkpoints("b"), [10]);
    let sgd = ["--run", "c", "--set", "optimizer.kind=sgd", "--set", end];
    place.expect(0, &ctl(&sgd));
    let taken = place.run(&ctl(&["--set", end]));
    let said = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(said.contains("train --run live-2 --resume"), "{said}");

    for (words, told) in [
        (ctl(&["--run", "b"]), "exists already"),
        (ctl(&["--set", "model.dim=32"]), "keeps the model"),
        (ctl(&["--set", "optimizer.speed=2"]), "optimizer.speed"),
        (
            vec!["ctl", "live", "fork", "--at", "11"],
            "nearest is live@10",
        ),
        (vec!["ctl", "a", "fork"], "not running"),
        (vec!["ctl", "nobody", "fork"], "nobody"),
    ] {
        let said = place.expect(2, &words);
        assert!(said.contains(told) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(
        num_runs(&place),
        5,
        "a, live, b, c, live-2 and nothing else"
    );

    // The run has noticed nothing.
    process.signal(rustix::process::Signal::INT);
    process.expect(0);
    let events = place.events("live");
    assert!(!events.iter().any(|event| event["event"] == "reply"));
    let losses = place.losses("live");
    assert!(
        place
            .losses("a")
            .iter()
            .all(|(step, row)| losses.get(step) == Some(row))
    );

    // Begun later, they are the forks that `fork` starts at once.
    for (name, like, sets) in [("b", "b2", &slow[..]), ("c", "c2", &sgd[2..])] {
        go(&place, &format!("train --run {name} --resume"));
        go(
            &place,
            &format!("fork live@10 --run {like} {}", sets.join(" ")),
        );
        assert_eq!(place.losses(name).len(), 10);
        assert_eq!(place.losses(name), place.losses(like));
    }
}
