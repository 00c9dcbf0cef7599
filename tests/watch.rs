//! Watchers on real runs: what an alert says and keeps, what each action does to the run, and who is told.
//!
//! The text is easy but for one line of letters that came never before: the loss of that step is a spike.

#![cfg(unix)]

mod common;
#[path = "common/course.rs"]
mod course;

use common::{ENDLESS, Place, Random};
use course::{applied, resume, told};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;

/// The step that trains on the line.
const SPIKE: u64 = 41;

/// A place whose run meets the line at step [`SPIKE`].
fn place(keys: &[(&str, &str)]) -> Place {
    let usual = [
        ("data.order", "\"sequential\""),
        ("data.train", "[\"easy.txt\"]"),
        ("train.max_steps", "60"),
        ("watch.spike.window", "20"),
    ];
    let place = Place::new(&[&usual[..], keys].concat());
    // Two rows of 16 bytes a step.
    let mut text = "ab".repeat(16 * SPIKE as usize - 16);
    let mut random = Random(3);
    text.extend((0..32).map(|_| char::from(b'A' + random.below(26) as u8)));
    text += &"ab".repeat(16 * 60);
    place.write("easy.txt", text);
    place
}

fn train(place: &Place, run: &str, flags: &[&str]) {
    course::train(place, 0, run, flags);
}

fn alerts(place: &Place, run: &str) -> Vec<Value> {
    told(place, run, "alert")
}

fn actions(place: &Place, run: &str) -> Vec<String> {
    course::actions(place, run, "alert")
}

#[test]
fn an_alert_links_to_its_rows_and_changes_nothing() {
    let place = place(&[("train.checkpoint_interval", "30")]);
    train(&place, "r", &[]);
    let alerts_of = alerts(&place, "r");
    assert_eq!(alerts_of.len(), 1, "{alerts_of:?}");
    let alert = &alerts_of[0];
    assert_eq!(
        (&alert["rule"], &alert["step"]),
        (&"spike".into(), &SPIKE.into())
    );
    assert_eq!(
        (&alert["level"], &alert["action"]),
        (&"warning".into(), &"warn".into())
    );
    assert!(
        alert["value"].as_f64() > alert["threshold"].as_f64(),
        "{alert}"
    );
    let batch = &alert["batch"];
    assert_eq!(
        (&batch["first_row"], &batch["rows"]),
        (&80.into(), &2.into())
    );
    assert_eq!(batch["path"], "alerts/step_00000041.json");
    assert!(place.run_path("r", "alerts/step_00000041.json").is_file());

    // The rows, with the line in them.
    let show = ["show", "r", "--alert", "41"];
    let output = place.run(&show);
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).expect("text");
    let text = fs::read_to_string(place.path("easy.txt")).expect("the text");
    assert!(shown.contains(&text[80 * 16..81 * 16]), "{shown}");
    assert!(
        shown.contains("row 80 (row 80 of the data)  loss "),
        "{shown}"
    );
    let output = place.run(&[&show[..], &["--json"]].concat());
    let kept: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = kept["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    let ids: Vec<u8> = rows[0]["ids"]
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_u64().expect("an id") as u8)
        .collect();
    assert_eq!(ids, &text.as_bytes()[80 * 16..=81 * 16]);
    assert!(rows[0]["loss"].as_f64() > Some(2.0), "{kept}");
    let missing = place.expect(2, &["show", "r", "--alert", "7"]);
    assert!(missing.contains("it has those of 41"), "{missing}");

    // The same losses to the bit without anybody watching, and the same alert after a resume.
    train(&place, "off", &["--set", "watch.spike.action=off"]);
    assert!(alerts(&place, "off").is_empty());
    assert_eq!(place.losses("off"), place.losses("r"));
    train(&place, "parts", &["--max-steps", "35"]);
    resume(&place, 0, "parts", 60, &[]);
    let again = alerts(&place, "parts");
    assert_eq!(again.len(), 1, "{again:?}");
    for field in ["step", "value", "threshold", "message", "batch"] {
        assert_eq!(again[0][field], alert[field], "{field}");
    }
    assert_eq!(place.losses("parts"), place.losses("r"));
}

#[test]
fn skip_leaves_the_update_out() {
    let place = place(&[("watch.spike.action", "\"skip\"")]);
    train(&place, "r", &[]);
    assert_eq!(actions(&place, "r"), ["skip"]);
    let skipped = place.losses("r");
    assert_eq!(skipped.len(), 59);
    assert!(!skipped.contains_key(&SPIKE));
    train(&place, "made", &["--set", "watch.spike.action=warn"]);
    let made = place.losses("made");
    let same = |step: &u64| skipped.get(step) == made.get(step);
    assert!((1..SPIKE).all(|step| same(&step)));
    assert!(!same(&(SPIKE + 1)), "the update has left its mark");
}

