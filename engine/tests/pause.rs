//! A pause does not wait for the end of a step: what was computed of it is made again, and the losses are the same bits.

#[expect(dead_code, reason = "only chats order copies of the weights")]
mod running;

use engine::link::{Body, Command};
use engine::train::run::Ending;
use running::{losses, start};
use tempfile::TempDir;

/// Steps of 400 micro-batches.
const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 1\ndim = 32\nheads = 2\nffn = { kind = \"mlp\", hidden = 64 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 400\nmicro_batch = 1\nmax_steps = 8\ncheckpoint_interval = 0\n\
    eval_interval = 0\n[sample]\ninterval = 0\n";

#[test]
fn a_pause_in_the_middle_of_a_step_gives_it_up_and_changes_no_bit() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    std::fs::write(place.join("c.toml"), CONFIG).expect("written");
    let mut run = start(place, "r", &[], false);
    let mut finished = 0;
    for step in 1..=6 {
        run.wait_for_step(step);
        let answer = run.obeys(Command::Pause { hard: step == 3 });
        let paused = answer.before.iter().find_map(|body| match body {
            Body::Paused { step, .. } => Some(*step),
            _ => None,
        });
        assert!(paused.is_some_and(|paused| paused == step || paused == step + 1));
        // Whoever asks at the very end of a step sees it finished.
        let steps = answer.before.iter();
        finished += steps.filter(|body| matches!(body, Body::Step(_))).count();
        run.obeys(Command::Resume);
    }
    assert!(
        finished <= 2,
        "{finished} of 6 pauses waited for a step's end"
    );
    let folder = run.folder.clone();
    assert_eq!(run.end(), Ending::Done);
    let whole = start(place, "whole", &[], false);
    let other = whole.folder.clone();
    assert_eq!(whole.end(), Ending::Done);
    assert_eq!(losses(&other).len(), 8);
    assert_eq!(losses(&folder), losses(&other));
}
