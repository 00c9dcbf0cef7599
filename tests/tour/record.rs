//! The session of the tour, played by nobody: what is typed, when, and what is kept of it.

use crate::PATIENCE;
use crate::terminal::{Terminal, Written};
use serde_json::json;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Width of the terminal.
pub const COLUMNS: u16 = 100;
/// Height of the terminal.
pub const ROWS: u16 = 30;
/// What comes so soon after something else is one event with it: a frame is not torn.
const TOGETHER: Duration = Duration::from_millis(25);

/// What was recorded.
pub struct Recording {
    /// Time and output.
    events: Vec<(Duration, String)>,
    /// Screens that pages show: a name, and how many events had come.
    kept: Vec<(String, usize)>,
}

struct Session {
    terminal: Terminal,
    /// Screens to be kept, each with the number of bytes that had come.
    kept: Vec<(&'static str, usize)>,
}

impl Session {
    /// Types like a person.
    fn say(&mut self, text: &str) {
        for key in text.chars() {
            self.terminal.press(&key.to_string());
            let slow = if key == '\r' { 400 } else { 55 };
            sleep(Duration::from_millis(slow));
        }
    }

    /// Waits for any of the words, which two languages have.
    fn wait(&mut self, words: &[&str]) {
        self.terminal.wait(&words.join(" or "), |shown| {
            words.iter().any(|word| shown.contains(word))
        });
    }

    fn keep(&mut self, name: &'static str) {
        let written = self.terminal.written.lock().expect("no panic");
        self.kept.push((name, written.bytes.len()));
    }
}

fn look(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds));
}

/// Plays the session of a program in a language, in the folder `place`; the run that is there goes on, if there is one. None
/// where there is no pseudo-terminal.
pub fn play(lang: &str, program: &Path, place: &Path) -> Option<Recording> {
    let folder = program.parent().expect("a path of the program");
    let terminal = Terminal::open("sh", (COLUMNS, ROWS), |command| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![folder.to_owned()];
        folders.extend(std::env::split_paths(&path));
        command
            .current_dir(place)
            .env_clear()
            .env("PATH", std::env::join_paths(folders).expect("a path"))
            .env("HOME", place)
            .env("XDG_RUNTIME_DIR", place)
            .env("ZEROLLM_CACHE", place.join("cache"))
            .env("ZEROLLM_LANG", lang)
            // Nothing is asked of the terminal of whoever plays the recording.
            .env("ZEROLLM_THEME", "dark")
            .env("ZEROLLM_MOUSE", "false")
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env("PS1", "$ ");
    })?;
    let kept = Vec::new();
    let mut session = Session { terminal, kept };
    script(&mut session, place);
    let Session { terminal, kept } = session;
    let written = terminal.written.lock().expect("no panic");
    Some(Recording::new(&written, &kept))
}

