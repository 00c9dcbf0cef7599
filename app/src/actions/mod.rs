//! What keys, the command line and the palette do: one file an action, one line in [`ALL`].
//!
//! An action changes the [`Workbench`], or asks the engine through it; it never touches the terminal or the clock. It is
//! called by a *line*, its name and what it takes: `eval`, `ckpt tag before`, `screen log`. The person types lines behind
//! `:`, the [`crate::keymap`] binds keys to lines, the [`crate::palette`] finds them.

use crate::lang::{Phrase, Text};
use crate::workbench::Workbench;

pub mod attempts;
pub mod back;
pub mod checkpoint;
pub mod command;
pub mod copy;
pub mod cursor;
pub mod debug;
pub mod delete;
pub mod eval;
pub mod freeze;
pub mod glyphs;
pub mod goto;
pub mod help;
pub mod interrupt;
pub mod lang;
pub mod layer;
pub mod leave;
pub mod log_axis;
pub mod marker;
pub mod mouse;
pub mod note;
pub mod palette;
pub mod pause;
pub mod profile;
pub mod redraw;
pub mod reload;
pub mod resume;
pub mod rollback;
pub mod sample;
pub mod screen;
pub mod set;
pub mod smoothing;
pub mod stop;
pub mod suspend;
pub mod tag;
pub mod theme;
pub mod undo;
pub mod unit;
pub mod untag;
pub mod verify;
pub mod write;
pub mod zoom;

/// Every action, in the order of the help.
pub static ALL: &[&Action] = &[
    &pause::ACTION,
    &resume::ACTION,
    &checkpoint::ACTION,
    &sample::ACTION,
    &eval::ACTION,
    &set::ACTION,
    &undo::ACTION,
    &write::ACTION,
    &reload::ACTION,
    &rollback::ACTION,
    &tag::ACTION,
    &untag::ACTION,
    &verify::ACTION,
    &delete::ACTION,
    &profile::ACTION,
    &note::ACTION,
    &stop::ACTION,
    &leave::ACTION,
    &interrupt::ACTION,
    &suspend::ACTION,
    &command::ACTION,
    &palette::ACTION,
    &help::ACTION,
    &screen::ACTION,
    &layer::ACTION,
    &back::ACTION,
    &cursor::ACTION,
    &marker::ACTION,
    &goto::ACTION,
    &zoom::ACTION,
    &log_axis::ACTION,
    &unit::ACTION,
    &smoothing::ACTION,
    &attempts::ACTION,
    &freeze::ACTION,
    &copy::ACTION,
    &theme::ACTION,
    &lang::ACTION,
    &glyphs::ACTION,
    &mouse::ACTION,
    &debug::ACTION,
    &redraw::ACTION,
];

/// One thing that the screen can do.
#[derive(Debug)]
pub struct Action {
    /// Its name: the first word of its lines.
    pub name: &'static str,
    /// What it takes, as the help writes it: in brackets where it may be left out, empty where it takes nothing.
    pub takes: &'static str,
    /// Words that may stand behind `before`, the words behind the name so far.
    pub words: fn(before: &[&str], bench: &Workbench) -> Vec<String>,
    /// A word or two for the footer.
    pub label: Text,
    /// A line for the help: what happens, and when it takes effect.
    pub help: Text,
    /// Whether the engine is asked for it: who may not ask is told so before anything else.
    pub asks: bool,
    /// What a key or the palette asks before it is done: lines that say the result. None: it is done at once. Who types
    /// the whole line has said it already.
    pub weighs: Option<fn(argument: &str, bench: &Workbench) -> Vec<String>>,
    /// What does it.
    does: Does,
}

/// The function behind an action.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Takes nothing and is never refused.
    Always(fn(bench: &mut Workbench)),
    /// May be refused.
    Maybe(fn(argument: &str, bench: &mut Workbench) -> Ran),
}

/// Whether an action was done.
pub type Ran = Result<(), Refused>;

/// Why it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The line wants more words.
    Unfinished,
    /// What is wrong, in a line.
    Because(Phrase),
}

impl Refused {
    /// A refusal with its reason.
    pub fn because(why: impl Into<Phrase>) -> Self {
        Self::Because(why.into())
    }
}

