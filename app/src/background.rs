//! The terminal's background: asked for once (OSC 11), and its answer picked out from among the keys.
//!
//! Terminals answer at once, late (over a slow line), or never. So nobody waits for long: the screen begins with what the
//! environment says, and takes the answer whenever it comes. It comes as keys, Alt-] first, which must reach nobody:
//! [`Sieve`] holds back what begins like an answer until it is one, is none, or [`GAP`] has passed.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

/// The question.
pub const QUESTION: &str = "\x1b]11;?\x1b\\";
/// How long the first frame waits for the answer.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// How long after the question an answer may still be under way when the screen closes.
pub const LATEST: Duration = Duration::from_millis(500);
/// Longest time between two keys of one answer.
pub const GAP: Duration = Duration::from_millis(50);
/// Most characters of an answer: `11;rgba:` and four numbers of four digits.
const LONGEST: usize = 27;

/// What the sieve makes of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Sieved {
    /// These are keys, in this order.
    Keys(Vec<Event>),
    /// Perhaps part of an answer: nothing yet.
    Held,
    /// An answer: whether the background is light. None where it says no colour.
    Answer(Option<bool>),
}

/// Picks one answer out of the keys.
#[derive(Debug, Default)]
pub struct Sieve {
    /// Whether an answer may come.
    open: bool,
    held: Vec<Event>,
    text: String,
    /// Whether the last key was Esc, half of an end.
    ending: bool,
}

impl Sieve {
    /// For an answer that may come, or not.
    pub fn new(asked: bool) -> Self {
        Self {
            open: asked,
            ..Self::default()
        }
    }

    /// Whether the answer has not come yet.
    pub fn awaits(&self) -> bool {
        self.open
    }

    /// Whether keys are held back; then [`Self::release`] is due after [`GAP`] without another.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a key or something else from the terminal.
    pub fn take(&mut self, event: Event) -> Sieved {
        let Event::Key(key) = &event else {
            return self.none(event);
        };
        let (key, held) = (*key, self.holds());
        if !self.open || (!held && !is(key, ']', KeyModifiers::ALT)) {
            return self.none(event);
        }
        let end = is(key, '\\', KeyModifiers::ALT)
            || is(key, 'g', KeyModifiers::CONTROL)
            || (self.ending && is(key, '\\', KeyModifiers::NONE));
        if held && is(key, ']', KeyModifiers::ALT) {
            // The one before was a person's.
            let keys = self.release();
            self.held.push(event);
            return Sieved::Keys(keys);
        }
        if held && end {
            let answer = is_light(&self.text);
            *self = Self::default();
            return Sieved::Answer(answer);
        }
        if held {
            match key.code {
                KeyCode::Esc if !self.ending => self.ending = true,
                KeyCode::Char(c) if !self.ending && self.fits(c) => self.text.push(c),
                _ => return self.none(event),
            }
        }
        self.held.push(event);
        Sieved::Held
    }

    /// Gives back what was held, as no more of an answer came.
    pub fn release(&mut self) -> Vec<Event> {
        self.text.clear();
        self.ending = false;
        std::mem::take(&mut self.held)
    }

    fn none(&mut self, event: Event) -> Sieved {
        let mut keys = self.release();
        keys.push(event);
        Sieved::Keys(keys)
    }

    /// Whether an answer may go on with this character.
    fn fits(&self, c: char) -> bool {
        let at = self.text.len();
        let begins = |form: &str| form.starts_with(&self.text) && form[at..].starts_with(c);
        let in_number = self.text.contains(':') && (c.is_ascii_hexdigit() || c == '/');
        at < LONGEST && (begins("11;rgb:") || begins("11;rgba:") || in_number)
    }
}

fn is(key: KeyEvent, c: char, modifiers: KeyModifiers) -> bool {
    key.code == KeyCode::Char(c) && key.modifiers == modifiers
}

