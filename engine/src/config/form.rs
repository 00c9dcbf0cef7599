//! What a form for editing keys needs: what each key takes, whether a text will do, and what a change would come to.
//!
//! For screens, which know a configuration only by the values that the engine told them ([`ConfigValue`]).

use std::fmt::Write as _;

use super::layer::{Layer, Source};
use super::schema::{self, KIND};
use super::value::{Value, describe};
use super::{Config, ConfigError, Sources};
use crate::link::ConfigValue;
use crate::registry::{Class, Key, Kind, SLOTS, Slot};

/// What a form shows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// One line: what it is.
    pub doc: &'static str,
    /// When a change takes effect: the strictest where variants differ.
    pub class: Class,
    /// What it takes, in words.
    pub takes: String,
    /// The words to choose from, as they are typed; empty where it is not a choice.
    pub choices: Vec<&'static str>,
}

/// The form of a dotted key; none if there is no such key.
pub fn form(path: &str) -> Option<Form> {
    let key = schema::find(path).next()?;
    let slot = slot(path, key);
    let choices = match key.kind {
        Kind::Bool => vec!["true", "false"],
        Kind::Choice(words) => words.to_vec(),
        _ => slot.map_or_else(Vec::new, |slot| {
            slot.variants.iter().map(|variant| variant.kind).collect()
        }),
    };
    Some(Form {
        doc: slot.map_or(key.doc, |slot| slot.doc),
        class: schema::find(path).map(|key| key.class).max()?,
        takes: match (choices.is_empty(), key.kind) {
            (false, Kind::Text) => format!("one of {}", choices.join(", ")),
            (_, kind) => describe(&kind),
        },
        choices,
    })
}

/// The slot whose variant the key chooses, if it does.
fn slot(path: &str, key: &'static Key) -> Option<&'static Slot> {
    let chooses = KIND.iter().any(|kind| std::ptr::eq(kind, key));
    SLOTS
        .iter()
        .copied()
        .find(|slot| chooses && path.strip_suffix(".kind") == Some(slot.path))
}

/// The TOML value that `key=text` sets.
///
/// # Errors
/// If there is no such key, or the text is not what it takes; one line.
pub fn check(path: &str, text: &str) -> Result<String, String> {
    let form = form(path).ok_or_else(|| format!("there is no key {path}"))?;
    let layer =
        Layer::flag(Source::Edit, &format!("{path}={text}")).map_err(|error| error.message)?;
    let [assignment] = &layer.assignments[..] else {
        return Err(format!("expected {}", form.takes));
    };
    if let (Some(word), false) = (assignment.toml.as_str(), form.choices.is_empty())
        && !form.choices.contains(&word)
    {
        return Err(format!("expected {}", form.takes));
    }
    // A key that several variants have takes what any of them takes; the engine knows which one is meant.
    let mut refused = String::new();
    for key in schema::find(path) {
        match Value::read(&assignment.toml, &key.kind, &layer.base) {
            Ok(value) => return Ok(value.to_toml()),
            Err(message) => refused = message,
        }
    }
    Err(refused)
}

/// The configuration that `values`, as a run told them, come to with the edits `(key, text)`: checked as the engine checks
/// it, but for the files that it names.
///
/// # Errors
/// As [`Config::parse`].
pub fn with_edits(
    values: &[ConfigValue],
    edits: &[(String, String)],
) -> Result<Config, ConfigError> {
    // Keys of a variant that is about to go must not be left behind, nor may a folder that need not be there be asked.
    let leaving: Vec<&str> = edits
        .iter()
        .filter_map(|(key, _)| key.strip_suffix(".kind"))
        .collect();
    let stays = |value: &&ConfigValue| {
        let (table, name) = value.key.rsplit_once('.').unwrap_or(("", &value.key));
        let own =
            |slot: &&&Slot| slot.path == table && slot.keys.iter().all(|key| key.name != name);
        let left = leaving.contains(&table) && SLOTS.iter().find(own).is_some();
        !left && !matches!(value.key.as_str(), "model.preset" | "model.init_from")
    };
    let mut text = String::new();
    for value in values.iter().filter(stays) {
        let _ = writeln!(text, "{} = {}", value.key, value.value);
    }
    let edits: Vec<String> = edits
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Config::resolve(&Sources {
        text: &text,
        edits: &edits,
        ..Sources::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_form_and_takes_its_own_choices() {
        let keys = crate::config::keys();
        assert!(keys.iter().any(|key| key == "model.mixer.kind"));
        for key in &keys {
            let form = form(key).unwrap();
            assert!(!form.doc.is_empty() && !form.takes.is_empty(), "{key}");
            for word in &form.choices {
                assert!(check(key, word).is_ok(), "{key} {word}");
            }
        }
        assert_eq!(form("optimizer.rate"), None);
        let kind = form("schedule.kind").unwrap();
        assert_eq!(kind.choices, ["constant", "linear", "cosine", "wsd"]);
        assert_eq!(kind.class, Class::Live);
    }

    #[test]
    fn texts_are_checked_as_flags_are() {
        assert_eq!(check("optimizer.lr", "3e-4").unwrap(), "0.0003");
        assert_eq!(check("optimizer.lr", "1").unwrap(), "1.0");
        assert_eq!(check("schedule.kind", "wsd").unwrap(), "\"wsd\"");
        assert_eq!(check("sample.prompts", "a").unwrap(), "[\"a\"]");
        for (key, text, part) in [
            ("optimizer.lr", "fast", "a number"),
            ("optimizer.lr", "-1", "a number"),
            ("train.max_steps", "0", "from 1 on"),
            ("train.max_steps", "1.5", "a whole number"),
            ("schedule.kind", "step", "one of"),
            ("schedule.rate", "1", "there is no key"),
        ] {
            let message = check(key, text).unwrap_err();
            assert!(message.contains(part), "{key}={text}: {message}");
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn edits_of_what_a_run_told_come_to_its_configuration() {
        let demo = Config::demo(&[]).unwrap();
        let values = demo.effective();
        let same = with_edits(&values, &[]).unwrap();
        assert_eq!(same.effective().len(), values.len());
        assert_eq!(same.optimizer, demo.optimizer);
        assert_eq!(same.schedule, demo.schedule);
        let edit = |key: &str, text: &str| with_edits(&values, &[(key.into(), text.into())]);
        assert_eq!(edit("optimizer.lr", "0.5").unwrap().optimizer.lr, 0.5);
        for kind in ["wsd", "constant", "linear", "cosine"] {
            let first = edit("schedule.kind", kind).unwrap();
            assert_eq!(first.schedule.choice.kind(), kind);
            // And from any to any other.
            for next in ["wsd", "constant"] {
                let edits = [("schedule.kind".to_owned(), next.to_owned())];
                let second = with_edits(&first.effective(), &edits).unwrap();
                assert_eq!(second.schedule.choice.kind(), next);
            }
        }
        assert!(edit("optimizer.lr", "0").is_err());
    }
}
