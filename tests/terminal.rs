//! The screen in a real (pseudo-)terminal: keys reach the engine, and the terminal is given back whichever way it ends.
//!
//! `setsid --ctty` makes the pseudo-terminal the program's own; where there is none the tests say so and pass.

#![cfg(unix)]

mod common;

use common::{ENDLESS, PATIENCE, Place};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

const SLOW: (&str, &str) = ("train.batch_size", "32");

/// A terminal of 80 by 24 with the program in it.
struct Terminal {
    child: Child,
    keys: File,
    /// Kept open, so that the terminal's modes can be looked at when the program is gone.
    screen: File,
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts `arguments` in a terminal; none where that cannot be done.
    fn start(place: &Place, arguments: &[&str]) -> Option<Self> {
        Self::start_with(place, arguments, &[("COLORFGBG", "")])
    }

    /// The same with more in the environment.
    fn start_with(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        if Command::new("setsid")
            .args(["--ctty", "true"])
            .output()
            .is_err()
        {
            eprintln!("skipped: no setsid here");
            return None;
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let screen = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().expect("a path"))
            .expect("its other end");
        let end = || screen.try_clone().expect("a descriptor");
        let mut command = Command::new("setsid");
        place.settle(&mut command);
        let child = command
            .args(["--ctty", env!("CARGO_BIN_EXE_zerollm")])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .env("LC_ALL", "C.UTF-8")
            .env("LANG", "C.UTF-8")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        let keys = File::from(master);
        let mut from = keys.try_clone().expect("a descriptor");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // It ends with an error once every other end is closed.
            while let Ok(read @ 1..) = from.read(&mut piece) {
                kept.lock().expect("no panic").extend(&piece[..read]);
            }
        });
        Some(Self {
            child,
            keys,
            screen,
            bytes,
            reader: Some(reader),
        })
    }

    /// What the terminal shows.
    fn shown(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(24, 80, 0);
        parser.process(&self.bytes.lock().expect("no panic"));
        parser
    }

    fn wait(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        loop {
            let contents = self.shown().screen().contents();
            if is(&contents) {
                return;
            }
            let over = self.child.try_wait().expect("a child");
            assert!(
                over.is_none(),
                "ended ({over:?}) without {what}:\n{contents}"
            );
            assert!(begin.elapsed() < PATIENCE, "no {what} in time:\n{contents}");
            sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Waits for the end: the exit code must be this, and the terminal as it was.
    fn expect(mut self, code: i32) -> String {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            let contents = self.shown().screen().contents();
            assert!(begin.elapsed() < PATIENCE, "does not end:\n{contents}");
            sleep(Duration::from_millis(20));
        };
        let modes = tcgetattr(&self.screen).expect("a terminal").local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "raw mode is left"
        );
        // With the last other end closed, the reader has all.
        drop(std::mem::replace(
            &mut self.screen,
            File::open("/dev/null").expect("there"),
        ));
        self.reader
            .take()
            .expect("taken once")
            .join()
            .expect("no panic");
        let shown = self.shown();
        let contents = shown.screen().contents();
        assert_eq!(status.code(), Some(code), "{contents}");
        assert!(
            !shown.screen().alternate_screen(),
            "the alternate screen is left:\n{contents}"
        );
        assert!(!shown.screen().hide_cursor(), "the cursor is shown");
        assert_eq!(
            shown.screen().mouse_protocol_mode(),
            vt100::MouseProtocolMode::None,
            "the mouse is the terminal's own again"
        );
        assert!(
            !shown.screen().bracketed_paste(),
            "pasted text is plain again"
        );
        let bytes = self.bytes.lock().expect("no panic").clone();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("\x1b[?1049h") && text.contains("\x1b[?1049l"));
        assert!(!text.contains("panicked"), "{contents}");
        contents
    }
}

