//! `docs/tour.cast` and the screens of `docs/*/tour.md`: a session of the real program in a terminal.
//!
//! It records them anew (some minutes, as a model is trained) where `ZEROLLM_TOUR` is the program to be shown:
//! `ZEROLLM_TOUR=$PWD/target/release/zerollm cargo test --test tour`. They are read as they are in any case.

#![cfg(unix)]

#[path = "tour/record.rs"]
mod record;
#[expect(dead_code, reason = "the tour needs no signals")]
#[path = "common/terminal.rs"]
mod terminal;

use record::{COLUMNS, ROWS};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take while it is recorded.
const PATIENCE: Duration = Duration::from_mins(30);
/// Most bytes of the recording.
const MOST: u64 = 300_000;
/// What stands before a screen in a page.
const MARK: &str = "<!-- screen: ";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// The screens of a page: name and text.
fn screens(page: &str) -> Vec<(String, String)> {
    let parts = page.split(MARK).skip(1);
    parts
        .map(|part| {
            let (name, rest) = part.split_once(" -->\n```\n").expect("a name and a block");
            let (text, _) = rest.split_once("\n```\n").expect("an end of the block");
            (name.to_owned(), text.to_owned())
        })
        .collect()
}

/// What a screen shows, without blanks at ends.
fn trimmed(contents: &str) -> String {
    let lines: Vec<&str> = contents.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    text.trim_end().replace(terminal::REPLACEMENT, "\u{fffd}")
}

/// What a recording shows: the screens at its markers, and the last one.
struct Played {
    marked: Vec<(String, String)>,
    last: vt100::Parser,
    /// Without the time that a player leaves out.
    seconds: f64,
}

/// Plays a recording.
fn play(cast: &str) -> Played {
    let mut lines = cast.lines();
    let header: Value = serde_json::from_str(lines.next().expect("a header")).expect("JSON");
    assert_eq!(header["version"], 2);
    assert_eq!(
        (&header["width"], &header["height"]),
        (&COLUMNS.into(), &ROWS.into())
    );
    let idle = header["idle_time_limit"].as_f64().expect("seconds");
    let mut played = Played {
        marked: Vec::new(),
        last: vt100::Parser::new(ROWS, COLUMNS, 0),
        seconds: 0.0,
    };
    let mut before = 0.0;
    for line in lines {
        let (time, kind, data): (f64, String, String) =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(time >= before, "{line}");
        played.seconds += idle.min(time - before);
        before = time;
        match &*kind {
            "o" => terminal::show(&mut played.last, &data),
            "m" => {
                let text = trimmed(&played.last.screen().contents());
                played.marked.push((data, text));
            }
            other => panic!("an event of kind {other}"),
        }
    }
    played
}

fn record(program: &Path) {
    let place = TempDir::new().expect("a temporary folder");
    let english = record::play("en", program, place.path()).expect("a pseudo-terminal");
    fs::write(docs("tour.cast"), english.cast()).expect("written");
    // The same run goes on.
    let chinese = record::play("zh", program, place.path()).expect("a pseudo-terminal");
    for (page, recording) in [("en/tour.md", english), ("zh/tour.md", chinese)] {
        let mut text = fs::read_to_string(docs(page)).expect("a page");
        for (name, screen) in play(&recording.cast()).marked {
            let mark = format!("{MARK}{name} -->\n```\n");
            let Some(start) = text.find(&mark).map(|at| at + mark.len()) else {
                panic!("{page} has no place for {name}");
            };
            let end = start - 1 + text[start - 1..].find("\n```\n").expect("an end");
            text.replace_range(start..end.max(start), &screen);
        }
        fs::write(docs(page), text).expect("written");
    }
}

#[test]
fn the_recording_is_whole_and_the_pages_show_its_screens() {
    if let Some(program) = std::env::var_os("ZEROLLM_TOUR") {
        record(Path::new(&program));
    }
    let path = docs("tour.cast");
    let size = fs::metadata(&path).expect("a recording").len();
    assert!(size < MOST, "{size} bytes");
    let text = fs::read_to_string(&path).expect("UTF-8");
    // Nothing of the machine that it was made on, and nothing that asks the viewer's terminal something.
    for part in ["/tmp", "/home", "/root", "]11;?", "\\u001b[6n", "\\u001b[c"] {
        assert!(!text.contains(part), "{part} is in the recording");
    }
    let played = play(&text);
    let seconds = played.seconds;
    assert!((10.0..150.0).contains(&seconds), "{seconds} seconds");
    let screen = played.last.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor());
    assert!(!screen.bracketed_paste());
    assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    let contents = screen.contents();
    assert_eq!(contents.trim_end().lines().last(), Some("$"), "{contents}");

    let [english, chinese] = ["en", "zh"].map(|lang| {
        let page = fs::read_to_string(docs(&format!("{lang}/tour.md"))).expect("a page");
        screens(&page)
    });
    assert!(!english.is_empty());
    assert_eq!(english, played.marked);
    let names = |screens: &[(String, String)]| -> Vec<String> {
        screens.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&english), names(&chinese));
    for (name, text) in &chinese {
        let lines = text.lines().count();
        assert!((1..=usize::from(ROWS)).contains(&lines), "{name}");
    }
}
