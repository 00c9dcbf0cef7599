//! A hard pause gives the machine back: the process holds almost no memory until training goes on, and it goes on to the
//! bit. One test, as it measures the memory of the process that it runs in.

#[expect(dead_code, reason = "only chats order copies of the weights")]
mod running;

use engine::link::{Body, Command, Urgency};
use engine::train::run::Ending;
use running::{losses, start};
use tempfile::TempDir;

/// 8 blocks of 12 x 256^2 parameters, 6.3 M in all: 100 MB of values, gradients and moments.
const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 8\ndim = 256\nheads = 4\nffn = { kind = \"mlp\", hidden = 1024 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 2\nmax_steps = 100000000\ncheckpoint_interval = 0\nkeep_last = 2\n\
    eval_interval = 0\n[sample]\ninterval = 0\n";
const MIB: u64 = 1 << 20;

/// Bytes that this process has resident.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[test]
fn the_memory_is_given_back_and_the_losses_stay_the_same() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    std::fs::write(place.join("c.toml"), CONFIG).expect("written");
    let base = resident();

    let mut run = start(place, "r", &[], false);
    run.wait_for_step(4);
    let training = resident();
    let answer = run.obeys(Command::Pause { hard: true });
    let told = |answer: &running::Answer| {
        answer.before.iter().find_map(|body| match body {
            Body::Paused { step, hard, .. } => Some((*step, *hard)),
            _ => None,
        })
    };
    let (step, hard) = told(&answer).expect("a pause");
    assert!(hard && step >= 4);
    if let (Some(base), Some(training), Some(paused)) = (base, training, resident()) {
        eprintln!(
            "resident MiB: {} before, {} in training, {} paused",
            base / MIB,
            training / MIB,
            paused / MIB
        );
        assert!(training > base + 95 * MIB, "not the model that was meant");
        assert!(paused < base + 20 * MIB, "{} MiB", paused / MIB);
    } else {
        eprintln!("skipped: no /proc here, so no memory is measured");
    }

    // What needs the memory is refused; the rest is obeyed.
    for command in [Command::Eval, Command::Sample] {
        assert!(run.refuses(command).contains("given back"));
    }
    let why = run.refuses(Command::Checkpoint { tag: None });
    assert!(why.contains("on the disk already"), "{why}");
    for hard in [true, false] {
        assert!(run.refuses(Command::Pause { hard }).contains("already"));
    }
    run.obeys(Command::Note {
        text: "lunch".to_owned(),
    });
    run.set("optimizer.lr", "0.002");
    run.set("train.micro_batch", "1");
    run.obeys(Command::Reload);
    let changed = run.folder.join("config/v004.toml");
    assert!(!changed.exists(), "reading the file again changes nothing");
    run.set("optimizer.lr", "0.001");
    run.set("train.micro_batch", "2");

    // The checkpoint that it would go on from is damaged meanwhile: it stays paused, and can once that is mended.
    let weights = run
        .folder
        .join(format!("checkpoints/step_{step:08}/model.safetensors"));
    let bytes = std::fs::read(&weights).expect("weights");
    std::fs::write(&weights, &bytes[1..]).expect("written");
    let why = run.refuses(Command::Resume);
    assert!(why.contains("stays paused"), "{why}");
    std::fs::write(&weights, &bytes).expect("written");
    run.obeys(Command::Resume);
    run.wait_for_step(step + 3);

    // From a pause with the memory kept to one without; back to the older checkpoint, and stopped as it is.
    run.obeys(Command::Pause { hard: false });
    let answer = run.obeys(Command::Pause { hard: true });
    let (later, hard) = told(&answer).expect("a pause");
    assert!(hard && later >= step + 3);
    run.obeys(Command::Rollback {
        step: Some(step),
        lr_scale: None,
    });
    run.obeys(Command::Resume);
    run.wait_for_step(step + 2);
    run.obeys(Command::Pause { hard: true });
    let folder = run.folder.clone();
    run.obeys(Command::Stop { checkpoint: true });
    assert_eq!(run.end(), Ending::Done);
    let stopped = losses(&folder).len() as u64;
    let checkpoints = engine::checkpoint::list(&folder.join("checkpoints")).expect("a folder");
    assert_eq!(checkpoints.last().map(|found| found.0), Some(stopped));

    // A signal reaches it too.
    let mut run = start(place, "r", &[], true);
    run.wait_for_step(stopped + 1);
    run.obeys(Command::Pause { hard: true });
    run.interrupt.raise(Urgency::Preempt);
    assert_eq!(run.end(), Ending::Preempted);

    let end = losses(&folder).len() as u64 + 2;
    let last = format!("train.max_steps={end}");
    for (name, resume) in [("r", true), ("whole", false)] {
        assert_eq!(start(place, name, &[&last], resume).end(), Ending::Done);
    }
    let expected = losses(&place.join("runs/whole"));
    assert_eq!(expected.len() as u64, end);
    assert_eq!(losses(&folder), expected);
}
