//! The keys: one table that drives dispatch, the footer and the help.
//!
//! A key is a word, as crossterm's event spells it here: `p`, `P`, `tab`, `ctrl-c`. Panels may take a key before this
//! table does; theirs are listed by [`crate::panels::Panel::keys`]. A new action is its file in `actions` and one line
//! here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::actions::{self, Action};

/// One action with the keys that start it.
#[derive(Clone, Copy)]
pub struct Binding {
    /// The keys; the first one stands in the footer.
    pub keys: &'static [&'static str],
    /// Place in the footer, from the left; 0 keeps it out. In narrow footers the rightmost fall off.
    pub footer: u8,
    /// What they do.
    pub action: &'static Action,
}

const fn bind(keys: &'static [&'static str], footer: u8, action: &'static Action) -> Binding {
    Binding {
        keys,
        footer,
        action,
    }
}

/// Every key, in the order of the help.
pub const KEYMAP: &[Binding] = &[
    bind(&["p", "space"], 1, &actions::pause::ACTION),
    bind(&["P"], 0, &actions::pause_hard::ACTION),
    bind(&["c"], 2, &actions::checkpoint::ACTION),
    bind(&["s"], 3, &actions::sample::ACTION),
    bind(&["e"], 4, &actions::eval::ACTION),
    bind(&["q"], 6, &actions::leave::ACTION),
    bind(&["ctrl-c"], 0, &actions::stop::ACTION),
    bind(&["ctrl-z"], 0, &actions::suspend::ACTION),
    bind(
        &["1", "2", "3", "4", "5", "6", "7", "8", "9"],
        0,
        &actions::screen::ACTION,
    ),
    bind(&["tab", "backtab"], 0, &actions::next_screen::ACTION),
    bind(&["?", "f1"], 5, &actions::help::ACTION),
    bind(&["esc"], 0, &actions::back::ACTION),
    bind(&["h", "l", "left", "right"], 10, &actions::cursor::ACTION),
    bind(&["H", "L"], 0, &actions::marker::ACTION),
    bind(&["g", "G", "home", "end"], 0, &actions::ends::ACTION),
    bind(&["z", "Z", "+", "-", "0"], 9, &actions::zoom::ACTION),
    bind(&["y"], 7, &actions::log_axis::ACTION),
    bind(&["t"], 8, &actions::unit::ACTION),
    bind(&["S"], 11, &actions::smoothing::ACTION),
    bind(&["f"], 12, &actions::freeze::ACTION),
    bind(&["m"], 0, &actions::glyphs::ACTION),
    bind(&["ctrl-l"], 0, &actions::redraw::ACTION),
];

/// The action of a key.
pub fn find(key: &str) -> Option<&'static Action> {
    let binding = KEYMAP.iter().find(|b| b.keys.contains(&key));
    binding.map(|b| b.action)
}

/// The bindings of the footer, from the left.
pub fn footer() -> Vec<&'static Binding> {
    let mut shown: Vec<&Binding> = KEYMAP.iter().filter(|b| b.footer > 0).collect();
    shown.sort_by_key(|b| b.footer);
    shown
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
    fn no_key_is_bound_twice_and_every_action_has_one() {
        let mut seen = std::collections::BTreeSet::new();
        for binding in KEYMAP {
            assert!(!binding.keys.is_empty());
            for key in binding.keys {
                assert!(seen.insert(*key), "{key} is bound twice");
            }
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
    }
}
