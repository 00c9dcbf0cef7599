//! The screens: one file each, one line in [`all`].
//!
//! A panel draws the run and keeps its own place (scroll, choice, field); it asks the engine by leaving commands. The
//! last panel is the help. See [`crate::workbench`] for how keys arrive here.

use std::time::Duration;

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::errand::{Errand, News};
use crate::lang::{self, Text};
use crate::mouse::Mouse;
use crate::state::State;
use crate::view::{Scene, View};

mod attention;
mod chat;
mod checkpoints;
mod config;
pub mod field;
mod filter;
mod help;
mod layers;
pub mod list;
mod log;
mod memory;
mod runs;
mod samples;
mod system;
mod train;

/// A key that a panel takes for itself.
#[derive(Clone, Copy, Debug)]
pub struct PanelKey {
    /// The keys, as [`crate::keymap::word`] spells them; the first one stands in the footer.
    pub keys: &'static [&'static str],
    /// A word or two for the footer.
    pub label: Text,
    /// A line for the help.
    pub help: Text,
}

/// One screen.
pub trait Panel {
    /// Its name in the row of screens.
    fn title(&self) -> Text;

    /// What stands in the row of screens, `width` cells wide: its name, with what shall be seen from everywhere.
    fn tab(&self, _state: &State, view: &View, _width: u16) -> String {
        self.title().get(view.lang).to_owned()
    }

    /// The keys that it takes.
    fn keys(&self) -> &'static [PanelKey];

    /// Takes a key, or leaves it to others (false). What the engine shall do goes into `asked`.
    fn handle(
        &mut self,
        key: &str,
        state: &State,
        view: &mut View,
        asked: &mut Vec<Command>,
    ) -> bool;

    /// The request that a key comes to in the end, where the person is asked or types something first: who may not ask for it
    /// is told so at once.
    fn asks(&self, _key: &str) -> Option<&'static str> {
        None
    }

    /// Does what waits for no key: takes what other threads have told, asks what could not be asked before. Returns whether
    /// there is something new to draw.
    fn poll(&mut self, _state: &State, _asked: &mut Vec<Command>) -> bool {
        false
    }

    /// Whether keys are text or an answer now, so that they are what they say.
    fn types(&self) -> bool {
        false
    }

    /// Takes text that was pasted, where it has a field open.
    fn paste(&mut self, _text: &str) {}

    /// What is copied from here, where that is not the run's figures.
    fn copied(&self, _scene: &Scene<'_>) -> Option<String> {
        None
    }

    /// Goes to the row of its list under a position, where it is a list: whether that row was chosen before, none if there
    /// is no row.
    fn click(&mut self, _at: Position, _state: &State, _view: &View) -> Option<bool> {
        None
    }

    /// Goes to what has that name in the run, if it shows such things: whether there is one.
    fn seek(&mut self, _name: &str, _state: &State) -> bool {
        false
    }

    /// Takes the mouse, or leaves it to others (false).
    fn point(&mut self, _mouse: Mouse, _state: &State, _view: &mut View) -> bool {
        false
    }

    /// Called while it is on show, several times a second; `now` is the time since the start of the screen.
    fn tick(&mut self, _now: Duration) {}

    /// What it wants done in the folder of runs since it was last asked.
    fn errands(&mut self) -> Vec<Errand> {
        Vec::new()
    }

    /// Takes what came of an errand, its own or another screen's.
    fn hear(&mut self, _news: &News) {}

    /// Draws it. Any size must do.
    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer);
}

/// The name of a screen in files and on the command line: its English title in small letters.
pub fn name(panel: &dyn Panel) -> String {
    let title = panel.title().get(lang::Lang::En);
    title.to_lowercase().replace(' ', "-")
}

/// The mark of a screen that shows the run as it was at the data cursor; empty where it shows the present.
fn past_mark(view: &View) -> String {
    match view.cursor {
        Some(step) => format!(
            "  {} {}  ",
            lang::AT_STEP.get(view.lang),
            crate::text::count(step)
        ),
        None => String::new(),
    }
}

/// How to go back to the present, for the lower edge of such a screen.
fn past_note(view: &View) -> &'static str {
    match view.cursor {
        Some(_) => lang::BACK_TO_NOW.get(view.lang),
        None => "",
    }
}

/// The screens in the order of their numbers.
pub fn all() -> Vec<Box<dyn Panel>> {
    vec![
        Box::new(train::Train::default()),
        Box::new(layers::Layers::default()),
        Box::new(samples::Samples::default()),
        Box::new(system::SystemPanel::default()),
        Box::new(checkpoints::Checkpoints::default()),
        Box::new(config::Config::default()),
        Box::new(log::Log::default()),
        Box::new(runs::Runs::default()),
        Box::new(memory::Memory::default()),
        Box::new(attention::Attention::default()),
        Box::new(chat::Chat::default()),
        Box::new(help::Help::default()),
    ]
}
