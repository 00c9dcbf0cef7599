//! Alerts for a person who does not look: the terminal's bell, and notifications of the desktop by way of the terminal
//! (OSC 9 as iTerm2 has it, OSC 777 as urxvt has it). Off unless the person's settings ask for them ([`crate::settings`]).
//!
//! Only the screen's loop sends what [`Bell::ring`] gives, and only to a terminal that is its own: while another program
//! has it, alerts wait, and are told as one.

use std::fmt::Write as _;
use std::time::Duration;

use engine::link::{Body, Event};

use crate::text;

/// Least time between two rings.
const PAUSE: Duration = Duration::from_secs(5);
/// Most characters of a notification.
const MOST: usize = 200;

/// How bad it must be for somebody to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Least {
    /// Every alert.
    Warning,
    /// A value that is not finite, a run that failed.
    Error,
    /// Nothing is.
    #[default]
    Off,
}

impl Least {
    /// Its word in the settings.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "warning" => Some(Self::Warning),
            "error" => Some(Self::Error),
            "off" | "false" => Some(Self::Off),
            _ => None,
        }
    }
}

/// The sequence of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `OSC 9 ; TEXT`.
    Osc9,
    /// `OSC 777 ; notify ; TITLE ; TEXT`.
    Osc777,
    /// None.
    Off,
}

impl Form {
    /// Its word in the settings.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "osc9" => Some(Self::Osc9),
            "osc777" => Some(Self::Osc777),
            "off" | "false" => Some(Self::Off),
            _ => None,
        }
    }
}

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// When the bell rings.
    pub bell: Least,
    /// How a notification is written.
    pub notify: Form,
    /// When there is one.
    pub notify_level: Least,
    /// Whether tmux shall hand notifications on to the terminal outside.
    pub tmux: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            bell: Least::Off,
            notify: Form::Off,
            notify_level: Least::Warning,
            tmux: false,
        }
    }
}

/// What waits to be told.
#[derive(Debug)]
struct Waiting {
    /// The worst of them.
    level: Least,
    text: String,
    /// How many there are besides.
    more: u32,
}

/// Who tells.
#[derive(Debug, Default)]
pub struct Bell {
    wishes: Wishes,
    waiting: Option<Waiting>,
    rang: Option<Duration>,
}

impl Bell {
    /// A bell for these wishes.
    pub fn new(wishes: Wishes) -> Self {
        Self {
            wishes,
            ..Self::default()
        }
    }

    /// Takes an event of the engine.
    pub fn hear(&mut self, event: &Event) {
        match &event.body {
            Body::Alert(alert) => {
                let level = match alert.level.as_str() {
                    "error" => Least::Error,
                    _ => Least::Warning,
                };
                self.note(level, &format!("{}: {}", alert.rule, alert.message));
            }
            Body::Failed { message, .. } => self.note(Least::Error, message),
            _ => {}
        }
    }

    /// Notes something to be told; the first of the worst is what is told in words.
    pub fn note(&mut self, level: Least, text: &str) {
        match &mut self.waiting {
            Some(waiting) => {
                waiting.more += 1;
                if level > waiting.level {
                    (waiting.level, waiting.text) = (level, text.to_owned());
                }
            }
            None => {
                self.waiting = Some(Waiting {
                    level,
                    text: text.to_owned(),
                    more: 0,
                });
            }
        }
    }

    /// What the terminal is to be sent at the time `now`, if anything: about the run of this name.
    pub fn ring(&mut self, now: Duration, run: &str) -> Option<String> {
        if self
            .rang
            .is_some_and(|rang| now.saturating_sub(rang) < PAUSE)
        {
            return None;
        }
        let waiting = self.waiting.take()?;
        let mut out = String::new();
        if waiting.level >= self.wishes.bell {
            out.push('\x07');
        }
        if waiting.level >= self.wishes.notify_level {
            out.push_str(&self.notification(run, &waiting));
        }
        if out.is_empty() {
            return None;
        }
        self.rang = Some(now);
        Some(out)
    }

