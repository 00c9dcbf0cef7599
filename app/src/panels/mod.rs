//! The screens: one file each, one line in [`all`].
//!
//! A panel draws the run and keeps its own place (scroll, choice, field); it asks the engine by leaving commands. The
//! last panel is the help. See [`crate::workbench`] for how keys arrive here.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::lang::Text;
use crate::state::State;
use crate::view::{Scene, View};

mod attention;
mod chat;
mod checkpoints;
mod config;
mod field;
mod help;
mod layers;
mod list;
mod log;
mod memory;
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

    /// Does what waits for no key: takes what other threads have told, asks what could not be asked before. Returns whether
    /// there is something new to draw.
    fn poll(&mut self, _state: &State, _asked: &mut Vec<Command>) -> bool {
        false
    }

    /// Takes text that was pasted, where it has a field open.
    fn paste(&mut self, _text: &str) {}

    /// Draws it. Any size must do.
    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer);
}

/// The screens in the order of their numbers.
pub fn all() -> Vec<Box<dyn Panel>> {
    vec![
        Box::new(train::Train),
        Box::new(layers::Layers::default()),
        Box::new(samples::Samples::default()),
        Box::new(system::SystemPanel::default()),
        Box::new(checkpoints::Checkpoints::default()),
        Box::new(config::Config::default()),
        Box::new(log::Log::default()),
        Box::new(memory::Memory::default()),
        Box::new(attention::Attention::default()),
        Box::new(chat::Chat::default()),
        Box::new(help::Help::default()),
    ]
}