impl Terminal {
    /// Waits for the end of a program that never claims the terminal.
    fn expect_refusal(mut self, code: i32, word: &str) {
        let begin = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begin.elapsed() < PATIENCE, "does not end");
            sleep(Duration::from_millis(20));
        }
        self.wait_for_text(word);
        assert_eq!(self.child.wait().expect("a child").code(), Some(code));
    }

    fn wait_for_text(&self, word: &str) {
        let begin = Instant::now();
        while !self.shown().screen().contents().contains(word) {
            assert!(begin.elapsed() < PATIENCE, "no {word} in time");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_pause_go_on_and_stop_with_a_checkpoint() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let arguments = ["train", "c.toml", "--run", "r"];
    let Some(mut terminal) = Terminal::start(&place, &arguments) else {
        return;
    };
    terminal.wait("a step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    terminal.press("p");
    terminal.wait("a pause", |shown| shown.contains("PAUSED"));
    terminal.press("p");
    terminal.wait("an end of the pause", |shown| !shown.contains("PAUSED"));
    terminal.press("q");
    terminal.wait("the dialog", |shown| shown.contains("Leave this run?"));
    terminal.press("\r");
    let left = terminal.expect(0);
    assert!(left.contains("the run is in"), "{left}");
    let events = place.events("r");
    for word in ["paused", "resumed_from_pause", "checkpoint", "finished"] {
        assert!(events.iter().any(|event| event["event"] == word), "{word}");
    }
    let steps = place.losses("r").len() as u64;
    assert_eq!(place.checkpoints("r"), [steps]);
}

#[test]
fn a_signal_closes_the_screen_and_gives_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 75), (Signal::INT, 0)] {
        let place = Place::new(&[ENDLESS, SLOW]);
        let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
            return;
        };
        terminal.wait("a step", |shown| {
            shown.contains("RUN") && shown.contains("loss")
        });
        terminal.signal(signal);
        terminal.expect(code);
        assert_eq!(place.checkpoints("r").len(), 1);
    }
}

#[test]
fn a_suspended_run_gives_the_terminal_back_and_claims_it_again() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
        return;
    };
    let is_on = |shown: &str| shown.contains("RUN") && shown.contains("loss");
    terminal.wait("a step", is_on);
    terminal.press("\x1a");
    // The key is a byte in raw mode, so this is the program's own doing.
    terminal.wait("the shell's screen", |shown| !is_on(shown));
    assert!(!terminal.shown().screen().alternate_screen());
    let stat = format!("/proc/{}/stat", terminal.child.id());
    let begin = Instant::now();
    while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
        assert!(begin.elapsed() < PATIENCE, "it stops");
        sleep(Duration::from_millis(20));
    }
    terminal.signal(Signal::CONT);
    terminal.wait("the run's screen", is_on);
    assert!(terminal.shown().screen().alternate_screen());
    terminal.press("\x03");
    terminal.expect(0);
    assert_eq!(place.checkpoints("r").len(), 1);
}

#[test]
fn a_terminal_that_goes_away_leaves_training_on() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
        return;
    };
    terminal.wait("a step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    terminal.signal(Signal::HUP);
    let at = place.losses("r").len();
    let begin = Instant::now();
    while place.losses("r").len() < at + 5 {
        assert!(begin.elapsed() < PATIENCE, "it goes on");
        assert!(
            terminal.child.try_wait().expect("a child").is_none(),
            "it is on"
        );
        sleep(Duration::from_millis(20));
    }
    terminal.signal(Signal::INT);
    terminal.expect(0);
    assert_eq!(place.checkpoints("r").len(), 1);
}

#[test]
fn an_attached_screen_controls_the_run_and_leaves_it_alone() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut run = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut run, "r", "step", |event| event["step"] == 3);
    let Some(mut terminal) = Terminal::start(&place, &["attach", "r"]) else {
        return;
    };
    terminal.wait("the run", |shown| {
        shown.contains("RUN") && shown.contains("ATTACHED")
    });
    terminal.press("p");
    place.wait_for(&mut run, "r", "paused", |_| true);
    terminal.wait("a pause", |shown| {
        shown.contains("PAUSED") && !shown.contains("pausing")
    });
    let refused = place.expect(1, &["ctl", "r", "pause"]);
    assert!(refused.contains("paused already"), "{refused}");
    let second = Terminal::start(&place, &["attach", "r"]).expect("a second terminal");
    second.expect_refusal(1, "--read-only");
    let mut onlooker = Terminal::start(&place, &["attach", "r", "--read-only"]).expect("a third");
    onlooker.wait("the run", |shown| shown.contains("READ-ONLY"));
    onlooker.press("p");
    terminal.press("p");
    onlooker.wait("an end of the pause", |shown| shown.contains("RUN"));
    onlooker.press("q");
    onlooker.expect(0);
    // Neither leaving nor Ctrl-C is for the run.
    terminal.press("q");
    terminal.wait("the dialog", |shown| shown.contains("the run goes on"));
    terminal.press("\r");
    terminal.expect(0);
    let mut terminal = Terminal::start(&place, &["attach", "r"]).expect("another one");
    terminal.wait("the run", |shown| {
        shown.contains("RUN") && shown.contains("ATTACHED")
    });
    terminal.press("\x03");
    terminal.expect(0);
    let at = place.losses("r").len() as u64;
    place.wait_for(&mut run, "r", "step", |event| event["step"] == at + 3);

    let mut terminal = Terminal::start(&place, &["attach", "r"]).expect("the last one");
    terminal.wait("the run", |shown| shown.contains("ATTACHED"));
    terminal.press("q");
    terminal.press("s");
    terminal.expect(0);
    run.expect(0);
    assert_eq!(
        place.events("r").last().expect("events")["reason"],
        "stopped"
    );
}

