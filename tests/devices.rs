//! Training on another device than the CPU, from the command line: here the emulated one. The same losses to rounding, the
//! same bits after a stop, and what does not fit or is not there is refused with a line.

#![cfg(unix)]

#[expect(dead_code, reason = "no signal comes to these runs")]
mod common;

use common::Place;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Drills of the emulated device.
const LOST_AFTER: &str = "ZEROLLM_EMULATED_LOST_AFTER";
const FULL_AFTER: &str = "ZEROLLM_EMULATED_FULL_AFTER";
/// Where compiled kernels are kept from test to test.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kernels");

fn run(place: &Place, arguments: &[&str]) -> Output {
    run_with(place, arguments, &[])
}

/// Runs the program with these variables in its environment.
fn run_with(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = place.command(arguments);
    command
        .env("ZEROLLM_CACHE", CACHE)
        .envs(variables.iter().copied());
    place.start_command(&mut command).end()
}

/// The line of a run that ends with exit code 4.
fn device_failure(output: &Output) -> String {
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn expect(place: &Place, code: i32, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    stderr
}

fn there_is_a_compiler() -> bool {
    let named = std::env::var("CXX").unwrap_or_default();
    let found = [named.as_str(), "g++", "clang++", "c++"]
        .iter()
        .any(|name| !name.is_empty() && Command::new(name).arg("--version").output().is_ok());
    if !found {
        eprintln!("skipped: training on the emulated device: there is no C++ compiler");
    }
    found
}

#[test]
fn a_run_on_the_emulated_device() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[
        ("train.max_steps", "8"),
        ("train.checkpoint_interval", "4"),
        ("train.keep_last", "0"),
        ("train.eval_interval", "4"),
        ("sample.interval", "8"),
        ("telemetry.layer_interval", "4"),
    ]);
    let train = |name: &str, device: &str| {
        let arguments = [
            "train", "c.toml", "--run", name, "--ui", "none", "--device", device,
        ];
        expect(&place, 0, &arguments);
    };
    train("cpu", "cpu");
    train("gpu", "emulated");
    let started = &place.events("gpu")[0];
    let device = started["device"].as_str().unwrap_or_default();
    assert!(device.starts_with("emulated:0"), "{started}");
    let (ours, theirs) = (place.losses("gpu"), place.losses("cpu"));
    assert_eq!(ours.len(), 8);
    let mut other_bits = false;
    for (step, loss) in &ours {
        let number = |text: &str| {
            let first = text.split(' ').next().unwrap_or_default();
            first.parse::<f64>().expect("a loss")
        };
        let difference = (number(loss) - number(&theirs[step])).abs();
        assert!(
            difference < 1e-3,
            "step {step}: {loss} and {}",
            theirs[step]
        );
        other_bits |= difference > 0.0;
    }
    assert!(other_bits, "the CPU trained both");
    for kind in ["eval", "sample", "layers", "checkpoint"] {
        let events = place.events("gpu");
        let count = events.iter().filter(|event| event["event"] == kind).count();
        assert!(count > 0, "no {kind}");
    }
    // From the checkpoint in the middle: weights and moments came back from the device as they were there.
    let fork = ["fork", "gpu@4", "--run", "forked", "--ui", "none"];
    expect(&place, 0, &fork);
    let late = |run: &str| place.losses(run).split_off(&5);
    assert_eq!(late("forked"), late("gpu"));
    assert_eq!(late("forked").len(), 4);
    // And on the CPU.
    let fork = [
        "fork", "gpu@4", "--run", "moved", "--ui", "none", "--device", "cpu",
    ];
    expect(&place, 0, &fork);
    assert_eq!(late("moved").len(), 4);
}

#[test]
fn a_device_that_is_lost_ends_the_run_and_leaves_its_checkpoints() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[
        ("train.max_steps", "12"),
        ("train.checkpoint_interval", "2"),
        ("train.keep_last", "0"),
        ("device.kind", "\"emulated\""),
    ]);
    let train = |name| ["train", "c.toml", "--run", name, "--ui", "none"];
    expect(&place, 0, &train("whole"));
    let output = run_with(&place, &train("lost"), &[(LOST_AFTER, "1000")]);
    let line = device_failure(&output);
    assert!(line.contains("lost"), "{line}");
    let saved = place.checkpoints("lost");
    let last = saved.last().copied().expect("a checkpoint before the end");
    assert!((2..12).contains(&last), "{saved:?}");
    let events = place.events("lost");
    assert!(
        events.iter().any(|event| event["event"] == "failed"),
        "it is told"
    );
    let mut resume = train("lost").to_vec();
    resume.push("--resume");
    expect(&place, 0, &resume);
    assert_eq!(place.losses("lost"), place.losses("whole"), "the same bits");
}

#[test]
fn memory_that_another_takes_costs_samples_and_no_more() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[
        ("train.max_steps", "6"),
        ("sample.interval", "4"),
        ("device.kind", "\"emulated\""),
    ]);
    let train = |name| ["train", "c.toml", "--run", name, "--ui", "none"];
    let warnings = |name: &str| -> Vec<String> {
        let events = place.events(name).into_iter();
        let told = events.filter(|event| event["event"] == "warning");
        told.map(|event| event["message"].to_string()).collect()
    };
    expect(&place, 0, &train("whole"));
    assert_eq!(warnings("whole"), [""; 0]);
    // Between the first step, which loads its kernels, and the first sample.
    let output = run_with(&place, &train("full"), &[(FULL_AFTER, "400")]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = warnings("full");
    let words = "no samples: out of device memory";
    assert!(
        !told.is_empty() && told.iter().all(|line| line.contains(words)),
        "{told:?}"
    );
    assert_eq!(place.losses("full"), place.losses("whole"), "the same bits");
}

