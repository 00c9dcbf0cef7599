//! What a run says of itself besides its losses: the machine, where a step's time goes, what its memory is for. None of it
//! changes a loss.

#[expect(dead_code, reason = "these runs are never disturbed")]
mod common;

use common::Place;
use serde_json::Value;

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == kind)
        .collect()
}

fn sum(values: &Value, key: &str) -> f64 {
    let lines = values.as_array().expect("a list");
    lines
        .iter()
        .map(|line| line[key].as_f64().expect("a number"))
        .sum()
}

#[test]
fn time_and_memory_of_a_step_are_told_once_an_attempt_and_add_up() {
    // One micro-batch: nothing is packed for the next.
    let place = Place::new(&[("train.batch_size", "2"), ("train.micro_batch", "2")]);
    place.expect(0, &["train", "c.toml", "--run", "a", "--ui", "none"]);
    let events = place.events("a");
    let profiles = of_kind(&events, "profile");
    assert_eq!(profiles.len(), 1);
    let profile = profiles[0];
    assert_eq!(
        (profile["step"].as_u64(), profile["steps"].as_u64()),
        (Some(7), Some(5))
    );
    let step = profile["step_seconds"].as_f64().expect("a number");
    let known =
        sum(&profile["lines"], "seconds") + profile["rest_seconds"].as_f64().expect("a number");
    assert!(
        (known - step).abs() < 1e-6 + 1e-6 * step,
        "{known} of {step}"
    );
    let roofline = profile["roofline_seconds"].as_f64().expect("a number");
    assert!(roofline > 0.0 && roofline <= step, "{roofline} of {step}");
    let ops: Vec<&str> = profile["lines"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|line| line["op"].as_str())
        .collect();
    for op in [
        "linear",
        "attention",
        "classifier",
        "clip norm",
        "optimizer",
    ] {
        assert!(
            ops.iter().any(|name| name.starts_with(op)),
            "{op} is not in {ops:?}"
        );
    }

    let plans = of_kind(&events, "plan");
    assert_eq!(plans.len(), 1);
    let plan = plans[0];
    let memory = &of_kind(&events, "started")[0]["memory"];
    let planned = memory["activations"]
        .as_u64()
        .zip(memory["workspace"].as_u64());
    assert_eq!(plan["arena_bytes"].as_u64(), planned.map(|(a, b)| a + b));
    for at in plan["timeline"].as_array().expect("a list") {
        let live: u64 = at["bytes"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_u64)
            .sum();
        assert!(
            live <= plan["arena_bytes"].as_u64().expect("a number"),
            "{at}"
        );
    }

    let systems = of_kind(&events, "system");
    assert!(!systems.is_empty());
    if cfg!(target_os = "linux") {
        assert!(systems[0]["rss_bytes"].as_u64() > Some(1 << 20));
        assert!(systems[0]["disk_free_bytes"].is_u64());
    }
}

#[test]
fn looking_changes_no_loss() {
    let place = Place::new(&[]);
    let interval = |value: &str| format!("telemetry.system_interval={value}");
    place.expect(
        0,
        &[
            "train",
            "c.toml",
            "--run",
            "a",
            "--ui",
            "none",
            "--set",
            &interval("1"),
        ],
    );
    place.expect(
        0,
        &[
            "train",
            "c.toml",
            "--run",
            "b",
            "--ui",
            "none",
            "--set",
            &interval("0"),
        ],
    );
    assert_eq!(place.losses("a"), place.losses("b"));
    assert!(of_kind(&place.events("b"), "system").is_empty());
}
