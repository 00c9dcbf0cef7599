//! Runs that are trained to their end, and what their records tell of what happened to them on the way.

use crate::common::Place;
use serde_json::Value;

/// Trains `c.toml` as run `run`, which must end with this code.
pub fn train(place: &Place, code: i32, run: &str, flags: &[&str]) -> String {
    let arguments = ["train", "c.toml", "--run", run, "--ui", "none"];
    place.expect(code, &[&arguments[..], flags].concat())
}

/// Goes on with it up to a step; it must end with this code.
pub fn resume(place: &Place, code: i32, run: &str, steps: u64, flags: &[&str]) -> String {
    let steps = steps.to_string();
    let arguments = ["train", "--run", run, "--resume", "--ui", "none"];
    let end = ["--max-steps", &steps];
    place.expect(code, &[&arguments[..], &end, flags].concat())
}

/// The events of a kind.
pub fn told(place: &Place, run: &str, kind: &str) -> Vec<Value> {
    let events = place.events(run).into_iter();
    events.filter(|event| event["event"] == kind).collect()
}

/// What was done about what the events of a kind tell.
pub fn actions(place: &Place, run: &str, kind: &str) -> Vec<String> {
    let told = told(place, run, kind);
    let words = told.iter().map(|event| event["action"].as_str());
    words.map(|word| word.expect("a word").to_owned()).collect()
}

/// The first value that each applied change of the configuration gave.
pub fn applied(place: &Place, run: &str) -> Vec<Value> {
    let events = told(place, run, "config_applied").into_iter();
    let values = events.map(|event| event["changes"][0]["to"].clone());
    values.collect()
}
