//! The keys: one table that drives dispatch, the footer and the help.
//!
//! A key is a word, as crossterm's event spells it here: `p`, `P`, `tab`, `ctrl-c`. It is bound to a line of
//! [`crate::actions`], such as `pause hard`; any line may be bound, in [`PRESETS`] or in a person's own file
//! ([`mod@file`]). Panels may take a key before this table does; theirs are listed by [`crate::panels::Panel::keys`] and may
//! be given other places too ([`panels`]).

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::actions::{self, Action};

use self::panels::PanelKeys;

pub mod file;
pub mod panels;

/// A line and its usual keys.
struct Preset {
    line: &'static str,
    keys: &'static [&'static str],
    footer: u8,
}

const fn bind(line: &'static str, keys: &'static [&'static str], footer: u8) -> Preset {
    Preset { line, keys, footer }
}

/// The usual keys, in the order of the footer's and the help's tables.
const PRESETS: &[Preset] = &[
    bind("pause toggle", &["p", "space"], 1),
    bind("pause hard", &["P"], 0),
    bind("ckpt", &["c"], 2),
    bind("ckpt tag", &["C"], 0),
    bind("sample", &["s"], 3),
    bind("eval", &["e"], 4),
    bind("undo", &["u"], 0),
    bind("stop", &["X"], 0),
    bind("leave", &["q"], 6),
    bind("interrupt", &["ctrl-c"], 0),
    bind("suspend", &["ctrl-z"], 0),
    bind("command", &[":"], 7),
    bind("palette", &["ctrl-p"], 0),
    bind("help", &["?", "f1"], 5),
    bind("screen 1", &["1"], 0),
    bind("screen 2", &["2"], 0),
    bind("screen 3", &["3"], 0),
    bind("screen 4", &["4"], 0),
    bind("screen 5", &["5"], 0),
    bind("screen 6", &["6"], 0),
    bind("screen 7", &["7"], 0),
    bind("screen 8", &["8"], 0),
    bind("screen 9", &["9"], 0),
    bind("screen next", &["tab"], 0),
    bind("screen previous", &["backtab"], 0),
    bind("back", &["esc"], 0),
    bind("cursor left", &["h", "left"], 11),
    bind("cursor right", &["l", "right"], 0),
    bind("cursor first", &["g", "home"], 0),
    bind("cursor last", &["G", "end"], 0),
    bind("marker previous", &["H"], 0),
    bind("marker next", &["L"], 0),
    bind("zoom in", &["z", "+"], 10),
    bind("zoom out", &["Z", "-"], 0),
    bind("zoom all", &["0"], 0),
    bind("axis", &["y"], 8),
    bind("unit", &["t"], 9),
    bind("smooth", &["S"], 12),
    bind("freeze", &["f"], 13),
    bind("copy", &["Y"], 0),
    bind("theme", &["T"], 0),
    bind("glyphs", &["m"], 0),
    bind("debug", &["D"], 0),
    bind("redraw", &["ctrl-l"], 0),
];

/// A line with its keys.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The line, as [`actions::parse`] takes it.
    pub line: String,
    /// Its keys; the first one stands in the footer.
    pub keys: Vec<String>,
    /// Place in the footer, from the left; 0 keeps it out. In narrow footers the rightmost fall off.
    pub footer: u8,
    /// The line's action.
    pub action: &'static Action,
}

/// The keys in force.
#[derive(Clone, Debug)]
pub struct Keymap {
    bindings: Vec<Binding>,
    /// Those of single screens that were given other places.
    pub panels: PanelKeys,
}

impl Default for Keymap {
    fn default() -> Self {
        let binding = |preset: &Preset| {
            let (action, _) = actions::parse(preset.line).ok()?;
            Some(Binding {
                line: preset.line.to_owned(),
                keys: preset.keys.iter().map(|key| (*key).to_owned()).collect(),
                footer: preset.footer,
                action,
            })
        };
        // Every preset parses; a test sees to it.
        Self {
            bindings: PRESETS.iter().filter_map(binding).collect(),
            panels: PanelKeys::default(),
        }
    }
}

