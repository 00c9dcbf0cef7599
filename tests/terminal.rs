//! The screen in a real (pseudo-)terminal: keys reach the engine, and the terminal is given back whichever way it ends.
//!
//! Where there is no pseudo-terminal the tests say so and pass.

#![cfg(unix)]

#[path = "terminal/background.rs"]
mod background;
#[path = "terminal/bells.rs"]
mod bells;
mod common;
#[path = "common/terminal.rs"]
mod terminal;
#[path = "terminal/ways_out.rs"]
mod ways_out;

use common::{ENDLESS, PATIENCE, Place};
use rustix::process::Signal;
use rustix::termios::{InputModes, LocalModes, OutputModes, tcgetattr};
use std::fs::File;
use std::thread::sleep;
use std::time::{Duration, Instant};
use terminal::Terminal;

const SLOW: (&str, &str) = ("train.batch_size", "32");

impl Terminal {
    /// Starts `arguments` in a terminal; none where that cannot be done.
    fn start(place: &Place, arguments: &[&str]) -> Option<Self> {
        Self::start_with(place, arguments, &[])
    }

    /// The same with more in the environment.
    fn start_with(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        Self::open(env!("CARGO_BIN_EXE_zerollm"), (80, 24), |command| {
            place.settle(command);
            command.args(arguments).envs(environment.iter().copied());
        })
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
        let modes = tcgetattr(&self.screen).expect("a terminal");
        assert!(
            modes
                .local_modes
                .contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
                && modes.input_modes.contains(InputModes::ICRNL)
                && modes.output_modes.contains(OutputModes::OPOST),
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
        let bytes = self.written.lock().expect("no panic").bytes.clone();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("\x1b[?1049h") && text.contains("\x1b[?1049l"));
        as_it_was_found(&text);
        let on_purpose = text.contains("a drill");
        assert!(on_purpose || !text.contains("panicked"), "{contents}");
        contents
    }
}

/// Every mode that was set is set back, last of all the screen, and nothing is drawn behind that.
fn as_it_was_found(text: &str) {
    for mode in [1000, 1002, 1003, 1004, 1006, 1015, 1049, 2004, 2026] {
        let last = |end: char| text.rfind(&format!("\x1b[?{mode}{end}"));
        assert!(
            last('h') < last('l') || last('h').is_none(),
            "mode {mode} is left"
        );
    }
    let (shown, hidden) = (text.rfind("\x1b[?25h"), text.rfind("\x1b[?25l"));
    assert!(shown > hidden, "the cursor is left hidden");
    let left = text.rfind("\x1b[?1049l").expect("it was left");
    // The cursor is shown again, and lines may follow.
    let behind = text[left..]
        .replace("\x1b[?1049l", "")
        .replace("\x1b[?25h", "");
    assert!(
        !behind.contains('\x1b'),
        "something is drawn behind the end: {behind:?}"
    );
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
            shown.contains("INTERRUPTED") && shown.contains("loss")
        });
    }
    watching.wait("what it is now", |shown| shown.contains("RECORD"));
    for mut terminal in [attached, watching] {
        terminal.press("q");
        terminal.expect(0);
    }
    let mut later = Terminal::start(&place, &["watch", "r"]).expect("a third");
    later.wait("the record", |shown| {
        shown.contains("RECORD") && shown.contains("INTERRUPTED")
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
    terminal.wait("the end", |shown| shown.contains("DIVERGED"));
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
    let bytes = terminal.written.lock().expect("no panic").bytes.clone();
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