#[test]
fn a_screen_stays_when_the_run_that_it_watches_dies() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut run = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut run, "r", "step", |event| event["step"] == 3);
    let Some(mut attached) = Terminal::start(&place, &["attach", "r"]) else {
        return;
    };
    let mut watching = Terminal::start(&place, &["watch", "r"]).expect("a second terminal");
    attached.wait("the run", |shown| shown.contains("ATTACHED"));
    watching.wait("the run", |shown| shown.contains("WATCHING"));
    run.signal(Signal::KILL);
    run.end();
    for terminal in [&mut attached, &mut watching] {
        terminal.wait("the end", |shown| {
            shown.contains("FAILED") && shown.contains("loss")
        });
    }
    watching.wait("what it is now", |shown| shown.contains("RECORD"));
    for mut terminal in [attached, watching] {
        terminal.press("q");
        terminal.expect(0);
    }
    let mut later = Terminal::start(&place, &["watch", "r"]).expect("a third");
    later.wait("the record", |shown| {
        shown.contains("RECORD") && shown.contains("FAILED")
    });
    later.press("q");
    later.expect(0);
}

#[test]
fn a_run_that_diverged_stays_on_the_screen_until_it_is_left() {
    let place = Place::new(&[("optimizer.lr", "1e30")]);
    let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
        return;
    };
    terminal.wait("the end", |shown| shown.contains("not finite"));
    terminal.press("q");
    let left = terminal.expect(3);
    assert!(left.contains("not finite"), "{left}");
}

#[test]
fn the_mouse_is_taken_and_left_and_the_clipboard_is_given() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
        return;
    };
    terminal.wait("a step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    let mode = |terminal: &Terminal| terminal.shown().screen().mouse_protocol_mode();
    assert_ne!(mode(&terminal), vt100::MouseProtocolMode::None);
    let contents = terminal.shown().screen().contents();
    let tabs = contents.lines().nth(1).expect("a row of screens");
    let column = tabs.find('2').expect("a second screen") + 1;
    terminal.press(&format!("\x1b[<0;{column};2M\x1b[<0;{column};2m"));
    terminal.wait("the second screen", |shown| shown.contains("[2 "));
    terminal.press("1Y");
    terminal.wait("the copy", |shown| shown.contains("copied"));
    let bytes = terminal.bytes.lock().expect("no panic").clone();
    assert!(String::from_utf8_lossy(&bytes).contains("\x1b]52;c;c3RlcCx0b2tlbnMs"));
    terminal.press(":mouse off\r");
    terminal.wait("an end of the command line", |shown| {
        !shown.contains(":mouse")
    });
    let begin = Instant::now();
    while mode(&terminal) != vt100::MouseProtocolMode::None {
        assert!(begin.elapsed() < PATIENCE, "the mouse is left");
        sleep(Duration::from_millis(20));
    }
    terminal.press(":mouse on\r");
    while mode(&terminal) == vt100::MouseProtocolMode::None {
        assert!(begin.elapsed() < PATIENCE, "the mouse is taken again");
        sleep(Duration::from_millis(20));
    }
    // It is given back on every way out, a signal's too.
    terminal.signal(Signal::INT);
    terminal.expect(0);
}

