//! What becomes of a run whose loss or gradient is not finite: `train.on_nonfinite`.

use crate::common::Place;
use crate::course::{actions, applied, resume, told, train};
use std::collections::BTreeMap;

#[test]
fn what_is_not_finite_is_answered_as_the_policy_says() {
    // The first update makes the weights so large that everything after it overflows.
    let explosive = ("optimizer.lr", "1e30");
    let nonfinite = |place: &Place| actions(place, "r", "nonfinite");
    for ui in ["plain", "none", "json"] {
        let arguments = ["train", "c.toml", "--run", "r", "--ui", ui];
        let place = Place::new(&[explosive]);
        let said = place.expect(3, &arguments);
        assert!(said.contains("not finite"), "{said}");
        assert_eq!(nonfinite(&place), ["stop"]);
        assert_eq!(
            place.events("r").last().expect("events")["reason"],
            "diverged"
        );

        // Without a screen nobody can decide: a checkpoint, and the code of a divergence.
        let place = Place::new(&[explosive, ("train.on_nonfinite", "\"pause\"")]);
        let said = place.expect(3, &arguments);
        assert!(said.contains("checkpoint"), "{said}");
        assert_eq!(nonfinite(&place), ["pause"]);
        assert_eq!(place.checkpoints("r").len(), 1);
    }
    let skip = [
        explosive,
        ("train.on_nonfinite", "\"skip\""),
        ("train.checkpoint_interval", "6"),
    ];
    let place = Place::new(&skip);
    train(&place, 0, "r", &[]);
    assert_eq!(nonfinite(&place), vec!["skip"; 19]);
    assert_eq!(place.checkpoints("r"), [18, 20], "skipped steps count");

    let rollback = ("train.on_nonfinite", "\"rollback\"");
    let place = Place::new(&[
        rollback,
        ("train.checkpoint_interval", "5"),
        ("train.max_steps", "8"),
    ]);
    train(&place, 0, "r", &[]);
    let calm = place.losses("r");
    resume(&place, 3, "r", 20, &["--set", "optimizer.lr=1e30"]);
    assert_eq!(
        nonfinite(&place),
        ["rollback", "rollback", "rollback", "stop"]
    );
    assert_eq!(applied(&place, "r"), ["0.5", "0.25", "0.125"]);
    assert_eq!(place.checkpoints("r"), [5, 8]);
    assert!(place.losses("r").len() >= calm.len());
}

/// The learning rate 2^`exponent`, as a flag.
fn rate(exponent: u32) -> String {
    format!("optimizer.lr={:?}", 2f64.powi(exponent as i32))
}

#[test]
fn a_rollback_trains_the_same_data_again_at_half_the_rate() {
    // Which rate makes the weights overflow depends on the machine's rounding. Looked for is a power of two that does,
    // while its half does not: then one rollback is what it takes.
    // The only checkpoint on the way is that of step 8.
    let place = Place::new(&[
        ("train.checkpoint_interval", "100"),
        ("train.max_steps", "8"),
        ("train.on_nonfinite", "\"rollback\""),
    ]);
    let try_rate = |run: &str, more: &[&str]| -> Option<i32> {
        train(&place, 0, run, &[]);
        let resume = ["train", "--run", run, "--resume", "--ui", "none"];
        let end = ["--max-steps", "12", "--set"];
        place.run(&[&resume[..], &end, more].concat()).status.code()
    };
    let stop = ["--set", "train.on_nonfinite=stop"];
    let (mut calm, mut wild) = (0, 120);
    while wild - calm > 1 {
        let middle = u32::midpoint(calm, wild);
        let run = format!("try-{middle}");
        match try_rate(&run, &[&[&*rate(middle)][..], &stop].concat()) {
            Some(0) => calm = middle,
            Some(3) => wild = middle,
            other => panic!("2^{middle}: {other:?}"),
        }
    }
    assert!(calm > 0, "no rate is survived");
    assert_eq!(try_rate("r", &[&rate(wild)]), Some(0));
    assert_eq!(actions(&place, "r", "nonfinite"), ["rollback"]);
    let back = told(&place, "r", "resumed").pop().expect("it went back");
    assert_eq!((&back["step"], &back["attempt"]), (&8.into(), &3.into()));
    let half = told(&place, "r", "config_applied").pop();
    assert_eq!(
        half.expect("half the rate")["changes"],
        serde_json::json!([{"key": "schedule.lr_scale", "from": "1.0", "to": "0.5"}])
    );
    // What follows is the run at half the rate, to the bit.
    let calm: BTreeMap<u64, String> = place.losses(&format!("try-{calm}"));
    assert_eq!(place.losses("r"), calm);
    assert_eq!(place.checkpoints("r").last(), Some(&12));
}