impl Keymap {
    /// All bindings, in the order of the help.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The binding of a key.
    pub fn find(&self, key: &str) -> Option<&Binding> {
        let has = |b: &&Binding| b.keys.iter().any(|have| have == key);
        self.bindings.iter().find(has)
    }

    /// The first key of a line; empty where it has none.
    pub fn key_of(&self, line: &str) -> &str {
        let binding = self.bindings.iter().find(|b| b.line == line);
        binding
            .and_then(|b| b.keys.first())
            .map_or("", String::as_str)
    }

    /// The bindings of the footer, from the left.
    pub fn footer(&self) -> Vec<&Binding> {
        let shown = |b: &&Binding| b.footer > 0 && !b.keys.is_empty();
        let mut shown: Vec<&Binding> = self.bindings.iter().filter(shown).collect();
        shown.sort_by_key(|b| b.footer);
        shown
    }

    /// Gives a line these keys in place of those that it has.
    ///
    /// # Errors
    /// If there is no such line or key; one line of text.
    pub fn bind(&mut self, line: &str, keys: Vec<String>) -> Result<(), String> {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let (action, argument) = actions::parse(&line).map_err(|why| why.to_string())?;
        if let Some(words) = fixed_words(action.takes)
            && let Some(first) = argument.split_whitespace().next()
            && !words.contains(&first)
        {
            return Err(format!("{} takes {}", action.name, action.takes));
        }
        if let Some(key) = keys.iter().find(|key| !is_key(key)) {
            return Err(no_key(key));
        }
        match self.bindings.iter_mut().find(|b| b.line == line) {
            Some(binding) => binding.keys = keys,
            None => self.bindings.push(Binding {
                line,
                keys,
                footer: 0,
                action,
            }),
        }
        Ok(())
    }

    /// A key that two lines have, with both.
    pub fn twice(&self) -> Option<(&str, &str, &str)> {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for binding in &self.bindings {
            for key in &binding.keys {
                if let Some((_, other)) = seen.iter().find(|(have, _)| have == key) {
                    return Some((key, other, &binding.line));
                }
                seen.push((key, &binding.line));
            }
        }
        None
    }
}

/// The words of `[a|b]`, where nothing else may stand.
fn fixed_words(takes: &str) -> Option<Vec<&str>> {
    let words = takes.trim_matches(['[', ']']);
    let fixed = words.contains('|') && !words.contains(|c: char| c.is_ascii_uppercase());
    fixed.then(|| words.split('|').collect())
}

/// What is said of a word that is no key.
fn no_key(word: &str) -> String {
    format!("{word:?} is no key; keys are written as p, P, f1, enter, pgdn, ctrl-p, alt-x")
}

/// Names of keys that are no character.
const NAMES: [&str; 16] = [
    "space",
    "tab",
    "backtab",
    "enter",
    "esc",
    "backspace",
    "delete",
    "left",
    "right",
    "up",
    "down",
    "pgup",
    "pgdn",
    "home",
    "end",
    "insert",
];

/// Whether [`word`] may give this word.
pub fn is_key(word: &str) -> bool {
    let bare = ["ctrl-", "alt-"]
        .iter()
        .find_map(|prefix| word.strip_prefix(prefix))
        .unwrap_or(word);
    let mut chars = bare.chars();
    let single = matches!((chars.next(), chars.next()), (Some(c), None) if !c.is_whitespace() && !c.is_control());
    let function = bare
        .strip_prefix('f')
        .and_then(|n| n.parse::<u8>().ok())
        .is_some_and(|n| (1..=24).contains(&n));
    let upper = word.starts_with("ctrl-") && bare.chars().any(char::is_uppercase);
    (single || function || NAMES.contains(&bare)) && !upper
}

