//! Drills: what is done wrong on purpose, so that a test sees what becomes of the run and of the terminal. Not in programs
//! that are built for people.
//!
//! `ZEROLLM_DRILL` is `engine` (a panic at the third step), or `PLACE@STEP`: whoever comes to that place at that step or
//! later says so on stderr and stands still, for ever or, with `PLACE@STEP:MILLISECONDS`, that long.

use std::io::Write as _;
use std::thread::sleep;
use std::time::Duration;

fn wanted() -> String {
    std::env::var("ZEROLLM_DRILL").unwrap_or_default()
}

/// Fails at the third step, as a defect of ours would.
pub(crate) fn fail(step: u64) {
    assert!(wanted() != "engine" || step < 3, "a drill");
}

/// Stands still, as a disk or a device does that answers no more.
pub(crate) fn stand(place: &str, step: u64) {
    let wanted = wanted();
    let Some((name, at)) = wanted.split_once('@') else {
        return;
    };
    let (from, long) = at.split_once(':').unwrap_or((at, ""));
    if name != place || from.parse().is_ok_and(|from: u64| step < from) {
        return;
    }
    // Who reads stderr may be gone.
    drop(writeln!(
        std::io::stderr(),
        "a drill: {place} of step {step}"
    ));
    match long.parse() {
        Ok(milliseconds) => sleep(Duration::from_millis(milliseconds)),
        Err(_) => loop {
            sleep(Duration::from_mins(1));
        },
    }
}
