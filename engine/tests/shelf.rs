//! Checkpoints that somebody marks, verifies and deletes while the run is on, and after it went on.

#[expect(dead_code, reason = "not all that running tests share is needed")]
mod running;

use engine::checkpoint::{best, folder_name, list, set_best, tag_of};
use engine::link::{Body, Command};
use engine::run_folder::EventReader;
use engine::train::run::Ending;
use running::{Running, start};
use std::fs;
use std::path::Path;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 1\ndim = 16\nheads = 2\nffn = { hidden = 32 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 4\nmax_steps = 100000000\ncheckpoint_interval = 0\neval_interval = 0\nkeep_last = 1\n";

/// Lets the run make some more steps and pauses it. Returns the last step.
fn some_steps(run: &mut Running) -> u64 {
    drop(run.ask(Command::Resume));
    run.wait("step", |body| matches!(body, Body::Step(_)));
    let answer = run.obeys(Command::Pause { hard: false });
    let steps = answer.before.iter().rev().find_map(|body| match body {
        Body::Paused { step, .. } => Some(*step),
        _ => None,
    });
    steps.expect("a pause that says its step")
}

fn steps(run: &Path) -> Vec<u64> {
    let there = list(&run.join("checkpoints")).expect("a folder");
    there.into_iter().map(|(step, _)| step).collect()
}

#[test]
fn a_checkpoint_is_marked_verified_and_deleted() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    fs::write(place.join("c.toml"), CONFIG).expect("written");
    let mut run = start(place, "r", &[], false);
    let folder = run.folder.clone();
    let of = |step: u64| folder.join("checkpoints").join(folder_name(step));
    let save = |run: &mut Running, tag: Option<&str>| {
        let step = some_steps(run);
        let tag = tag.map(str::to_owned);
        run.obeys(Command::Checkpoint { tag });
        step
    };
    let first = save(&mut run, Some("first"));
    let second = save(&mut run, None);
    let third = save(&mut run, None);
    assert_eq!(
        steps(&folder),
        [first, third],
        "keep_last = 1, but for the tag"
    );
    let name = |name: &str| Command::Tag {
        step: first,
        name: name.to_owned(),
    };
    run.obeys(name("  kept for later "));
    assert_eq!(tag_of(&of(first)).as_deref(), Some("kept for later"));
    assert!(run.refuses(name(" ")).contains("needs a name"));
    assert!(
        run.refuses(Command::Untag { step: third })
            .contains("has no tag")
    );
    let wrong = run.refuses(Command::Checkpoint {
        tag: Some("x".repeat(100)),
    });
    assert!(wrong.contains("at most 64"), "{wrong}");

    run.obeys(Command::Verify { step: third });
    let newest = run.refuses(Command::Delete { step: third });
    assert!(newest.contains("newest good checkpoint"), "{newest}");
    let short = format!("checkpoints/{}: not deleted", folder_name(third));
    assert!(newest.starts_with(&short), "{newest}");
    let gone = run.refuses(Command::Delete { step: second });
    assert!(
        gone.contains(&format!("there are those of {first}, {third}")),
        "{gone}"
    );
    // What is damaged without its size telling so is not good once somebody has looked.
    let weights = of(third).join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&weights, bytes).expect("written");
    let damaged = run.ask(Command::Verify { step: third });
    assert!(
        damaged.refused && damaged.message.contains("hash differs"),
        "{damaged:?}"
    );
    let begin = format!("checkpoints/{}: ", folder_name(third));
    assert!(damaged.message.starts_with(&begin), "{damaged:?}");
    let told = |body: &Body| matches!(body, Body::CheckpointVerified { step, valid: false, message: Some(_), .. } if *step == third);
    assert!(damaged.before.iter().any(told), "{damaged:?}");
    let farewell = run.interrupt.farewell();
    let good = format!("the last good checkpoint is that of step {first};");
    assert!(farewell.contains(&good), "{farewell}");
    let newest = run.refuses(Command::Delete { step: first });
    assert!(newest.contains("newest good checkpoint"), "{newest}");
    set_best(&folder, third).expect("noted");
    run.obeys(Command::Delete { step: third });
    assert_eq!((steps(&folder), best(&folder)), (vec![first], None));

    // The mark survives the process; without it the next checkpoint takes the place.
    let fourth = save(&mut run, None);
    run.obeys(Command::Stop { checkpoint: true });
    assert_eq!(run.end(), Ending::Done);
    let mut run = start(place, "r", &[], true);
    let fifth = save(&mut run, None);
    assert_eq!(steps(&folder), [first, fifth]);
    run.obeys(Command::Untag { step: first });
    let sixth = save(&mut run, None);
    assert_eq!(steps(&folder), [sixth]);
    run.obeys(Command::Stop { checkpoint: true });
    assert_eq!(run.end(), Ending::Done);

    let deleted: Vec<(u64, String)> = EventReader::open(&folder)
        .expect("a record")
        .filter_map(|event| match event.body {
            Body::CheckpointDeleted { step, reason, .. } => Some((step, reason)),
            _ => None,
        })
        .collect();
    let of = |step: u64, reason: &str| (step, reason.to_owned());
    assert_eq!(
        deleted,
        [
            of(second, "keep_last"),
            of(third, "command"),
            of(fourth, "keep_last"),
            of(first, "keep_last"),
            of(fifth, "keep_last")
        ]
    );
    let left = fs::read_dir(folder.join("checkpoints")).expect("a folder");
    assert_eq!(left.count(), 1, "nothing half deleted lies about");
}