/// Whether `11;rgb:RRRR/GGGG/BBBB` (X11's form, one to four digits a colour) is light: CIE lightness above 50.
fn is_light(answer: &str) -> Option<bool> {
    let (_, numbers) = answer.split_once(':')?;
    let mut colour = [0.0; 3];
    let mut parts = numbers.split('/');
    for value in &mut colour {
        let digits = parts.next()?;
        let most = 16f64.powi(i32::try_from(digits.len()).ok()?) - 1.0;
        let level = f64::from(u32::from_str_radix(digits, 16).ok()?) / most;
        // sRGB (IEC 61966-2-1) to linear light.
        *value = if level <= 0.04045 {
            level / 12.92
        } else {
            ((level + 0.055) / 1.055).powf(2.4)
        };
    }
    let [r, g, b] = colour;
    let luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    Some(116.0 * luminance.cbrt() - 16.0 > 50.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    /// An answer as the keys that crossterm reads from it.
    fn keys(text: &str, end: &[Event]) -> Vec<Event> {
        let mut keys = vec![key(KeyCode::Char(']'), KeyModifiers::ALT)];
        keys.extend(text.chars().map(|c| {
            let shift = if c.is_uppercase() {
                KeyModifiers::SHIFT
            } else {
                KeyModifiers::NONE
            };
            key(KeyCode::Char(c), shift)
        }));
        keys.extend(end.iter().cloned());
        keys
    }

    fn last(sieve: &mut Sieve, events: &[Event]) -> Sieved {
        let (last, first) = events.split_last().unwrap();
        for event in first {
            assert_eq!(sieve.take(event.clone()), Sieved::Held, "{event:?}");
        }
        sieve.take(last.clone())
    }

    #[test]
    fn an_answer_is_picked_out_in_every_form() {
        let bell = [key(KeyCode::Char('g'), KeyModifiers::CONTROL)];
        let string = [key(KeyCode::Char('\\'), KeyModifiers::ALT)];
        let torn = [
            key(KeyCode::Esc, KeyModifiers::NONE),
            key(KeyCode::Char('\\'), KeyModifiers::NONE),
        ];
        for (text, light) in [
            ("11;rgb:ffff/ffff/ffff", Some(true)),
            ("11;rgb:FAFA/FAFA/F5F5", Some(true)),
            ("11;rgb:fd/f6/e3", Some(true)),
            ("11;rgb:0000/0000/0000", Some(false)),
            ("11;rgb:1e1e/1e1e/2e2e", Some(false)),
            ("11;rgba:0000/2b2b/3636/ffff", Some(false)),
            ("11;rgb:/", None),
        ] {
            for end in [&bell[..], &string, &torn] {
                let mut sieve = Sieve::new(true);
                assert_eq!(
                    last(&mut sieve, &keys(text, end)),
                    Sieved::Answer(light),
                    "{text}"
                );
                assert!(!sieve.awaits() && !sieve.holds());
            }
        }
    }

    #[test]
    fn what_is_no_answer_reaches_whom_it_is_for() {
        let mut sieve = Sieve::new(true);
        let plain = key(KeyCode::Char('p'), KeyModifiers::NONE);
        assert_eq!(sieve.take(plain.clone()), Sieved::Keys(vec![plain.clone()]));
        // Begins like one.
        let mut all = keys("11;r", &[]);
        all.push(plain.clone());
        assert_eq!(last(&mut sieve, &all), Sieved::Keys(all.clone()));
        // A key of one's own, with nothing behind it.
        let alone = keys("", &[]);
        assert_eq!(sieve.take(alone[0].clone()), Sieved::Held);
        assert!(sieve.holds());
        assert_eq!(sieve.release(), alone);
        // A key of one's own, and then an answer.
        assert_eq!(sieve.take(alone[0].clone()), Sieved::Held);
        assert_eq!(sieve.take(alone[0].clone()), Sieved::Keys(alone.clone()));
        assert_eq!(sieve.release(), alone);
        // No end.
        let long = keys(&format!("11;rgb:{}", "f".repeat(40)), &[]);
        let passed: Vec<Event> = long
            .iter()
            .flat_map(|event| match sieve.take(event.clone()) {
                Sieved::Keys(keys) => keys,
                Sieved::Held => Vec::new(),
                Sieved::Answer(_) => panic!("an answer"),
            })
            .collect();
        assert_eq!(passed, long);
        // Nobody asked: nothing is held.
        let mut closed = Sieve::new(false);
        assert_eq!(closed.take(alone[0].clone()), Sieved::Keys(alone));
    }
}
