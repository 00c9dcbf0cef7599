//! How a run that is on stands, as other processes read it from its folder: paused, gone back, with another end.

use crate::SLOW;
use crate::common::{ENDLESS, Place};
use serde_json::Value;

fn told(place: &Place, arguments: &[&str]) -> Value {
    let output = place.run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn listed(place: &Place) -> Value {
    told(place, &["runs", "--json"])["runs"][0].clone()
}

#[test]
fn a_run_says_the_same_of_itself_in_every_place() {
    let place = Place::new(&[
        SLOW,
        ENDLESS,
        ("train.checkpoint_interval", "3"),
        ("train.keep_last", "0"),
    ]);
    let train = ["train", "c.toml", "--run", "r", "--ui", "none"];
    let mut process = place.start(&train);
    place.wait_for(&mut process, "r", "step", |event| {
        event["step"].as_u64() > Some(4)
    });
    let ctl = |code, words: &[&str]| place.expect(code, &[&["ctl", "r"], words].concat());
    ctl(0, &["pause"]);
    assert_eq!(listed(&place)["state"], "paused");
    assert_eq!(told(&place, &["show", "r", "--json"])["state"], "paused");
    for words in [&["show", "r"][..], &["compare", "r", "r"], &["runs"]] {
        let output = place.run(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("paused") && !text.contains("running"),
            "{text}"
        );
    }
    // A factor that is none is refused before the run is asked; it does not go back without one.
    for scale in ["nan", "inf", "1e400", "-1", "much"] {
        let said = ctl(2, &["rollback", "--step", "3", "--lr-scale", scale]);
        assert!(said.contains("--lr-scale"), "{scale}: {said}");
    }
    let before = listed(&place);
    assert!(before["step"].as_u64() > Some(3), "{before}");
    ctl(0, &["rollback", "--step", "3", "--lr-scale", "0.5"]);
    let events = place.events("r");
    let row = events
        .iter()
        .rfind(|event| event["event"] == "step" && event["step"] == 3);
    let row = row.expect("a third step");
    for run in [listed(&place), told(&place, &["show", "r", "--json"])] {
        assert_eq!(
            (&run["step"], &run["tokens"], &run["loss"]),
            (&row["step"], &row["tokens"], &row["loss"]),
            "{run}"
        );
        assert_eq!(
            (&run["state"], &run["attempt"]),
            (&"paused".into(), &2.into())
        );
    }
    ctl(0, &["set", "train.max_steps=5"]);
    assert_eq!(listed(&place)["max_steps"], 5);
    ctl(0, &["resume"]);
    process.expect(0);
    let ended = listed(&place);
    assert_eq!(
        (&ended["state"], &ended["step"], &ended["max_steps"]),
        (&"finished".into(), &5.into(), &5.into())
    );
}
