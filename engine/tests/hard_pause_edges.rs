//! A hard pause before any step is done, and the end of one for which there is no memory.

#[expect(dead_code, reason = "not all that running tests share is needed")]
mod running;

use engine::link::{Body, Command, Urgency};
use engine::train::run::Ending;
use running::{Running, losses, start};
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 4\ndim = 64\nheads = 4\ndropout = 0.1\nffn = { kind = \"mlp\", hidden = 256 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 2\nmax_steps = 5\ncheckpoint_interval = 0\neval_interval = 0\n[sample]\ninterval = 0\n";

fn place(config: &str) -> TempDir {
    let place = TempDir::new().expect("a temporary folder");
    std::fs::write(place.path().join("c.toml"), config).expect("written");
    place
}

/// The run `name`, paused before its first step: it was ended before its first checkpoint, and begins again with a file
/// that asks for the pause.
fn paused_at_the_start(place: &Path, name: &str, sets: &[&str]) -> Running {
    let begun = start(place, name, sets, false);
    begun.interrupt.raise(Urgency::Preempt);
    let folder = begun.folder.clone();
    begun.end();
    drop(std::fs::remove_dir_all(folder.join("checkpoints")));
    std::fs::create_dir(folder.join("checkpoints")).expect("made");
    std::fs::write(folder.join("ctl/pause"), "").expect("written");
    let run = start(place, name, sets, true);
    let is_paused = |body: &Body| matches!(body, Body::Paused { .. });
    let paused = run.wait("pause", is_paused);
    assert!(matches!(paused, Body::Paused { step: 0, .. }), "{paused:?}");
    run
}

#[test]
fn before_the_first_step_the_weights_are_drawn_or_read_again() {
    let place = place(CONFIG);
    let place = place.path();
    let saved = ["train.checkpoint_interval=5"];
    assert_eq!(start(place, "drawn", &saved, false).end(), Ending::Done);
    let weights = place.join("runs/drawn/checkpoints/step_00000005");
    let from = format!("model.init_from={}", weights.display());
    assert_eq!(start(place, "read", &[&from], false).end(), Ending::Done);
    for (name, like, sets) in [("a", "drawn", &[][..]), ("b", "read", &[&*from])] {
        let mut run = paused_at_the_start(place, name, sets);
        run.obeys(Command::Pause { hard: true });
        let why = run.refuses(Command::Checkpoint { tag: None });
        assert!(why.contains("given back"), "{why}");
        let folder = run.folder.clone();
        let checkpoints = engine::checkpoint::list(&folder.join("checkpoints")).expect("a folder");
        assert!(checkpoints.is_empty(), "there is nothing to save");
        run.obeys(Command::Resume);
        assert_eq!(run.end(), Ending::Done);
        assert_eq!(losses(&folder), losses(&place.join("runs").join(like)));
    }

    // It may also be ended there.
    let mut run = paused_at_the_start(place, "c", &[]);
    run.obeys(Command::Pause { hard: true });
    run.obeys(Command::Stop { checkpoint: true });
    assert_eq!(run.end(), Ending::Untrained);
}

#[test]
fn it_stays_paused_where_there_is_no_memory_to_go_on_with() {
    // About 0.9 TB of activations if all rows of a step are computed at once.
    let free = engine::estimate::available_bytes();
    if free.is_none_or(|free| free > 500 << 30) {
        eprintln!("skipped: this machine might have the memory, or does not say");
        return;
    }
    let config = CONFIG
        .replace("layers = 4", "layers = 32")
        .replace("batch_size = 2", "batch_size = 500000\nmicro_batch = 8");
    let place = place(&config);
    let mut run = paused_at_the_start(place.path(), "r", &[]);
    run.obeys(Command::Pause { hard: true });
    run.set("train.micro_batch", "500000");
    for _ in 0..2 {
        let why = run.refuses(Command::Resume);
        assert!(
            why.contains("stays paused") && why.contains("train.micro_batch"),
            "{why}"
        );
    }
    let why = run.refuses(Command::Sample);
    assert!(why.contains("given back"), "{why}");
    run.set("train.micro_batch", "8");
    let answer = run.obeys(Command::Resume);
    let goes_on = |body: &Body| matches!(body, Body::ResumedFromPause { step: 0 });
    assert!(answer.before.iter().any(goes_on), "{:?}", answer.before);
    // Its step would last for hours.
    run.interrupt.raise(Urgency::Preempt);
    assert_eq!(run.end(), Ending::Preempted);
}
