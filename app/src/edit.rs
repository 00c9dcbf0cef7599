//! The form of a change of the configuration: what the key is, what it takes, what comes of it; and the same for taking a
//! change back.
//!
//! What is typed is checked at once, as the engine will check it. A change that touches the learning rate shows the rate of
//! every step, as it is and as it would be. The engine has the last word; nothing here changes anything.

use engine::config;
use engine::link::Command;

use crate::lang::{Lang, Phrase, Text};
use crate::panels::field::{Field, Typed};
use crate::prompt::Said;
use crate::state::{State, Version};

mod draw;

/// The refusal of a key that there is none of.
pub const NO_KEY: Text = Text::new("there is no key {0}", "没有配置项 {0}");

/// One key that shall change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    /// The key.
    key: String,
    /// Its value in force, as TOML; empty where it has none.
    from: String,
    /// The value that it shall have, as it was typed.
    to: String,
}

/// The open form.
#[derive(Clone, Debug)]
pub struct Edit {
    wanted: Vec<Wanted>,
    /// The version that is taken back; else the one key is edited.
    undoes: Option<u32>,
    field: Field,
    choices: Vec<&'static str>,
    /// Whether the file shall say it too.
    pub to_file: bool,
}

impl Edit {
    /// The form of a key, filled in with `value`, else with the value in force.
    ///
    /// # Errors
    /// If there is no such key, or it cannot change in a run that is on; one line.
    pub fn of(key: &str, value: &str, state: &State) -> Result<Self, Phrase> {
        let now = state.config.iter().find(|v| v.key == key);
        let form = config::form(key).ok_or_else(|| NO_KEY.fill(&[&key]))?;
        let class = now.map_or(form.class.word(), |v| v.class.as_str());
        if class == "restart" {
            const RESTART: Text = Text::new(
                "{0} cannot change in a run that is on: start a new one",
                "训练中不能修改 {0}: 需新建训练",
            );
            return Err(RESTART.fill(&[&key]));
        }
        let from = now.map_or("", |v| v.value.as_str());
        let choices = form.choices;
        let bare = if choices.is_empty() {
            from
        } else {
            from.trim_matches('"')
        };
        let to = if value.is_empty() { bare } else { value };
        Ok(Self {
            wanted: vec![Wanted {
                key: key.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
            }],
            undoes: None,
            field: Field::with(to),
            choices,
            to_file: false,
        })
    }

    /// The form that takes back a version, else the last edit that is not taken back yet.
    ///
    /// # Errors
    /// If there is nothing to take back, or it cannot be; one line.
    pub fn undoing(version: Option<u32>, state: &State) -> Result<Self, Phrase> {
        let found = match version {
            Some(number) => state.versions.iter().find(|v| v.number == number),
            None => last_standing(&state.versions),
        };
        let found = found.ok_or_else(|| match version {
            Some(number) => {
                const UNKNOWN: Text = Text::new(
                    "version {0} is not known as a live edit",
                    "没有版本 {0} 的在线修改",
                );
                UNKNOWN.fill(&[&number.to_string()])
            }
            None => Text::new("there is no live edit to undo", "没有可撤销的在线修改").into(),
        })?;
        let mut wanted = Vec::new();
        let keys = || found.changes.iter().map(|change| change.key.as_str());
        // The keys of a variant come and go with it.
        let follows = |key: &str| {
            let table = key.rsplit_once('.').map_or("", |(table, _)| table);
            keys().any(|other| other.strip_suffix(".kind") == Some(table))
        };
        for change in &found.changes {
            let now = state.config.iter().find(|v| v.key == change.key);
            let now = now.map_or("", |v| v.value.as_str());
            if change.from.is_empty() && follows(&change.key) {
                continue;
            }
            if change.from.is_empty() {
                const HAD_NONE: Text = Text::new(
                    "{0} had no value before v{1}: it cannot be taken back",
                    "{0} 在 v{1} 之前没有值: 无法撤销",
                );
                return Err(HAD_NONE.fill(&[&change.key, &found.number.to_string()]));
            }
            if now != change.from {
                wanted.push(Wanted {
                    key: change.key.clone(),
                    from: now.to_owned(),
                    to: change.from.clone(),
                });
            }
        }
        // A variant before its keys.
        wanted.sort_by_key(|w| w.key.rsplit('.').next() != Some("kind"));
        if wanted.is_empty() {
            const AS_IT_WAS: Text =
                Text::new("what v{0} changed is as it was", "v{0} 的修改已恢复原样");
            return Err(AS_IT_WAS.fill(&[&found.number.to_string()]));
        }
        Ok(Self {
            wanted,
            undoes: Some(found.number),
            field: Field::default(),
            choices: Vec::new(),
            to_file: false,
        })
    }

    /// Whether the learning rate of some step depends on a key that shall change.
    pub fn has_curve(&self) -> bool {
        self.wanted.iter().any(|w| {
            matches!(w.key.as_str(), "optimizer.lr" | "train.max_steps")
                || w.key.starts_with("schedule.")
        })
    }