#[test]
fn pause_makes_the_step_and_waits() {
    let place = place(&[("watch.spike.action", "\"pause\""), ENDLESS]);
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    let paused = place.wait_for(&mut process, "r", "paused", |_| true);
    assert_eq!(paused["step"], SPIKE);
    let reason = paused["reason"].as_str().expect("a reason");
    assert!(reason.contains("the loss of step 41"), "{reason}");
    assert!(place.losses("r").contains_key(&SPIKE));
    process.signal(Signal::INT);
    process.expect(0);
    assert_eq!(place.checkpoints("r"), [SPIKE]);
    assert_eq!(actions(&place, "r"), ["pause"]);
    // It goes on as one that was never paused.
    resume(&place, 0, "r", 60, &[]);
    let warn = ["--max-steps", "60", "--set", "watch.spike.action=warn"];
    train(&place, "whole", &warn);
    assert_eq!(place.losses("r"), place.losses("whole"));
}

#[test]
fn rollback_halves_the_rate_three_times_and_then_warns() {
    let keys = [
        ("watch.spike.action", "\"rollback\""),
        ("train.checkpoint_interval", "20"),
    ];
    let rolling = place(&keys);
    train(&rolling, "r", &[]);
    assert_eq!(
        actions(&rolling, "r"),
        ["rollback", "rollback", "rollback", "warn"]
    );
    let last = &alerts(&rolling, "r")[3]["message"];
    assert!(
        last.as_str().expect("a line").contains("three already"),
        "{last}"
    );
    assert_eq!(applied(&rolling, "r"), ["0.5", "0.25", "0.125"]);
    let back = told(&rolling, "r", "resumed");
    let back: Vec<&Value> = back.iter().map(|event| &event["step"]).collect();
    assert_eq!(back, [40, 40, 40]);
    assert_eq!(rolling.losses("r").len(), 60);

    // Nowhere to go back to: it says so, and trains on.
    let lost = place(&keys[..1]);
    train(&lost, "r", &[]);
    assert_eq!(actions(&lost, "r"), ["warn"]);
    let message = &alerts(&lost, "r")[0]["message"];
    assert!(
        message
            .as_str()
            .expect("a line")
            .contains("no checkpoint yet"),
        "{message}"
    );
}

#[test]
fn what_is_not_finite_is_an_alert_too_and_the_command_hears_of_the_end() {
    let place = Place::new(&[
        ("optimizer.lr", "1e30"),
        (
            "watch.command",
            "'cat > seen; env | grep ^ZEROLLM_R > env; echo done'",
        ),
    ]);
    course::train(&place, 3, "r", &[]);
    let alerts = alerts(&place, "r");
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(
        (&alert["rule"], &alert["level"]),
        (&"nonfinite".into(), &"error".into())
    );
    assert_eq!(alert["action"], "stop");
    let step = alert["step"].as_u64().expect("a step");
    let shown = place.run(&["show", "r", "--alert", &step.to_string()]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(
        shown.contains("not finite") && shown.contains("the "),
        "{shown}"
    );

    let seen = fs::read(place.path("seen")).expect("the command ran");
    let mut seen: Value = serde_json::from_slice(&seen).expect("JSON");
    assert_eq!(seen["run"], "r");
    seen.as_object_mut().expect("an object").remove("run");
    assert_eq!(&seen, alert, "the line of the record");
    let env = fs::read_to_string(place.path("env")).expect("its environment");
    assert!(env.contains("ZEROLLM_RULE=nonfinite\n"), "{env}");
    assert!(env.contains("/runs/r\n"), "{env}");
    let log = fs::read_to_string(place.run_path("r", "engine.log")).expect("a log");
    assert!(log.contains("  | done\n"), "{log}");
}

#[test]
fn a_run_without_faults_raises_nothing_and_faults_of_the_configuration_are_refused() {
    let place = Place::new(&[
        ("telemetry.layer_interval", "1"),
        ("train.eval_interval", "5"),
    ]);
    train(&place, "r", &[]);
    assert!(alerts(&place, "r").is_empty(), "{:?}", alerts(&place, "r"));
    let layers = told(&place, "r", "layers");
    let dead = &layers[0]["dead_share"];
    assert_eq!(dead.as_array().map(Vec::len), Some(4), "{dead}");
    for layers in &layers {
        for name in ["activation_max", "activation_sketch", "gradient_sketch"] {
            let of = &layers[name];
            assert_eq!(of.as_array().map(Vec::len), Some(4), "{name}: {layers}");
        }
        let rms = layers["activation_rms"].as_array().expect("numbers").iter();
        let max = layers["activation_max"].as_array().expect("numbers").iter();
        for (rms, max) in rms.map(Value::as_f64).zip(max.map(Value::as_f64)) {
            assert!(max >= rms && rms > Some(0.0), "{layers}");
        }
    }

    for (set, words) in [
        ("watch.webhook=https://example.org/x", "curl"),
        ("watch.webhook=nowhere", "http://"),
        ("watch.command=", "remove the key"),
        ("watch.spike=off", "{ action = "),
        ("watch.spike.action=stop", "\"rollback\""),
        ("watch.spik.factor=2", "did you mean watch.spike.factor?"),
        ("watch.spike.factr=2", "did you mean watch.spike.factor?"),
        ("watch.spikes=2", "did you mean watch.spike?"),
        ("watch.stall.action=skip", "\"off\""),
    ] {
        let said = place.expect(2, &["train", "c.toml", "--run", "x", "--set", set]);
        assert!(said.contains(words), "{set}: {said}");
        assert!(!place.run_path("x", "").exists());
    }
}