#[test]
fn a_run_that_gave_its_memory_back_keeps_what_it_will_take_up() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    fs::write(place.join("c.toml"), CONFIG).expect("written");
    let mut run = start(place, "r", &["train.keep_last=0"], false);
    let first = some_steps(&mut run);
    run.obeys(Command::Checkpoint { tag: None });
    run.obeys(Command::Resume);
    run.wait("step", |body| matches!(body, Body::Step(_)));
    run.obeys(Command::Pause { hard: true });
    let last = *steps(&run.folder).last().expect("a checkpoint");
    let why = run.refuses(Command::Delete { step: last });
    assert!(why.contains("takes its memory from it"), "{why}");
    run.obeys(Command::Tag {
        step: last,
        name: "paused".to_owned(),
    });
    run.obeys(Command::Verify { step: last });
    run.obeys(Command::Delete { step: first });
    run.obeys(Command::Resume);
    run.wait("step", |body| matches!(body, Body::Step(_)));
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}

/// A checkpoint that takes for ever to read: its manifest is a pipe into which nobody writes.
#[cfg(unix)]
#[test]
fn who_waits_for_a_verification_is_answered_when_the_run_ends() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    fs::write(place.join("c.toml"), CONFIG).expect("written");
    let mut run = start(place, "r", &["train.keep_last=0"], false);
    let folder = run.folder.clone();
    let step = some_steps(&mut run);
    run.obeys(Command::Checkpoint { tag: None });
    let manifest = folder.join("checkpoints").join(folder_name(step));
    let manifest = manifest.join("manifest.json");
    fs::remove_file(&manifest).expect("a manifest");
    let made = std::process::Command::new("mkfifo").arg(&manifest).status();
    assert!(made.expect("mkfifo").success());
    let asked = run.post(Command::Verify { step });
    let busy = run.refuses(Command::Verify { step });
    assert!(busy.contains("being verified"), "{busy}");
    run.obeys(Command::Stop { checkpoint: false });
    let answer = run.wait(
        "answer",
        |body| matches!(body, Body::Reply { id, .. } if *id == asked),
    );
    let Body::Reply {
        refused, message, ..
    } = answer
    else {
        panic!("{answer:?}");
    };
    let why = format!("the run ended before the checkpoint of step {step} was read");
    assert!(refused && message.starts_with(&why), "{message}");
    assert_eq!(run.end(), Ending::Done);
    let record = EventReader::open(&folder).expect("a record");
    let last = record.last().expect("events").body;
    assert!(matches!(last, Body::Finished { .. }), "{last:?}");
    // The thread that reads ends too.
    drop(fs::write(&manifest, "{}"));
}

#[test]
fn a_best_checkpoint_that_cannot_be_noted_does_not_end_the_run() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    fs::write(place.join("c.toml"), CONFIG).expect("written");
    let sets = [
        "data.validation_fraction=0.1",
        "train.eval_interval=1",
        "train.eval_batches=1",
        "train.checkpoint_interval=1000000",
    ];
    let mut run = start(place, "r", &sets, false);
    drop(run.ask(Command::Pause { hard: false }));
    let note = run.folder.join("best");
    drop(fs::remove_file(&note));
    fs::create_dir(&note).expect("in its place");
    drop(run.ask(Command::Resume));
    run.wait("warning", |body| {
        matches!(body, Body::Warning { message, .. } if message.contains("could not be noted"))
    });
    run.wait("step", |body| matches!(body, Body::Step(_)));
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}