/// The record of a run.
fn record_of(place: &Path, run: &str) -> String {
    let path = place.join("runs").join(run).join("events.jsonl");
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The last step that the demo has made.
fn last_step(place: &Path) -> u64 {
    let text = record_of(place, "demo");
    let mut lines = text.lines().rev();
    let step = lines.find_map(|line| line.strip_prefix("{\"event\":\"step\",\"step\":"));
    let number = step.and_then(|rest| rest.split(',').next()?.parse().ok());
    number.unwrap_or(0)
}

fn wait_for(what: &str, has_come: impl Fn() -> bool) {
    let begin = Instant::now();
    while !has_come() {
        assert!(begin.elapsed() < PATIENCE, "no {what}");
        sleep(Duration::from_millis(500));
    }
}

/// In what the two sessions differ; the second goes on where the first has ended.
struct Ways {
    /// The flag that goes on with a run.
    resume: &'static str,
    /// The factor that the schedule is given.
    scale: &'static str,
    /// The name that a checkpoint is given.
    tag: &'static str,
    /// The name of the fork.
    fork: &'static str,
    /// The keys from the newest sample, of the last prompt (a Chinese one), to the sample that is shown.
    up: &'static str,
    /// What the model goes on with.
    prompt: &'static str,
}

const ENGLISH: Ways = Ways {
    resume: "",
    scale: "0.5",
    tag: "good",
    fork: "slow",
    up: "k",
    prompt: "One day,",
};

const CHINESE: Ways = Ways {
    resume: " --resume",
    scale: "0.25",
    tag: "better",
    fork: "slow-2",
    up: "",
    prompt: "\u{4ece}\u{524d}",
};

/// The tour.
fn script(session: &mut Session, place: &Path) {
    let before = last_step(place);
    session.wait(&["$"]);
    look(0.5);
    let Ways {
        resume,
        scale,
        tag,
        fork,
        up,
        prompt,
    } = match before {
        0 => ENGLISH,
        _ => CHINESE,
    };
    session.say(&format!("zerollm train --run demo{resume} --detach\r"));
    session.wait(&["in the background"]);
    look(1.5);
    wait_for("steps", || last_step(place) >= (before + 8).max(260));
    session.say("zerollm attach demo\r");
    session.wait(&["RUN", "\u{8bad}\u{7ec3}\u{4e2d}"]);
    look(3.0);
    session.keep("train");
    session.say("2");
    look(1.5);
    session.say("jj");
    look(2.0);
    session.keep("layers");
    session.say("3");
    look(0.5);
    session.say("s");
    look(3.0);
    session.say(&format!("v{up}"));
    look(3.0);
    session.keep("samples");
    session.say("1p");
    session.wait(&["PAUSED", "\u{5df2}\u{6682}\u{505c}"]);
    look(0.5);
    session.say(":set schedule.lr_scale\r");
    look(0.5);
    session.say(&format!("\u{15}{scale}"));
    look(1.5);
    session.keep("edit");
    session.say("\r");
    look(1.0);
    // In a pause nothing else writes a checkpoint meanwhile.
    session.say("c5");
    look(2.0);
    session.say("T");
    look(0.5);
    session.say(&format!("{tag}\r"));
    look(1.5);
    session.say("v");
    look(2.0);
    session.say("F");
    look(0.5);
    session.say(&format!("{fork} optimizer.lr=1e-3\r"));
    session.wait(&["y starts", "y \u{5728}\u{540e}\u{53f0}"]);
    look(2.0);
    session.keep("checkpoints");
    session.say("y");
    look(1.5);
    session.say("p");
    look(2.0);
    session.say(":screen chat\r");
    look(1.0);
    session.say("jjjjjj\r");
    session.wait(&["chat @", "\u{5bf9}\u{8bdd} @"]);
    look(1.0);
    session.say(&format!("{prompt}\r"));
    look(6.0);
    session.keep("chat");
    // Ends the answer, and the typing.
    session.say("\u{1b}\u{1b}");
    look(0.5);
    session.say("1");
    look(1.5);
    session.say("q");
    look(1.0);
    session.keep("leave");
    session.say("d");
    session.wait(&["as it was"]);
    look(1.0);
    session.say("zerollm ctl demo stop\r");
    session.wait(&["stops after"]);
    look(0.5);
    session.say("clear\r");
    let sample = "\n{\"event\":\"sample\"";
    wait_for("sample", || record_of(place, fork).contains(sample));
    session.say(&format!("zerollm attach {fork}\r"));
    session.wait(&["RUN", "\u{8bad}\u{7ec3}\u{4e2d}"]);
    look(1.5);
    session.say(&format!("3{up}"));
    look(0.5);
    session.say("o");
    session.wait(&["parent ", "\u{7236}\u{8fd0}\u{884c}"]);
    look(1.0);
    session.say("\r");
    look(1.0);
    session.say("d");
    look(3.0);
    session.keep("other");
    session.say("qd");
    session.wait(&["as it was"]);
    session.say(&format!("zerollm ctl {fork} stop\r"));
    session.wait(&["stops after"]);
    look(1.0);
    session.say("clear\r");
    session.say("zerollm runs\r");
    look(1.0);
    session.say(&format!("zerollm compare demo {fork}\r"));
    look(2.0);
    session.say(&format!(
        "zerollm generate --run demo --prompt '{prompt}' --max-tokens 60\r"
    ));
    look(3.0);
    session.keep("shell");
}

impl Recording {
    fn new(written: &Written, kept: &[(&str, usize)]) -> Self {
        // The ends of what came together.
        let pieces = &written.pieces;
        let apart = |at: usize| match pieces.get(at + 1) {
            Some(next) => next.0.saturating_sub(pieces[at].0) > TOGETHER,
            None => true,
        };
        let ends: Vec<usize> = (0..pieces.len()).filter(|at| apart(*at)).collect();
        let mut recording = Self {
            events: Vec::new(),
            kept: Vec::new(),
        };
        let mut done = 0;
        let mut begin = 0;
        for end in ends {
            let (time, length) = (pieces[begin].0, pieces[end].1);
            begin = end + 1;
            let bytes = &written.bytes[done..length];
            // A character that is cut in two comes with its end.
            let whole = match std::str::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid"),
            };
            done += whole.len();
            recording.events.push((time, whole.to_owned()));
            for (name, length) in kept {
                if *length >= done {
                    recording.keep(name);
                }
            }
        }
        recording
    }

    /// The screen after the last event is the one of that name, unless a later one is.
    fn keep(&mut self, name: &str) {
        self.kept.retain(|(known, _)| known != name);
        self.kept.push((name.to_owned(), self.events.len()));
    }

    /// As an asciicast (version 2): a header, then an event a line; a marker where a page shows the screen.
    pub fn cast(&self) -> String {
        let header = json!({
            "version": 2, "width": COLUMNS, "height": ROWS, "title": "ZeroLLM: a small model, from zero",
            "idle_time_limit": 2.0, "env": { "TERM": "xterm-256color", "SHELL": "sh" },
        });
        let mut lines = vec![header];
        for (number, (time, text)) in self.events.iter().enumerate() {
            let seconds = (time.as_secs_f64() * 1e3).round() / 1e3;
            lines.push(json!([seconds, "o", text]));
            let shown = self.kept.iter().filter(|(_, events)| *events == number + 1);
            lines.extend(shown.map(|(name, _)| json!([seconds, "m", name])));
        }
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        lines.join("\n") + "\n"
    }
}
