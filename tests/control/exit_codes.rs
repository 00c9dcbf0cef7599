//! Exit codes that the person chooses: of a run that was held to something, and of one that was pre-empted.

use crate::common::{ENDLESS, Place};
use rustix::process::Signal;

#[test]
fn a_run_is_held_to_what_was_asserted_and_may_be_preempted_with_another_code() {
    let place = Place::new(&[("train.max_steps", "4"), ("train.eval_interval", "2")]);
    let train = |code, run: &str, more: &[&str]| {
        let train = ["train", "c.toml", "--run", run, "--ui", "none"];
        place.expect(code, &[&train[..], more].concat())
    };
    let holds = [
        "--assert",
        "val_loss<100 and step==4",
        "--assert",
        "seconds<1000",
    ];
    assert_eq!(train(0, "a", &holds), "");
    let said = train(1, "b", &["--assert", "step==4", "--assert", "val_loss<0.5"]);
    assert!(
        said.contains("val_loss<0.5") && said.contains("does not hold"),
        "{said}"
    );
    let said = train(2, "c", &["--assert", "val_los<1"]);
    assert!(said.contains("val_loss"), "{said}");
    assert!(!place.run_path("c", "run.json").exists());
    assert_eq!(train(0, "d", &["--assert-max-seconds", "1e3"]), "");
    let said = train(1, "e", &["--assert-max-seconds", "0.001"]);
    assert!(
        said.contains("--assert-max-seconds 0.001 does not hold: it took"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    // All of it is told at once.
    let flags = ["--assert", "step==5", "--assert", "val_loss<0.5"];
    let said = train(
        1,
        "g",
        &[&flags[..], &["--assert-max-seconds", "0.001"]].concat(),
    );
    for part in ["0.001", "step==5", "val_loss<0.5"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
    for wrong in ["-1", "nan", "soon"] {
        let flag = format!("--assert-max-seconds={wrong}");
        let said = train(2, "f", &[&flag]);
        assert!(said.contains("a number of seconds"), "{said}");
    }
    assert!(!place.run_path("f", "run.json").exists());
    let place = Place::new(&[ENDLESS]);
    let train = ["train", "c.toml", "--run", "r", "--ui", "none"];
    let mut process = place.start(&[&train[..], &["--preempt-exit-code", "85"]].concat());
    place.wait_for(&mut process, "r", "step", |_| true);
    process.signal(Signal::TERM);
    process.expect(85);
    assert_eq!(
        place.events("r").last().expect("events")["reason"],
        "preempted"
    );
}