impl Action {
    /// An action that takes nothing and is done at once.
    pub const fn new(
        name: &'static str,
        label: Text,
        help: Text,
        run: fn(argument: &str, bench: &mut Workbench) -> Ran,
    ) -> Self {
        Self::of(name, label, help, Does::Maybe(run))
    }

    /// The same where nothing can be refused.
    pub const fn always(
        name: &'static str,
        label: Text,
        help: Text,
        run: fn(bench: &mut Workbench),
    ) -> Self {
        Self::of(name, label, help, Does::Always(run))
    }

    const fn of(name: &'static str, label: Text, help: Text, does: Does) -> Self {
        Self {
            name,
            takes: "",
            words: |_, _| Vec::new(),
            label,
            help,
            asks: false,
            weighs: None,
            does,
        }
    }

    /// The action with what it takes and the words that may come next.
    pub const fn takes(
        self,
        takes: &'static str,
        words: fn(before: &[&str], bench: &Workbench) -> Vec<String>,
    ) -> Self {
        Self {
            takes,
            words,
            ..self
        }
    }

    /// The action as one that the engine is asked for.
    pub const fn asks(self) -> Self {
        Self { asks: true, ..self }
    }

    /// The action with what is asked before it is done.
    pub const fn weighs(
        self,
        result: fn(argument: &str, bench: &Workbench) -> Vec<String>,
    ) -> Self {
        Self {
            weighs: Some(result),
            ..self
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// If it is refused, or wants more words.
    pub fn run(&self, argument: &str, bench: &mut Workbench) -> Ran {
        match self.does {
            Does::Always(run) => {
                run(bench);
                Ok(())
            }
            Does::Maybe(run) => run(argument, bench),
        }
    }

    /// Whether it can do nothing without being told more.
    pub fn wants_more(&self) -> bool {
        !self.takes.is_empty() && !self.takes.starts_with('[')
    }
}

/// The action of that name.
pub fn find(name: &str) -> Option<&'static Action> {
    ALL.iter().copied().find(|action| action.name == name)
}

/// A line's action, and what it is given.
///
/// # Errors
/// If there is no such action, or it takes nothing and is given something; one line.
pub fn parse(line: &str) -> Result<(&'static Action, &str), Phrase> {
    const NO_COMMAND: Text = Text::new("there is no command {0}", "没有命令 {0}");
    const NOTHING: Text = Text::new("{0} takes nothing", "{0} 不带参数");
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let action = find(name).ok_or_else(|| NO_COMMAND.fill(&[&format!("{name:?}")]))?;
    let argument = argument.trim();
    if action.takes.is_empty() && !argument.is_empty() {
        return Err(NOTHING.fill(&[&name]));
    }
    Ok((action, argument))
}

/// Words to choose from, as [`Action::words`] gives them for a first word.
fn first(before: &[&str], words: &[&str]) -> Vec<String> {
    match before {
        [] => words.iter().map(|word| (*word).to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// A word that is a step, with thousands parted by commas or not.
fn step(word: &str) -> Result<u64, Refused> {
    const EXPECTED: Text = Text::new("expected a step, found {0}", "应为步数, 却是 {0}");
    let step = word.replace(',', "").parse().ok();
    step.ok_or_else(|| Refused::Because(EXPECTED.fill(&[&format!("{word:?}")])))
}

/// The refusal of a word that is none of those.
fn expected(words: &[&str], found: &str) -> Refused {
    const EXPECTED: Text = Text::new("expected {0}, found {1}", "应为 {0}, 却是 {1}");
    Refused::Because(EXPECTED.fill(&[&words.join(", "), &format!("{found:?}")]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;

    #[test]
    fn names_are_single_words_and_unlike() {
        let mut seen = std::collections::BTreeSet::new();
        for action in ALL {
            assert!(action.name.chars().all(|c| c.is_ascii_lowercase()));
            assert!(seen.insert(action.name), "{} twice", action.name);
            assert_eq!(find(action.name).unwrap().takes, action.takes);
        }
        assert!(
            parse("eval now")
                .unwrap_err()
                .get(Lang::En)
                .contains("takes nothing")
        );
        assert!(
            parse("evaluate")
                .unwrap_err()
                .get(Lang::Zh)
                .contains("evaluate")
        );
        let (action, argument) = parse("  note  two words ").unwrap();
        assert_eq!((action.name, argument), ("note", "two words"));
    }
}