/// The word for a key event; none for keys that have none here.
pub fn word(event: &KeyEvent) -> Option<String> {
    let name = match event.code {
        KeyCode::Char(' ') => "space".to_owned(),
        KeyCode::Char(c) if event.modifiers.contains(KeyModifiers::CONTROL) => {
            c.to_ascii_lowercase().to_string()
        }
        KeyCode::Char(c) => c.to_string(),
        KeyCode::Tab => "tab".to_owned(),
        KeyCode::BackTab => "backtab".to_owned(),
        KeyCode::Enter => "enter".to_owned(),
        KeyCode::Esc => "esc".to_owned(),
        KeyCode::Backspace => "backspace".to_owned(),
        KeyCode::Delete => "delete".to_owned(),
        KeyCode::Insert => "insert".to_owned(),
        KeyCode::Left => "left".to_owned(),
        KeyCode::Right => "right".to_owned(),
        KeyCode::Up => "up".to_owned(),
        KeyCode::Down => "down".to_owned(),
        KeyCode::PageUp => "pgup".to_owned(),
        KeyCode::PageDown => "pgdn".to_owned(),
        KeyCode::Home => "home".to_owned(),
        KeyCode::End => "end".to_owned(),
        KeyCode::F(n) => format!("f{n}"),
        _ => return None,
    };
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        Some(format!("ctrl-{name}"))
    } else if event.modifiers.contains(KeyModifiers::ALT) {
        Some(format!("alt-{name}"))
    } else {
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_line_with_keys_of_its_own() {
        let keymap = Keymap::default();
        assert_eq!(keymap.bindings().len(), PRESETS.len());
        assert_eq!(keymap.twice(), None);
        for preset in PRESETS {
            assert!(preset.keys.iter().all(|key| is_key(key)), "{}", preset.line);
            let mut other = Keymap::default();
            let keys: Vec<String> = preset.keys.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(other.bind(preset.line, keys), Ok(()));
        }
    }

    #[test]
    fn keys_have_words() {
        let word_of = |code, modifiers| word(&KeyEvent::new(code, modifiers));
        assert_eq!(
            word_of(KeyCode::Char('P'), KeyModifiers::SHIFT).unwrap(),
            "P"
        );
        assert_eq!(
            word_of(KeyCode::Char('c'), KeyModifiers::CONTROL).unwrap(),
            "ctrl-c"
        );
        assert_eq!(
            word_of(KeyCode::Char(' '), KeyModifiers::NONE).unwrap(),
            "space"
        );
        assert_eq!(word_of(KeyCode::F(1), KeyModifiers::NONE).unwrap(), "f1");
        assert_eq!(word_of(KeyCode::CapsLock, KeyModifiers::NONE), None);
        for key in ["p", "P", "ctrl-p", "alt-x", "f12", "pgdn", "\u{4e2d}", "-"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "ctrl-", "pp", "f0", "f99", "ctrl-P", "page", " "] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn lines_get_other_keys() {
        let mut keymap = Keymap::default();
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        keymap.bind("eval", keys(&["E", "f5"])).unwrap();
        assert_eq!(keymap.find("E").unwrap().line, "eval");
        assert!(keymap.find("e").is_none());
        keymap
            .bind("set  schedule.lr_scale 0.5", keys(&["f6"]))
            .unwrap();
        assert_eq!(keymap.find("f6").unwrap().line, "set schedule.lr_scale 0.5");
        keymap.bind("sample", keys(&["E"])).unwrap();
        assert_eq!(keymap.twice(), Some(("E", "sample", "eval")));
        for (line, key, part) in [
            ("evaluate", "E", "no command"),
            ("cursor up", "E", "takes left|right"),
            ("eval", "ctrl-P", "is no key"),
            ("eval now", "E", "takes nothing"),
        ] {
            let message = keymap.bind(line, keys(&[key])).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