#[test]
fn out_of_memory_while_running_ends_the_run_and_leaves_its_checkpoints() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[
        ("train.checkpoint_interval", "4"),
        ("device.kind", "\"emulated\""),
    ]);
    let train = |name, steps, more: &[&'static str]| {
        let mut arguments = vec!["train", "c.toml", "--run", name, "--ui", "none"];
        arguments.extend(["--max-steps", steps]);
        arguments.extend(more);
        arguments
    };
    expect(&place, 0, &train("whole", "8", &[]));
    expect(&place, 0, &train("full", "4", &[]));
    let resumed = train("full", "8", &["--resume"]);
    let line = device_failure(&run_with(&place, &resumed, &[(FULL_AFTER, "10")]));
    for words in ["out of device memory", "train.micro_batch", "--resume"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(place.checkpoints("full"), [4]);
    let failed = place.events("full");
    assert!(failed.iter().any(|event| event["event"] == "failed"));
    expect(&place, 0, &resumed);
    assert_eq!(place.losses("full"), place.losses("whole"), "the same bits");
}

#[test]
fn a_cache_that_is_damaged_or_cannot_be_written_only_costs_time() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[("train.max_steps", "2"), ("device.kind", "\"emulated\"")]);
    let train = |name| ["train", "c.toml", "--run", name, "--ui", "none"];
    expect(&place, 0, &train("whole"));
    let own = place.path("own/kernels");
    fs::create_dir_all(&own).expect("a folder");
    let mut kernels: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(Path::new(CACHE).join("kernels")).expect("compiled kernels") {
        let from = entry.expect("an entry").path();
        // Another test's, half written.
        if from.extension().is_some_and(|end| end == "kernel") {
            let to = own.join(from.file_name().expect("a name"));
            fs::copy(from, &to).expect("copied");
            kernels.push(to);
        }
    }
    // The optimizer's is among those that every run needs. Which that is, only the contents say; older ones may lie beside.
    kernels.retain(|path| {
        let bytes = fs::read(path).expect("a kernel");
        bytes.windows(16).any(|part| part == b"emu_adamw_update")
    });
    for kernel in &kernels {
        let mut bytes = fs::read(kernel).expect("a kernel");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(kernel, bytes).expect("writable");
    }
    let damaged: Vec<_> = kernels.iter().map(fs::read).map(Result::unwrap).collect();
    let variables = [("ZEROLLM_CACHE", place.path("own"))];
    let variables = variables
        .each_ref()
        .map(|(name, path)| (*name, path.to_str().expect("UTF-8")));
    let again = |name| {
        let output = run_with(&place, &train(name), &variables);
        let line = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}");
        assert_eq!(place.losses(name), place.losses("whole"), "{name}");
    };
    again("damaged");
    let mended = kernels.iter().zip(&damaged);
    let mut mended = mended.filter(|(path, damaged)| fs::read(path).unwrap() != **damaged);
    let (mended, _) = mended.next().expect("the one that is needed");
    // Nobody can put a file where a folder is: not root either, to whom every folder is writable.
    fs::remove_file(mended).expect("a file");
    fs::create_dir(mended).expect("a folder");
    again("unwritable");
    assert!(mended.is_dir());
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[
        ("model.dim", "256"),
        ("model.layers", "4"),
        ("data.sequence_length", "256"),
        ("train.batch_size", "256"),
        ("train.micro_batch", "256"),
        ("data.train", "[\"long.txt\"]"),
    ]);
    place.write("long.txt", "the quick brown fox\n".repeat(20_000));
    let arguments = ["train", "c.toml", "--ui", "none", "--device", "emulated"];
    let line = expect(&place, 4, &arguments);
    assert!(
        line.contains("emulated:0") && line.contains("train.micro_batch = "),
        "{line}"
    );
    assert!(line.contains("and train.recompute = true"), "{line}");
    assert!(!place.path("runs").exists(), "no folder is left behind");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_a_line() {
    let place = Place::new(&[]);
    for device in ["cuda:999", "rocm:999"] {
        let arguments = ["train", "c.toml", "--ui", "none", "--device", device];
        let line = expect(&place, 4, &arguments);
        let lines: Vec<&str> = line.lines().collect();
        assert!(
            lines.len() == 1 && lines[0].contains(device) && lines[0].len() < 300,
            "{line}"
        );
    }
    assert!(!place.path("runs").exists(), "no folder is left behind");
}

#[test]
fn bench_counts_steps_on_a_device() {
    if !there_is_a_compiler() {
        return;
    }
    let place = Place::new(&[("model.dropout", "0.0")]);
    let arguments = [
        "bench",
        "step",
        "c.toml",
        "--device",
        "emulated",
        "--profile",
        "--json",
    ];
    let output = run(&place, &arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let object: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(object["device"]["kind"], "emulated");
    for key in [
        "tokens_per_second",
        "step_seconds",
        "tflops",
        "copy_gbps",
        "device_memory_bytes",
    ] {
        assert!(
            object[key].as_f64().is_some_and(|x| x > 0.0),
            "{key}: {object}"
        );
    }
    let rows = object["profile"].as_array().expect("rows");
    for op in ["attention", "classifier", "embedding", "optimizer"] {
        assert!(rows.iter().any(|row| row["op"] == op), "no row for {op}");
    }
}