    /// The changes as `(key, text)`.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let pairs = self.wanted.iter();
        pairs.map(|w| (w.key.clone(), w.to.clone())).collect()
    }

    /// Whether the engine would take it, as far as this screen can know.
    ///
    /// # Errors
    /// With what is wrong, in a line.
    pub fn check(&self, state: &State) -> Result<(), Phrase> {
        for wanted in &self.wanted {
            config::check(&wanted.key, &wanted.to)
                .map_err(|message| Phrase::from(format!("{}: {message}", wanted.key)))?;
        }
        // Keys may contradict each other. Where even the values in force cannot be put together, as of a newer program,
        // nothing can be said.
        if config::with_edits(&state.config, &[]).is_ok()
            && let Err(error) = config::with_edits(&state.config, &self.pairs())
        {
            let wanted = self.wanted.iter().any(|w| w.key == error.key);
            let key = if wanted || error.key.is_empty() {
                String::new()
            } else {
                format!("{}: ", error.key)
            };
            return Err(format!("{key}{}", error.message).into());
        }
        Ok(())
    }

    /// What is asked of the engine.
    pub fn commands(&self) -> Vec<Command> {
        let wanted = self.wanted.iter();
        wanted
            .map(|w| Command::Set {
                key: w.key.clone(),
                value: w.to.clone(),
            })
            .collect()
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        if self.undoes.is_none() && self.choices.is_empty() {
            self.field.paste(text);
            self.wanted[0].to.clone_from(&self.field.text);
        }
    }

    /// Takes a key. `has_file` says whether there is a file to write to.
    pub fn handle(&mut self, key: &str, state: &State, has_file: bool) -> Said {
        match key {
            "esc" => return Said::Closed,
            "enter" if self.check(state).is_ok() => return Said::Change,
            "enter" => {}
            "tab" => self.to_file = has_file && !self.to_file,
            _ if self.undoes.is_some() => {}
            "left" | "up" | "h" | "k" if !self.choices.is_empty() => self.choose(false),
            "right" | "down" | "l" | "j" | "space" if !self.choices.is_empty() => self.choose(true),
            _ if !self.choices.is_empty() => {}
            key => {
                if self.field.handle(key) == Typed::Open {
                    self.wanted[0].to.clone_from(&self.field.text);
                }
            }
        }
        Said::Open
    }

    fn choose(&mut self, forward: bool) {
        let num = self.choices.len();
        let here = self.choices.iter().position(|c| *c == self.wanted[0].to);
        let next = match (here, forward) {
            (None, _) => 0,
            (Some(at), true) => (at + 1) % num,
            (Some(at), false) => (at + num - 1) % num,
        };
        self.choices[next].clone_into(&mut self.wanted[0].to);
    }
}

/// The newest edit that no later one took back.
fn last_standing(versions: &[Version]) -> Option<&Version> {
    let mut standing: Vec<&Version> = Vec::new();
    for version in versions {
        let reverses = standing.last().is_some_and(|last| {
            last.changes.len() == version.changes.len()
                && last.changes.iter().all(|was| {
                    let back = version.changes.iter().find(|is| is.key == was.key);
                    back.is_some_and(|is| is.from == was.to && is.to == was.from)
                })
        });
        if reverses {
            standing.pop();
        } else {
            standing.push(version);
        }
    }
    standing.last().copied()
}

/// When a change of that class takes effect.
pub fn when(class: &str, lang: Lang) -> &'static str {
    let text = match class {
        "live" => Text::new("live: at the next step", "live: 下一步生效"),
        "boundary" => Text::new(
            "boundary: at the next pause or checkpoint",
            "boundary: 下次暂停或存档时生效",
        ),
        _ => Text::new("restart: in a new run", "restart: 需新建训练"),
    };
    text.get(lang)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::link::Change;

    fn version(number: u32, from: &str, to: &str) -> Version {
        Version {
            number,
            step: 1,
            clock: String::new(),
            changes: vec![Change {
                key: "optimizer.lr".into(),
                from: from.into(),
                to: to.into(),
            }],
        }
    }

    #[test]
    fn undoing_twice_goes_back_two_edits() {
        let mut versions = vec![version(2, "1", "2"), version(3, "2", "3")];
        let standing = |versions: &[Version]| last_standing(versions).map(|v| v.number);
        assert_eq!(standing(&versions), Some(3));
        versions.push(version(4, "3", "2"));
        assert_eq!(standing(&versions), Some(2));
        versions.push(version(5, "2", "1"));
        assert_eq!(standing(&versions), None);
        versions.push(version(6, "1", "9"));
        assert_eq!(standing(&versions), Some(6));
    }

    #[test]
    fn a_variant_takes_its_keys_with_it_and_brings_them_back() {
        let change = |key: &str, from: &str, to: &str| Change {
            key: key.into(),
            from: from.into(),
            to: to.into(),
        };
        let undone = |kind: (&str, &str), share: (&str, &str)| {
            let mut state = State::new(0.9);
            state.config = config::Config::demo(&[]).unwrap().effective();
            for value in &mut state.config {
                if value.key == "schedule.kind" {
                    value.value = kind.1.into();
                }
            }
            state.versions = vec![Version {
                changes: vec![
                    change("schedule.decay_fraction", share.0, share.1),
                    change("schedule.kind", kind.0, kind.1),
                ],
                ..version(2, "", "")
            }];
            Edit::undoing(None, &state).map(|edit| edit.pairs())
        };
        let pair = |key: &str, to: &str| (key.to_owned(), to.to_owned());
        assert_eq!(
            undone(("\"cosine\"", "\"wsd\""), ("", "0.2")).unwrap(),
            [pair("schedule.kind", "\"cosine\"")]
        );
        assert_eq!(
            undone(("\"wsd\"", "\"cosine\""), ("0.3", "")).unwrap(),
            [
                pair("schedule.kind", "\"wsd\""),
                pair("schedule.decay_fraction", "0.3")
            ]
        );
    }
}
