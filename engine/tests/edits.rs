//! Whose word counts for a key while a run is on: an edit beats the file until it is written back into it.

#[expect(dead_code, reason = "not all that running tests share is needed")]
mod running;

use engine::link::{Body, Command};
use engine::train::run::Ending;
use running::{Running, start};
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 1\ndim = 16\nheads = 2\nffn = { hidden = 32 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 2\nmax_steps = 100000000\nclip_norm = 1.0\ncheckpoint_interval = 0\neval_interval = 0\n\
    [sample]\ninterval = 0\n";

fn write(place: &Path, lr: &str, clip: &str) {
    let text = CONFIG
        .replace("lr = 0.001", &format!("lr = {lr}"))
        .replace("clip_norm = 1.0", &format!("clip_norm = {clip}"));
    std::fs::write(place.join("c.toml"), text).expect("written");
}

/// What reading the file again changes, and what is said of it.
fn reload(run: &mut Running) -> (Vec<String>, String) {
    let answer = run.obeys(Command::Reload);
    let changes = answer.before.iter().find_map(|body| match body {
        Body::ConfigApplied { changes, .. } => Some(changes.clone()),
        _ => None,
    });
    let changes = changes.unwrap_or_default().into_iter();
    let changes = changes.map(|change| format!("{}={}", change.key, change.to));
    (changes.collect(), answer.message)
}

#[test]
fn what_was_written_back_is_the_files_again() {
    for flags in [&[][..], &["optimizer.lr=0.01"]] {
        let place = TempDir::new().expect("a temporary folder");
        let place = place.path();
        write(place, "0.001", "1.0");
        let mut run = start(place, "r", flags, false);
        run.obeys(Command::Pause { hard: false });
        run.set("optimizer.lr", "0.002");

        // The edit is stronger than the file while the file says otherwise.
        write(place, "0.003", "0.5");
        assert_eq!(reload(&mut run).0, ["train.clip_norm=0.5"]);

        // Written back, it changes nothing; then the file counts.
        write(place, "2e-3", "0.5");
        let (changes, said) = reload(&mut run);
        assert!(changes.is_empty(), "{changes:?}");
        assert!(
            said.contains("the file decides optimizer.lr again"),
            "{said}"
        );
        write(place, "0.004", "0.5");
        assert_eq!(reload(&mut run).0, ["optimizer.lr=0.004"]);

        // A key that nobody edited has nothing to give back.
        assert_eq!(reload(&mut run).1, "nothing has changed");
        run.set("optimizer.lr", "0.005");
        write(place, "0.006", "0.5");
        assert!(reload(&mut run).0.is_empty());
        run.obeys(Command::Stop { checkpoint: false });
        assert_eq!(run.end(), Ending::Done);
    }
}

#[test]
fn an_edit_that_waits_for_a_boundary_can_be_written_back_too() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    write(place, "0.001", "1.0");
    let mut run = start(place, "r", &[], false);
    run.wait_for_step(1);
    let text = std::fs::read_to_string(place.join("c.toml")).expect("the file");
    run.set("train.micro_batch", "1");
    let with = |height: &str| {
        let line = format!("batch_size = 2\nmicro_batch = {height}");
        text.replace("batch_size = 2", &line)
    };
    std::fs::write(place.join("c.toml"), with("1")).expect("written");
    let (_, said) = reload(&mut run);
    assert!(
        said.contains("will be applied") && said.contains("the file decides"),
        "{said}"
    );
    run.obeys(Command::Checkpoint { tag: None });
    std::fs::write(place.join("c.toml"), with("2")).expect("written");
    run.obeys(Command::Reload);
    let answer = run.obeys(Command::Checkpoint {
        tag: Some("x".to_owned()),
    });
    let applied =
        |body: &Body| matches!(body, Body::ConfigApplied { changes, .. } if changes[0].to == "2");
    assert!(answer.before.iter().any(applied), "{:?}", answer.before);
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}

/// What edits of the run change, and where the values that they touch are said to come from.
fn sources(answer: &running::Answer) -> Vec<String> {
    let told = answer.before.iter().filter_map(|body| match body {
        Body::ConfigSources { sources, .. } => Some(sources.clone()),
        _ => None,
    });
    told.flatten()
        .map(|(key, source)| format!("{key}: {source}"))
        .collect()
}

#[test]
fn an_edit_needs_no_file_and_is_not_stopped_by_a_bad_one() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    let file = place.join("c.toml");
    write(place, "0.001", "1.0");
    let text = std::fs::read_to_string(&file).expect("the file");
    let mut run = start(place, "r", &[], false);
    run.wait_for_step(1);
    // Gone, half written, refused for a key that only a new run takes.
    for (number, bad) in [
        None,
        Some("[train]\nmax_steps = ".to_owned()),
        Some(text.replace("dim = 16", "dim = 32")),
    ]
    .into_iter()
    .enumerate()
    {
        match &bad {
            None => std::fs::remove_file(&file).expect("removed"),
            Some(text) => std::fs::write(&file, text).expect("written"),
        }
        let value = format!("0.{}", number + 2);
        let answer = run.obeys(Command::Set {
            key: "schedule.lr_scale".to_owned(),
            value: value.clone(),
        });
        let applied = answer.before.iter().find_map(|body| match body {
            Body::ConfigApplied { changes, .. } => Some(changes.clone()),
            _ => None,
        });
        let changes = applied.expect("an edit that is applied");
        assert_eq!(changes.len(), 1, "only what was asked for: {changes:?}");
        assert_eq!(changes[0].to, value);
        let why = run.refuses(Command::Reload);
        let part = ["there is no such file", "c.toml:2:", "model.dim"][number];
        assert!(why.contains(part), "{why}");
    }
    // Mended, it counts again, but for the key that was edited.
    write(place, "0.004", "1.0");
    let answer = run.obeys(Command::Reload);
    assert_eq!(sources(&answer), ["optimizer.lr: file"]);
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}

#[test]
fn where_a_value_comes_from_is_told_when_it_changes() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    write(place, "0.001", "1.0");
    let mut run = start(place, "r", &[], false);
    run.wait_for_step(1);
    let set = |value: &str| Command::Set {
        key: "optimizer.lr".to_owned(),
        value: value.to_owned(),
    };
    let answer = run.obeys(set("0.002"));
    assert!(sources(&answer).is_empty(), "an edit is one");
    // Written back: the same value is the file's.
    write(place, "0.002", "0.5");
    let answer = run.obeys(Command::Reload);
    assert_eq!(
        sources(&answer),
        ["train.clip_norm: file", "optimizer.lr: file"]
    );
    // A key that the file says nothing of any more is the default again.
    let text = std::fs::read_to_string(place.join("c.toml")).expect("the file");
    let without = text.replace("clip_norm = 0.5\n", "");
    std::fs::write(place.join("c.toml"), without).expect("written");
    let answer = run.obeys(Command::Reload);
    assert_eq!(sources(&answer), ["train.clip_norm: default"]);
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}
