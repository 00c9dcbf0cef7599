//! Alerts that the terminal is told of: only where somebody asked for it, and only while the screen has the terminal.

use crate::common::{PATIENCE, Place};
use crate::terminal::Terminal;
use crate::{ENDLESS, SLOW};
use rustix::process::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run whose first step is not finite, and that stands still then.
const BAD: &[(&str, &str)] = &[
    ENDLESS,
    SLOW,
    ("optimizer.lr", "1e30"),
    ("train.on_nonfinite", "\"pause\""),
];

impl Terminal {
    fn bytes(&self) -> String {
        let bytes = self.written.lock().expect("no panic").bytes.clone();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What was written without the sequences of an operating system command, which end with BEL or ST.
fn without_sequences(text: &str) -> String {
    let mut parts = text.split("\x1b]");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| {
        let ends = ["\x07", "\x1b\\"].into_iter();
        let end = ends
            .filter_map(|end| Some(part.find(end)? + end.len()))
            .min();
        kept + end.map_or("", |end| &part[end..])
    })
}

#[test]
fn the_terminal_is_told_of_alerts_where_somebody_asks_for_it() {
    let osc9 = "\x1b]9;zerollm r: nonfinite: ";
    let osc777 = "\x1b]777;notify;zerollm r;nonfinite: ";
    let tmux = "\x1bPtmux;\x1b\x1b]9;zerollm r: nonfinite: ";
    for (settings, environment, rings, told) in [
        ("", &[][..], false, None),
        ("bell = \"error\"\n", &[], true, None),
        (
            "notify = \"osc9\"\n",
            &[("TMUX", "/tmp/t,1,0")],
            false,
            Some(osc9),
        ),
        (
            "bell = \"error\"\nnotify = \"osc9\"\n",
            &[("ZEROLLM_NOTIFY", "osc777"), ("ZEROLLM_BELL", "off")],
            false,
            Some(osc777),
        ),
        (
            "notify = \"osc9\"\nnotify_level = \"error\"\ntmux_passthrough = true\n",
            &[("TMUX", "/tmp/t,1,0")],
            false,
            Some(tmux),
        ),
    ] {
        let place = Place::new(BAD);
        std::fs::create_dir_all(place.path("settings/zerollm")).expect("a folder");
        place.write("settings/zerollm/settings.toml", settings);
        let train = ["train", "c.toml", "--run", "r"];
        let Some(mut terminal) = Terminal::start_with(&place, &train, environment) else {
            return;
        };
        terminal.wait("the pause", |shown| shown.contains("PAUSED"));
        let begin = Instant::now();
        let mut bytes = terminal.bytes();
        while told.is_some_and(|told| !bytes.contains(told)) || rings && !bytes.contains('\x07') {
            assert!(begin.elapsed() < PATIENCE, "{settings}: not told");
            sleep(Duration::from_millis(20));
            bytes = terminal.bytes();
        }
        terminal.signal(Signal::INT);
        bytes = {
            let written = std::sync::Arc::clone(&terminal.written);
            terminal.expect(0);
            let kept = written.lock().expect("no panic");
            String::from_utf8_lossy(&kept.bytes).into_owned()
        };
        for sequence in ["\x1b]9;", "\x1b]777;", "\x1bPtmux;"] {
            let wanted = told.is_some_and(|told| told.contains(sequence));
            assert_eq!(bytes.contains(sequence), wanted, "{settings} {sequence:?}");
        }
        let rang = without_sequences(&bytes).contains('\x07');
        assert_eq!(rang, rings, "{settings}");
        // Nothing of it reaches the shell.
        let left = bytes.rfind("\x1b[?1049l").expect("the screen is left");
        assert!(!bytes[left..].contains('\x07') && !bytes[left..].contains("\x1b]"));
    }
}

#[test]
fn a_plain_run_never_rings() {
    let place = Place::new(&[BAD, &[("train.on_nonfinite", "\"stop\"")]].concat());
    let train = ["train", "c.toml", "--run", "r", "--ui", "plain"];
    let mut command = place.command(&train);
    command
        .env("ZEROLLM_BELL", "warning")
        .env("ZEROLLM_NOTIFY", "osc9");
    let mut process = place.start_command(&mut command);
    let output = process.end();
    assert_eq!(output.status.code(), Some(3));
    let all = [output.stdout, output.stderr].concat();
    assert!(!all.contains(&0x07) && !all.contains(&0x1b));
}
