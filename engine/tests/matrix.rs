//! The control matrix: every command and every request of a signal, in every phase of a run. What is taken and what is
//! refused stands in tables; in all of it the losses are those of a run that was left alone.
//!
//! Real signals to a real process, and a process that ends while it writes, are `tests/control.rs` and `tests/resume.rs`.

#[expect(dead_code, reason = "not all that running tests share is needed")]
mod running;

use engine::checkpoint::{list, tag_of, verify};
use engine::link::{Body, Command, Urgency};
use engine::train::run::Ending;
use running::{Answer, Running, losses, start};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 16\n\
    [model]\nlayers = 1\ndim = 16\nheads = 2\nffn = { hidden = 32 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.001\n\
    [train]\nbatch_size = 4\nmicro_batch = 1\nmax_steps = 100000000\ncheckpoint_interval = 0\neval_interval = 0\n\
    eval_batches = 2\nkeep_last = 0\n[sample]\ninterval = 0\nmax_tokens = 4\nprompts = [\"a\"]\n";

/// What a run is busy with while it is asked.
struct Phase {
    name: &'static str,
    /// Keys that make it long.
    sets: &'static [&'static str],
    /// What ends it: an answer that comes behind this event was asked for in the phase.
    ends: Option<fn(&Body) -> bool>,
    /// The pause that the run is in, if it is in one: hard or not.
    pause: Option<bool>,
}

const PHASES: [Phase; 6] = [
    Phase {
        name: "step",
        sets: &["train.batch_size=200"],
        ends: None,
        pause: None,
    },
    Phase {
        name: "evaluation",
        sets: &["train.eval_interval=1", "train.eval_batches=100000000"],
        ends: Some(|body| matches!(body, Body::Eval(_))),
        pause: None,
    },
    Phase {
        name: "sampling",
        sets: &[
            "sample.interval=1",
            "sample.max_tokens=200",
            "model.max_positions=256",
            "sample.prompts=[\"a\", \"b\", \"c\"]",
        ],
        ends: Some(|body| matches!(body, Body::Sample { .. })),
        pause: None,
    },
    Phase {
        name: "checkpoint",
        sets: &[
            "train.checkpoint_interval=1",
            "train.keep_last=2",
            "model.max_positions=30000",
            "model.position.kind=learned",
        ],
        ends: Some(|body| matches!(body, Body::Checkpoint { .. })),
        pause: None,
    },
    Phase {
        name: "pause",
        sets: &[],
        ends: None,
        pause: Some(false),
    },
    Phase {
        name: "hard pause",
        sets: &[],
        ends: None,
        pause: Some(true),
    },
];

/// Stand for the step of a checkpoint that was tagged before, in commands.
const MINE: u64 = u64::MAX;
const OTHER: u64 = u64::MAX - 1;
/// A step that has no checkpoint.
const NOWHERE: u64 = 99_999_999;

/// A command with the steps that it stands for in a run.
fn with_steps(command: &Command, run: &Path) -> Command {
    let mut command = command.clone();
    if let Command::Tag { step, .. }
    | Command::Untag { step }
    | Command::Verify { step }
    | Command::Delete { step } = &mut command
    {
        let tag = match *step {
            MINE => "mine",
            OTHER => "other",
            _ => return command,
        };
        let there = list(&run.join("checkpoints")).expect("a folder");
        let has = |path: &Path| tag_of(path).as_deref() == Some(tag);
        let found = there.iter().find(|(_, path)| has(path));
        *step = found.map_or(NOWHERE, |(step, _)| *step);
    }
    command
}

/// An event that a command causes.
type Effect = Option<fn(&Body) -> bool>;

/// Every command that leaves the run on, in an order in which each has what it needs.
fn commands() -> Vec<(&'static str, Command, Effect)> {
    let set = |key: &str, value: &str| Command::Set {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let back = |step| Command::Rollback {
        step,
        lr_scale: None,
    };
    let rejected: Effect = Some(|body| matches!(body, Body::ConfigRejected { .. }));
    let paused: Effect = Some(|body| matches!(body, Body::Paused { .. }));
    vec![
        ("checkpoint", Command::Checkpoint { tag: None }, None),
        (
            "tagged checkpoint",
            Command::Checkpoint {
                tag: Some("mine".to_owned()),
            },
            None,
        ),
        (
            "other tagged checkpoint",
            Command::Checkpoint {
                tag: Some("other".to_owned()),
            },
            Some(|body| matches!(body, Body::CheckpointTagged { .. })),
        ),
        (
            "verify",
            Command::Verify { step: OTHER },
            Some(|body| matches!(body, Body::CheckpointVerified { valid: true, .. })),
        ),
        (
            "tag",
            Command::Tag {
                step: OTHER,
                name: "other".to_owned(),
            },
            Some(|body| matches!(body, Body::CheckpointTagged { .. })),
        ),
        (
            "tag in two lines",
            Command::Tag {
                step: OTHER,
                name: "a\nb".to_owned(),
            },
            None,
        ),
        (
            "delete",
            Command::Delete { step: MINE },
            Some(|body| matches!(body, Body::CheckpointDeleted { .. })),
        ),
        ("delete nothing", Command::Delete { step: NOWHERE }, None),
        ("untag nothing", Command::Untag { step: NOWHERE }, None),
        (
            "eval",
            Command::Eval,
            Some(|body| matches!(body, Body::Eval(_))),
        ),
        (
            "sample",
            Command::Sample,
            Some(|body| matches!(body, Body::Sample { .. })),
        ),
        (
            "attention",
            Command::Attention {
                prompt: "the fox".to_owned(),
                layer: 0,
                head: 1,
            },
            Some(|body| matches!(body, Body::Attention(_))),
        ),
        ("weights", Command::Weights, None),
        (
            "live key",
            set("train.log_interval", "7"),
            Some(|body| matches!(body, Body::ConfigApplied { .. })),
        ),
        ("boundary key", set("device.threads", "2"), None),
        ("restart key", set("model.dim", "32"), rejected),
        ("wrong value", set("optimizer.lr", "\"fast\""), rejected),
        ("reload", Command::Reload, None),
        (
            "note",
            Command::Note {
                text: "x".to_owned(),
            },
            None,
        ),
        ("profile", Command::Profile, None),
        ("pause", Command::Pause { hard: false }, paused),
        (
            "resume",
            Command::Resume,
            Some(|body| matches!(body, Body::ResumedFromPause { .. })),
        ),
        ("hard pause", Command::Pause { hard: true }, paused),
        (
            "rollback",
            back(None),
            Some(|body| matches!(body, Body::Resumed { .. })),
        ),
        ("rollback to nowhere", back(Some(NOWHERE)), None),
    ]
}

/// Why a command is refused in a phase; none where it is taken.
fn refusal(phase: &Phase, command: &str) -> Option<&'static str> {
    let given_back = "the memory of the run is given back";
    Some(match (command, phase.pause) {
        ("eval" | "sample" | "attention" | "weights", Some(true)) => given_back,
        ("weights", _) => "in the process that trains only",
        ("restart key", _) => "cannot change in a run that is on",
        ("wrong value", _) => "optimizer.lr",
        ("rollback to nowhere", _) => "no checkpoint of step 99999999",
        ("resume", None) => "is not paused",
        ("pause", Some(_)) | ("hard pause", Some(true)) => "is paused already",
        ("checkpoint" | "tagged checkpoint" | "other tagged checkpoint", Some(true)) => {
            "is on the disk already"
        }
        // In a pause both names were given to one checkpoint, in a hard one none was.
        ("delete", Some(_))
        | ("delete nothing" | "untag nothing", _)
        | ("verify" | "tag" | "tag in two lines", Some(true)) => "no checkpoint of step",
        ("tag in two lines", _) => "one line",
        _ => return None,
    })
}

/// A run that is in a phase.
fn begin(place: &Path, phase: &Phase, name: &str) -> Running {
    let mut run = start(place, name, phase.sets, false);
    run.wait_for_step(1);
    if let Some(hard) = phase.pause {
        run.obeys(Command::Pause { hard });
    }
    run
}

/// Brings a run back into the phase after a command; whether a pause was asked for and granted is `paused`.
fn settle(run: &mut Running, phase: &Phase, command: &str, answer: &Answer) {
    if answer.refused {
        return;
    }
    match (command, phase.pause) {
        ("pause" | "hard pause", None) => drop(run.obeys(Command::Resume)),
        ("resume", Some(hard)) => drop(run.obeys(Command::Pause { hard })),
        ("hard pause", Some(false)) => {
            run.obeys(Command::Resume);
            run.obeys(Command::Pause { hard: false });
        }
        _ => {}
    }
}

fn place() -> TempDir {
    let place = TempDir::new().expect("a temporary folder");
    fs::write(place.path().join("c.toml"), CONFIG).expect("written");
    place
}

/// The losses of `run` are those of a run that nobody asked for anything.
fn same_as_left_alone(place: &Path, phase: &Phase, run: &Path) {
    let steps = losses(run).len();
    assert!(steps > 0, "{}: no step", phase.name);
    let max = format!("train.max_steps={steps}");
    let quiet = [
        &*max,
        "train.eval_interval=0",
        "sample.interval=0",
        "train.checkpoint_interval=0",
    ];
    let calm = start(
        place,
        &format!("calm-{steps}"),
        &[phase.sets, &quiet].concat(),
        false,
    );
    let folder = calm.folder.clone();
    assert_eq!(calm.end(), Ending::Done);
    assert_eq!(losses(run), losses(&folder), "{}", phase.name);
    fs::remove_dir_all(folder).expect("removed");
}

fn every_command(phase: &Phase) {
    let place = place();
    let place = place.path();
    let mut run = begin(place, phase, "r");
    let folder = run.folder.clone();
    let mut in_phase = 0;
    let commands = commands();
    let mut asked = 0;
    for (name, command, effect) in &commands {
        if phase.pause.is_none() {
            // What follows the step is what the phase is about.
            run.wait("step", |body| matches!(body, Body::Step(_)));
        }
        let what = format!("{name} in {}", phase.name);
        let answer = run.ask(with_steps(command, &folder));
        let events = &answer.before;
        asked += 1;
        in_phase += usize::from(phase.ends.is_none_or(|ends| events.iter().any(ends)));
        match refusal(phase, name) {
            // The engine times some of the first steps by itself.
            None if answer.message.contains("being timed already") => assert_eq!(*name, "profile"),
            None => assert!(!answer.refused, "{what}: {}", answer.message),
            Some(part) => assert!(
                answer.refused && answer.message.contains(part),
                "{what}: {}",
                answer.message
            ),
        }
        let happens = !answer.refused || matches!(*name, "restart key" | "wrong value");
        if let (Some(effect), true) = (effect, happens) {
            assert!(events.iter().any(effect), "{what}: {events:?}");
        }
        assert!(!answer.message.contains('\n'), "{what}: {}", answer.message);
        settle(&mut run, phase, name, &answer);
    }
    assert!(
        2 * in_phase > asked,
        "{}: only {in_phase} of {asked} came in the phase",
        phase.name
    );
    if phase.pause.is_some() {
        run.obeys(Command::Resume);
    }
    run.wait("step", |body| matches!(body, Body::Step(_)));
    run.obeys(Command::Stop { checkpoint: true });
    assert_eq!(run.end(), Ending::Done);
    let there = list(&folder.join("checkpoints")).expect("a folder");
    let tagged = |path: &Path| path.join("tag").exists();
    assert_eq!(
        there.iter().any(|(_, path)| tagged(path)),
        phase.pause != Some(true),
        "{}",
        phase.name
    );
    same_as_left_alone(place, phase, &folder);
}

/// What ends a run, or asks it for a checkpoint without a command.
fn every_end(phase: &Phase) {
    let place = place();
    let place = place.path();
    for end in [
        "stop",
        "discard",
        "stop signal",
        "preempt signal",
        "save signal",
    ] {
        let what = format!("{end} in {}", phase.name);
        let mut run = begin(place, phase, &end.replace(' ', "-"));
        let folder = run.folder.clone();
        let checkpoints = folder.join("checkpoints");
        let ending = match end {
            "stop" | "discard" => {
                let checkpoint = end == "stop";
                run.obeys(Command::Stop { checkpoint });
                Ending::Done
            }
            "stop signal" => {
                run.interrupt.raise(Urgency::Stop);
                Ending::Done
            }
            "preempt signal" => {
                run.interrupt.raise(Urgency::Preempt);
                Ending::Preempted
            }
            _ => {
                run.interrupt.raise_checkpoint();
                if phase.pause != Some(true) {
                    run.wait("checkpoint", |body| matches!(body, Body::Checkpoint { .. }));
                }
                // It goes on as it was.
                run.obeys(Command::Note {
                    text: "still there".to_owned(),
                });
                let answer = run.ask(Command::Pause { hard: false });
                assert_eq!(answer.refused, phase.pause.is_some(), "{what}");
                run.obeys(Command::Stop { checkpoint: true });
                Ending::Done
            }
        };
        let before = list(&checkpoints).expect("a folder").len();
        assert_eq!(run.end(), ending, "{what}");
        let steps = losses(&folder).len() as u64;
        let there = list(&checkpoints).expect("a folder");
        if end == "discard" {
            // One that was being written may have been finished.
            assert!(there.len() <= before + 1, "{what}");
        } else {
            let (step, path) = there.last().expect("a checkpoint");
            assert_eq!(*step, steps, "{what}");
            assert!(verify(path).is_ok(), "{what}");
        }
        // It goes on, and to the same losses.
        let max = format!("train.max_steps={}", steps + 1);
        let sets = [
            &*max,
            "train.eval_interval=0",
            "sample.interval=0",
            "train.checkpoint_interval=0",
        ];
        let sets = [phase.sets, &sets].concat();
        let again = start(place, &end.replace(' ', "-"), &sets, true);
        assert_eq!(again.end(), Ending::Done, "{what}");
        assert_eq!(losses(&folder).len() as u64, steps + 1, "{what}");
        if end == "preempt signal" {
            same_as_left_alone(place, phase, &folder);
        }
    }
}

/// Puts something in the way of checkpoints, or takes it away again.
fn obstruct(folder: &Path, on: bool) {
    let (place, aside) = (folder.join("checkpoints"), folder.join("checkpoints-aside"));
    if on {
        fs::rename(&place, &aside).expect("moved");
        fs::write(&place, "in the way").expect("written");
    } else {
        fs::remove_file(&place).expect("removed");
        fs::rename(&aside, &place).expect("moved");
    }
}

/// A disk that refuses checkpoints: what asks for one is refused, what ends with one fails, and the rest goes on.
fn refused_disk(phase: &Phase) {
    let place = place();
    let place = place.path();
    let mut run = begin(place, phase, "r");
    let folder = run.folder.clone();
    obstruct(&folder, true);
    for (name, command, part) in [
        (
            "checkpoint",
            Command::Checkpoint { tag: None },
            "no checkpoint of step",
        ),
        (
            "tagged checkpoint",
            Command::Checkpoint {
                tag: Some("mine".to_owned()),
            },
            "no checkpoint of step",
        ),
        (
            "hard pause",
            Command::Pause { hard: true },
            "the memory is kept",
        ),
        (
            "rollback",
            Command::Rollback {
                step: None,
                lr_scale: None,
            },
            "checkpoints",
        ),
    ] {
        let why = run.refuses(command);
        assert!(why.contains(part), "{name} in {}: {why}", phase.name);
    }
    run.interrupt.raise_checkpoint();
    run.wait(
        "warning",
        |body| matches!(body, Body::Warning { message, .. } if message.contains("no checkpoint")),
    );
    run.obeys(Command::Eval);
    obstruct(&folder, false);
    run.obeys(Command::Checkpoint { tag: None });
    if phase.pause.is_some() {
        run.obeys(Command::Resume);
    }
    run.wait("step", |body| matches!(body, Body::Step(_)));
    obstruct(&folder, true);
    run.interrupt.raise(Urgency::Preempt);
    let end = run.end();
    assert!(
        matches!(&end, Ending::Failed { code: 5, message } if message.contains("checkpoints")),
        "{}: {end:?}",
        phase.name
    );
    obstruct(&folder, false);
    same_as_left_alone(place, phase, &folder);
    for stop in [
        Command::Stop { checkpoint: true },
        Command::Note {
            text: String::new(),
        },
    ] {
        let mut run = begin(place, phase, stop.word());
        obstruct(&run.folder, true);
        if matches!(stop, Command::Stop { .. }) {
            run.obeys(stop);
        } else {
            run.interrupt.raise(Urgency::Stop);
        }
        let end = run.end();
        assert!(matches!(end, Ending::Failed { code: 5, .. }), "{end:?}");
    }
}

/// A test a phase, so that they run beside each other.
macro_rules! phases {
    ($($test:ident: $does:ident, $phase:expr;)*) => {
        $(#[test]
        fn $test() {
            $does(&PHASES[$phase]);
        })*
    };
}

phases! {
    commands_in_a_step: every_command, 0;
    commands_in_an_evaluation: every_command, 1;
    commands_while_samples_are_written: every_command, 2;
    commands_while_a_checkpoint_is_written: every_command, 3;
    commands_in_a_pause: every_command, 4;
    commands_in_a_hard_pause: every_command, 5;
    ends_in_a_step: every_end, 0;
    ends_in_an_evaluation: every_end, 1;
    ends_while_samples_are_written: every_end, 2;
    ends_while_a_checkpoint_is_written: every_end, 3;
    ends_in_a_pause: every_end, 4;
    ends_in_a_hard_pause: every_end, 5;
    a_disk_that_refuses_in_a_step: refused_disk, 0;
    a_disk_that_refuses_in_an_evaluation: refused_disk, 1;
    a_disk_that_refuses_while_samples_are_written: refused_disk, 2;
    a_disk_that_refuses_while_checkpoints_are_due: refused_disk, 3;
    a_disk_that_refuses_in_a_pause: refused_disk, 4;
}

#[test]
fn a_run_that_is_over_answers_nobody_and_loses_nothing() {
    let place = place();
    let run = start(place.path(), "r", &["train.max_steps=3"], false);
    let folder = run.folder.clone();
    let commands = commands();
    let (taken, ending) = run.after_the_end(commands.into_iter().map(|(_, command, _)| command));
    assert_eq!((taken, ending), (0, Ending::Done));
    assert_eq!(losses(&folder).len(), 3);
}
