//! The terminal's background: asked for once, answered at once, late or never.

use crate::common::{PATIENCE, Place};
use crate::terminal::Terminal;
use crate::{ENDLESS, SLOW};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The question.
const QUESTION: &str = "\x1b]11;?\x1b\\";
/// Colours of the smoothed line: on a dark background, on a light one.
const LINES: [u8; 2] = [117, 25];

impl Terminal {
    fn wait_for_question(&self) {
        let begin = Instant::now();
        while !self.has_written(QUESTION) {
            assert!(begin.elapsed() < PATIENCE, "it does not ask");
            sleep(Duration::from_millis(1));
        }
    }

    pub fn has_written(&self, text: &str) -> bool {
        let bytes = self.written.lock().expect("no panic").bytes.clone();
        String::from_utf8_lossy(&bytes).contains(text)
    }

    fn shows_colour(&self, index: u8) -> bool {
        let shown = self.shown();
        let screen = shown.screen();
        let cells = (0..24).flat_map(|row| (0..80).filter_map(move |col| screen.cell(row, col)));
        let wanted = vt100::Color::Idx(index);
        cells.into_iter().any(|cell| cell.fgcolor() == wanted)
    }

    /// Waits until the chart is drawn for a background.
    fn wait_for_colours(&mut self, light: bool) {
        let begin = Instant::now();
        loop {
            let [dark_line, light_line] = LINES;
            let (is, is_not) = if light {
                (light_line, dark_line)
            } else {
                (dark_line, light_line)
            };
            if self.shows_colour(is) && !self.shows_colour(is_not) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the colours are others");
            sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn the_colours_follow_the_background_that_the_terminal_tells() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut run = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut run, "r", "step", |event| event["step"] == 3);
    let watch = ["watch", "r"];
    let is_train = |shown: &str| shown.contains("[1 Train]") && !shown.contains("\n:");
    let light = "\x1b]11;rgb:fdfd/f6f6/e3e3\x1b\\";
    let dark = "\x1b]11;rgb:1e1e/1e1e/2e2e\x07";
    // At once, with a key behind it that is a key; whatever the environment says.
    for (told, environment, is_light) in [(light, "15;0", true), (dark, "0;15", false)] {
        let environment = [("COLORFGBG", environment)];
        let Some(mut terminal) = Terminal::start_with(&place, &watch, &environment) else {
            return;
        };
        terminal.wait_for_question();
        terminal.press(&format!("{told}7"));
        terminal.wait("the log", |shown| shown.contains("[7 Log]"));
        terminal.press("1");
        terminal.wait("the charts", is_train);
        terminal.wait_for_colours(is_light);
        terminal.press("q");
        terminal.expect(0);
    }
    // Never: the environment is believed.
    for (environment, is_light) in [("0;15", true), ("15;0", false), ("", false)] {
        let environment = [("COLORFGBG", environment)];
        let mut terminal = Terminal::start_with(&place, &watch, &environment).expect("another");
        terminal.wait("the charts", is_train);
        terminal.wait_for_colours(is_light);
        terminal.press("q");
        terminal.expect(0);
    }
    // Late: nothing of it is taken for keys, and it counts, unless somebody has chosen since.
    for choose in [false, true] {
        let mut terminal = Terminal::start(&place, &watch).expect("another");
        terminal.wait("the charts", is_train);
        terminal.wait_for_colours(false);
        sleep(Duration::from_millis(300));
        if choose {
            terminal.press(":theme none\r");
            terminal.wait("the end of the line", is_train);
        }
        terminal.press(light);
        if choose {
            // The key after it has come through, so that it was looked at.
            terminal.press("7");
            terminal.wait("the log", |shown| shown.contains("[7 Log]"));
            assert!(LINES.iter().all(|line| !terminal.shows_colour(*line)));
        } else {
            terminal.wait_for_colours(true);
            let contents = terminal.shown().screen().contents();
            assert!(is_train(&contents), "{contents}");
        }
        terminal.press("q");
        terminal.expect(0);
    }
    // Who has said what to show is not asked about.
    for (environment, flags) in [
        (("ZEROLLM_THEME", "dark"), &[][..]),
        (("TERM", "linux"), &[]),
        (("NO_COLOR", "1"), &[]),
        (("ZEROLLM_THEME", "auto"), &["--theme", "light"]),
    ] {
        let mut terminal =
            Terminal::start_with(&place, &[&watch[..], flags].concat(), &[environment])
                .expect("another");
        terminal.wait("the charts", is_train);
        terminal.press("q");
        assert!(!terminal.has_written(QUESTION), "{environment:?}");
        terminal.expect(0);
    }
    // Left before the answer: it is not left to the shell.
    let mut terminal = Terminal::start(&place, &watch).expect("another");
    terminal.wait_for_question();
    terminal.press("q");
    sleep(Duration::from_millis(200));
    terminal.press(light);
    let begin = Instant::now();
    while terminal.child.try_wait().expect("a child").is_none() {
        assert!(begin.elapsed() < PATIENCE, "does not end");
        sleep(Duration::from_millis(5));
    }
    // Without lines, all that nobody has read counts.
    let modes = tcgetattr(&terminal.screen).expect("a terminal");
    let mut raw = modes.clone();
    raw.make_raw();
    tcsetattr(&terminal.screen, OptionalActions::Now, &raw).expect("set");
    let left = rustix::io::ioctl_fionread(&terminal.screen).expect("a terminal");
    assert_eq!(left, 0, "bytes are left for the shell");
    tcsetattr(&terminal.screen, OptionalActions::Now, &modes).expect("set");
    terminal.expect(0);
    run.signal(Signal::INT);
    run.expect(0);
}