    fn notification(&self, run: &str, waiting: &Waiting) -> String {
        let mut text = waiting.text.clone();
        if text.chars().count() > MOST {
            text = text.chars().take(MOST).chain("...".chars()).collect();
        }
        if waiting.more > 0 {
            let _ = write!(text, " (+{})", waiting.more);
        }
        let (title, text) = (part(&format!("zerollm {run}")), part(&text));
        let sequence = match self.wishes.notify {
            Form::Off => return String::new(),
            Form::Osc9 => format!("\x1b]9;{title}: {text}\x07"),
            Form::Osc777 => format!("\x1b]777;notify;{title};{text}\x07"),
        };
        if self.wishes.tmux {
            format!("\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))
        } else {
            sequence
        }
    }
}

/// A text as a part of a sequence: nothing in it ends the sequence, begins another, or parts it.
fn part(text: &str) -> String {
    let plain = |c: char| if text::is_shown(c) { c } else { ' ' };
    text.chars()
        .map(|c| if c == ';' { ',' } else { plain(c) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::link::Alert;

    fn alert(level: &str, message: &str) -> Event {
        let alert = Alert {
            rule: "spike".into(),
            level: level.into(),
            message: message.into(),
            ..Alert::default()
        };
        Event {
            body: Body::Alert(Box::new(alert)),
            time: String::new(),
        }
    }

    fn wishes(bell: Least, notify: Form, notify_level: Least) -> Wishes {
        Wishes {
            bell,
            notify,
            notify_level,
            tmux: false,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_level_decides_who_is_told() {
        let warning = "\x1b]9;zerollm r: spike: high\x07";
        for (wishes, on_warning, on_error) in [
            (Wishes::default(), None, None),
            (
                wishes(Least::Error, Form::Off, Least::Warning),
                None,
                Some("\x07".to_owned()),
            ),
            (
                wishes(Least::Warning, Form::Osc9, Least::Warning),
                Some(format!("\x07{warning}")),
                Some(format!("\x07{warning}")),
            ),
            (
                wishes(Least::Off, Form::Osc777, Least::Error),
                None,
                Some("\x1b]777;notify;zerollm r;spike: high\x07".to_owned()),
            ),
        ] {
            for (level, expected) in [("warning", on_warning), ("error", on_error)] {
                let mut bell = Bell::new(wishes);
                bell.hear(&alert(level, "high"));
                assert_eq!(bell.ring(SECOND, "r"), expected, "{wishes:?} {level}");
                assert_eq!(bell.ring(9 * SECOND, "r"), None, "once");
            }
        }
    }

    #[test]
    fn many_alerts_are_one_ring_about_the_worst() {
        let mut bell = Bell::new(wishes(Least::Warning, Form::Osc9, Least::Warning));
        bell.hear(&alert("warning", "one"));
        assert!(bell.ring(SECOND, "r").unwrap().contains("one\x07"));
        for level in ["warning", "error", "error", "warning"] {
            bell.hear(&alert(level, level));
            assert_eq!(bell.ring(3 * SECOND, "r"), None, "too soon");
        }
        let rung = bell.ring(6 * SECOND, "r").unwrap();
        assert_eq!(rung, "\x07\x1b]9;zerollm r: spike: error (+3)\x07");
        bell.hear(&Event {
            body: Body::Failed {
                step: 3,
                message: "no room".into(),
            },
            time: String::new(),
        });
        let rung = bell.ring(12 * SECOND, "r").unwrap();
        assert_eq!(rung, "\x07\x1b]9;zerollm r: no room\x07");
        // Who is told nothing keeps nobody from being told the next thing.
        let mut bell = Bell::new(wishes(Least::Error, Form::Off, Least::Warning));
        bell.hear(&alert("warning", "small"));
        assert_eq!(bell.ring(SECOND, "r"), None);
        bell.hear(&alert("error", "large"));
        assert!(bell.ring(SECOND, "r").is_some());
    }

    #[test]
    fn nothing_in_the_text_can_end_the_sequence() {
        let mut bell = Bell::new(Wishes {
            tmux: true,
            ..wishes(Least::Off, Form::Osc777, Least::Warning)
        });
        let evil = format!("a\x07b\x1b]52;c;x\u{9c}\u{202e}\n{}", "x".repeat(400));
        bell.hear(&alert("warning", &evil));
        let rung = bell.ring(SECOND, "4;0;\x1b[2J").unwrap();
        let inner = rung.strip_prefix("\x1bPtmux;\x1b\x1b]777;notify;").unwrap();
        let inner = inner.strip_suffix("\x07\x1b\\").unwrap();
        assert!(inner.chars().all(text::is_shown), "{inner:?}");
        assert!(inner.starts_with("zerollm 4,0, [2J;spike: a b ]52,c,x   xx"));
        assert!(inner.ends_with("xx...") && inner.chars().count() < 260);
        assert_eq!(inner.matches(';').count(), 1);
    }
}
