//! A run that is told to go back to a checkpoint trains on like one that was stopped and resumed there: the same losses to
//! the bit, as another attempt, paused or not.

#[expect(dead_code, reason = "only chats order copies of the weights")]
mod running;

use engine::link::{Body, Command};
use engine::run_folder::RunRecord;
use engine::train::run::Ending;
use running::{Running, losses, rows, start};
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 24\n\
    [model]\nlayers = 1\ndim = 16\nheads = 2\ndropout = 0.1\nffn = { hidden = 32 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.01\n\
    [train]\nbatch_size = 4\nmicro_batch = 2\nmax_steps = 30\ncheckpoint_interval = 5\nkeep_last = 0\n\
    eval_interval = 0\n[sample]\ninterval = 0\n";
const ENDLESS: &str = "train.max_steps=100000000";

fn place() -> TempDir {
    let place = TempDir::new().expect("a temporary folder");
    std::fs::write(place.path().join("c.toml"), CONFIG).expect("written");
    place
}

fn whole(place: &Path, name: &str, sets: &[&str], resume: bool) {
    assert_eq!(start(place, name, sets, resume).end(), Ending::Done);
}

fn back(step: Option<u64>) -> Command {
    let lr_scale = None;
    Command::Rollback { step, lr_scale }
}

fn finish(mut run: Running) {
    run.set("train.max_steps", "30");
    run.obeys(Command::Resume);
    assert_eq!(run.end(), Ending::Done);
}

#[test]
fn it_trains_on_like_a_run_that_was_resumed_there() {
    let place = place();
    let place = place.path();
    whole(place, "whole", &[], false);
    let expected = losses(&place.join("runs/whole"));
    assert_eq!(expected.len(), 30);

    let mut run = start(place, "paused", &[ENDLESS], false);
    run.wait_for_step(12);
    run.obeys(Command::Pause { hard: false });
    let answer = run.obeys(back(Some(5)));
    // Another attempt from that checkpoint, and still paused.
    let told: Vec<&Body> = answer
        .before
        .iter()
        .filter(|body| matches!(body, Body::Resumed { .. } | Body::Paused { .. }))
        .collect();
    let resumed = Body::Resumed {
        step: 5,
        path: "checkpoints/step_00000005".to_owned(),
        attempt: 2,
    };
    let paused = Body::Paused {
        step: 5,
        reason: None,
        hard: false,
    };
    assert_eq!(told, [&resumed, &paused]);
    let folder = run.folder.clone();
    finish(run);
    assert_eq!(losses(&folder), expected);
    let attempts = rows(&folder);
    assert!(
        attempts
            .iter()
            .all(|(step, row)| row.2 == if *step > 5 { 2 } else { 1 })
    );
    let record = std::fs::read(folder.join("run.json")).expect("a record");
    let record: RunRecord = serde_json::from_slice(&record).expect("JSON");
    assert_eq!(record.attempt, 2);
    // A resume is the attempt after.
    whole(place, "paused", &["train.max_steps=31"], true);
    assert_eq!(rows(&folder)[&31].2, 3);

    // In the middle of training, to the newest checkpoint, twice.
    let mut run = start(place, "on", &[ENDLESS], false);
    for _ in 0..2 {
        run.wait_for_step(7);
        run.obeys(back(None));
    }
    run.obeys(Command::Pause { hard: false });
    run.obeys(back(Some(5)));
    let folder = run.folder.clone();
    finish(run);
    assert_eq!(losses(&folder), expected);
    assert_eq!(rows(&folder)[&6].2, 4);
}

#[test]
fn with_another_rate_it_is_the_run_resumed_with_that_rate() {
    let place = place();
    let place = place.path();
    whole(place, "resumed", &["train.max_steps=10"], false);
    whole(place, "resumed", &["schedule.lr_scale=0.25"], true);
    // Every evaluation of a model that learns is the best so far.
    let mut run = start(place, "r", &[ENDLESS, "train.eval_interval=2"], false);
    run.wait_for_step(14);
    run.obeys(Command::Pause { hard: false });
    run.obeys(Command::Rollback {
        step: Some(10),
        lr_scale: Some(0.25),
    });
    let folder = run.folder.clone();
    let best = engine::checkpoint::best(&folder);
    assert!(
        best.is_none_or(|step| step <= 10),
        "{best:?} was set aside with the steps behind 10"
    );
    finish(run);
    assert_eq!(losses(&folder), losses(&place.join("runs/resumed")));
}

#[test]
fn what_a_watcher_wished_for_is_forgotten_with_the_steps_behind() {
    let place = place();
    let place = place.path();
    // No disk has so much room: every checkpoint is an alert that wishes for a pause after the next step.
    let sets = [
        ENDLESS,
        "train.checkpoint_interval=0",
        "watch.disk.checkpoints=1000000000000000",
        "watch.disk.action=pause",
    ];
    let mut run = start(place, "r", &sets, false);
    run.wait_for_step(2);
    run.obeys(Command::Pause { hard: false });
    let answer = run.obeys(Command::Checkpoint { tag: None });
    let alert = |body: &Body| matches!(body, Body::Alert(alert) if alert.action == "pause");
    assert!(answer.before.iter().any(alert), "{:?}", answer.before);
    let answer = run.obeys(back(None));
    let step_of = |body: &Body| match body {
        Body::Resumed { step, .. } => Some(*step),
        _ => None,
    };
    let at = answer
        .before
        .iter()
        .find_map(step_of)
        .expect("it went back");
    run.obeys(Command::Resume);
    let paused = |body: &Body| matches!(body, Body::Paused { .. });
    let later = |body: &Body| matches!(body, Body::Step(done) if done.step >= at + 3);
    let told = run.wait("step or pause", |body| paused(body) || later(body));
    assert!(later(&told), "the pause belonged to the other attempt");
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
}

#[test]
fn what_is_not_there_is_refused_and_changes_nothing() {
    let place = place();
    let place = place.path();
    let mut run = start(place, "r", &[ENDLESS, "train.checkpoint_interval=0"], false);
    run.wait_for_step(2);
    run.obeys(Command::Pause { hard: false });
    assert!(run.refuses(back(None)).contains("no checkpoint yet"));
    run.obeys(Command::Checkpoint { tag: None });
    run.obeys(Command::Resume);
    run.wait_for_step(1);
    run.obeys(Command::Pause { hard: false });
    let why = run.refuses(back(Some(1_000_000)));
    assert!(
        why.contains("no checkpoint of step 1000000; there are those of"),
        "{why}"
    );
    let why = run.refuses(Command::Rollback {
        step: None,
        lr_scale: Some(-1.0),
    });
    assert!(why.contains("schedule.lr_scale"), "{why}");
    // A damaged one is no place to go back to.
    let checkpoints = run.folder.join("checkpoints");
    let (step, folder) = engine::checkpoint::list(&checkpoints)
        .expect("a folder")
        .pop()
        .expect("a checkpoint");
    let weights = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    let why = run.refuses(back(Some(step)));
    assert!(why.contains("not a valid checkpoint"), "{why}");
    let folder = run.folder.clone();
    run.obeys(Command::Stop { checkpoint: false });
    assert_eq!(run.end(), Ending::Done);
    assert!(rows(&folder).values().all(|row| row.2 == 1));
}
