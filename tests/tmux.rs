//! The screen inside tmux, as many people have it: drawn, resized, left, and the pane given back as it was.
//!
//! Where there is no tmux the test says so and passes, unless `ZEROLLM_REQUIRE_TMUX` is 1.

#![cfg(unix)]

#[expect(dead_code, reason = "one run is enough here")]
mod common;

use common::{ENDLESS, PATIENCE, Place};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server of its own with one session; dropping it ends both.
struct Tmux<'a> {
    place: &'a Place,
}

impl<'a> Tmux<'a> {
    /// Starts one with a shell of that many columns and rows; none where there is no tmux.
    fn start(place: &'a Place, columns: u16, rows: u16) -> Option<Self> {
        let required = std::env::var("ZEROLLM_REQUIRE_TMUX").is_ok_and(|value| value == "1");
        let found = Command::new("tmux").arg("-V").output();
        if !found.is_ok_and(|output| output.status.success()) {
            assert!(!required, "there is no tmux");
            eprintln!("skipped: there is no tmux");
            return None;
        }
        let tmux = Self { place };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        tmux.run(&[
            "new-session",
            "-d",
            "-s",
            "z",
            "-x",
            &columns,
            "-y",
            &rows,
            "PS1='ready> ' sh",
        ]);
        tmux.run(&["set-option", "-g", "window-size", "manual"]);
        tmux.run(&["set-option", "-g", "focus-events", "on"]);
        Some(tmux)
    }

    /// Runs a command of tmux; returns what it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        self.place.settle(&mut command);
        let socket = self.place.path("tmux");
        command
            .arg("-u")
            .arg("-S")
            .arg(socket)
            .args(["-f", "/dev/null"]);
        let output = command.args(arguments).output().expect("tmux runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("tmux prints UTF-8")
    }

    /// What the pane shows.
    fn shown(&self) -> String {
        self.run(&["capture-pane", "-p", "-t", "z"])
    }

    /// Waits until it shows something.
    fn wait(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let shown = self.shown();
            if is(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < PATIENCE, "no {what} in time:\n{shown}");
            sleep(Duration::from_millis(50));
        }
    }

    fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys", "-t", "z"], keys].concat());
    }

    /// Whether the pane shows the alternate screen, its cursor, and takes the mouse.
    fn modes(&self) -> [bool; 3] {
        let format = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}";
        let flags = self.run(&["display-message", "-p", "-t", "z", format]);
        let flags: Vec<bool> = flags.split_whitespace().map(|flag| flag == "1").collect();
        flags.try_into().expect("three flags")
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let socket = self.place.path("tmux");
        let mut kill = Command::new("tmux");
        // It may have ended by itself.
        drop(kill.arg("-S").arg(socket).arg("kill-server").output());
    }
}

#[test]
fn the_screen_is_drawn_resized_and_left_inside_tmux() {
    let place = Place::new(&[ENDLESS, ("train.batch_size", "32")]);
    let Some(tmux) = Tmux::start(&place, 80, 24) else {
        return;
    };
    tmux.wait("shell", |shown| shown.contains("ready>"));
    let program = env!("CARGO_BIN_EXE_zerollm");
    let line = format!("'{program}' train c.toml --run r; echo \"left with $?\"");
    tmux.press(&["-l", &line]);
    tmux.press(&["Enter"]);
    let small = tmux.wait("step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    assert_eq!(tmux.modes(), [true, false, true]);
    assert!(small.contains("[1 Train]"), "{small}");
    // Whatever is drawn fills the pane and no more: tmux would break a longer line.
    assert_eq!(small.lines().count(), 24, "{small}");

    tmux.run(&["resize-window", "-t", "z", "-x", "160", "-y", "50"]);
    let large = tmux.wait("larger screen", |shown| {
        shown.lines().any(|line| line.chars().count() > 120) && shown.lines().count() == 50
    });
    assert!(large.lines().count() == 50 && large != small, "{large}");
    tmux.run(&["resize-window", "-t", "z", "-x", "40", "-y", "10"]);
    tmux.wait("smaller screen", |shown| {
        shown.contains("RUN") && shown.lines().all(|line| line.chars().count() <= 40)
    });
    tmux.run(&["resize-window", "-t", "z", "-x", "80", "-y", "24"]);

    tmux.press(&["p"]);
    tmux.wait("pause", |shown| shown.contains("PAUSED"));
    tmux.press(&["p"]);
    tmux.wait("end of the pause", |shown| !shown.contains("PAUSED"));
    tmux.press(&["7"]);
    tmux.wait("log", |shown| shown.contains("paused"));
    tmux.press(&["q"]);
    tmux.wait("dialog", |shown| shown.contains("Leave this run?"));
    tmux.press(&["Enter"]);
    let left = tmux.wait("shell again", |shown| shown.contains("left with 0"));
    assert!(
        left.contains("ready>"),
        "the shell's own lines are back:\n{left}"
    );
    assert_eq!(tmux.modes(), [false, true, false]);
    assert_eq!(place.checkpoints("r"), [place.losses("r").len() as u64]);
}