#[test]
fn an_edit_is_written_into_the_file_and_not_read_back_as_anothers() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let before = std::fs::read_to_string(place.path("c.toml")).expect("a file");
    std::fs::write(place.path("c.toml"), format!("# kept\n{before}")).expect("written");
    let Some(mut terminal) = Terminal::start(&place, &["train", "c.toml", "--run", "r"]) else {
        return;
    };
    terminal.wait("a step", |shown| {
        shown.contains("RUN") && shown.contains("loss")
    });
    terminal.press(":set train.clip_norm\r");
    terminal.wait("the form", |shown| shown.contains("also write to c.toml"));
    terminal.press("\x150.625\t");
    terminal.wait("the value", |shown| shown.contains("[x]"));
    terminal.press("\r");
    terminal.wait("the word of it", |shown| {
        shown.contains("written to c.toml")
    });
    let after = std::fs::read_to_string(place.path("c.toml")).expect("a file");
    assert!(
        after.starts_with("# kept\n") && after.contains("0.625"),
        "{after}"
    );
    // Longer than the watch takes to look.
    let begin = place.losses("r").len();
    sleep(Duration::from_millis(2600));
    assert!(place.losses("r").len() > begin);
    let of = |word: &str| {
        let events = place.events("r");
        events.iter().filter(|event| event["event"] == word).count()
    };
    assert_eq!((of("config_applied"), of("config_rejected")), (1, 0));
    let reloads = place.events("r");
    let mut reloads = reloads.iter().filter(|event| event["command"] == "reload");
    let told = reloads.next().expect("the file is the authority again")["message"].to_string();
    assert!(
        told.contains("the file decides train.clip_norm again"),
        "{told}"
    );
    assert_eq!(reloads.count(), 0, "the watch took it for another's");
    // So an editor's word counts from here on.
    let edited = after.replace("0.625", "0.75");
    std::fs::write(place.path("c.toml"), edited).expect("written");
    let begin = Instant::now();
    while of("config_applied") < 2 {
        assert!(begin.elapsed() < PATIENCE, "the file counts");
        sleep(Duration::from_millis(20));
    }
    let applied = place
        .events("r")
        .into_iter()
        .rfind(|event| event["event"] == "config_applied");
    let change = &applied.expect("an event")["changes"][0];
    assert_eq!(
        (&change["from"], &change["to"]),
        (&"0.625".into(), &"0.75".into())
    );
    terminal.press("\x03");
    terminal.expect(0);
}

#[test]
fn an_attached_screen_writes_into_the_file_that_the_run_watches() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut run = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut run, "r", "step", |_| true);
    let Some(mut terminal) = Terminal::start(&place, &["attach", "r"]) else {
        return;
    };
    let file = place.path("c.toml");
    let record = std::fs::read(place.run_path("r", "run.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let named = record["file"].as_str().expect("a path");
    assert_eq!(
        std::fs::canonicalize(named).ok(),
        std::fs::canonicalize(&file).ok()
    );
    terminal.wait("the run", |shown| shown.contains("ATTACHED"));
    terminal.press(":set train.clip_norm\r");
    terminal.wait("the form", |shown| shown.contains("also write to"));
    terminal.press("\x150.625\t");
    terminal.wait("the value", |shown| shown.contains("[x]"));
    terminal.press("\r");
    terminal.wait("the word of it", |shown| shown.contains("written to"));
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains("clip_norm = 0.625"), "{text}");
    place.wait_for(&mut run, "r", "reply", |event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("the file decides train.clip_norm again")
    });
    // The file is gone: that is said, and none is made in its place.
    std::fs::remove_file(&file).expect("removed");
    terminal.press(":write train.clip_norm\r");
    terminal.wait("the refusal", |shown| shown.contains("not there any more"));
    assert!(!file.exists());
    terminal.press("q");
    terminal.wait("the dialog", |shown| shown.contains("the run goes on"));
    terminal.press("\r");
    terminal.expect(0);

    // A run that has no file says so as before.
    run.signal(Signal::INT);
    run.expect(0);
    let mut run = place.start(&["train", "--run", "r", "--resume", "--ui", "none"]);
    place.wait_for(&mut run, "r", "resumed", |_| true);
    let mut terminal = Terminal::start(&place, &["attach", "r"]).expect("another one");
    terminal.wait("the run", |shown| shown.contains("ATTACHED"));
    terminal.press(":write train.clip_norm\r");
    terminal.wait("the refusal", |shown| {
        shown.contains("no configuration file")
    });
    run.signal(Signal::INT);
    run.expect(0);
}

/// The terminal's background is asked for.
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

    fn has_written(&self, text: &str) -> bool {
        let bytes = self.bytes.lock().expect("no panic").clone();
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
