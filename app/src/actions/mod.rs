//! What keys do: one file an action.
//!
//! An action changes the [`Workbench`], or asks the engine through it; it never touches the terminal or the clock. Its
//! keys stand in [`crate::keymap::KEYMAP`].

use crate::lang::Text;
use crate::workbench::Workbench;

pub mod back;
pub mod checkpoint;
pub mod cursor;
pub mod ends;
pub mod eval;
pub mod freeze;
pub mod glyphs;
pub mod help;
pub mod leave;
pub mod log_axis;
pub mod marker;
pub mod next_screen;
pub mod pause;
pub mod pause_hard;
pub mod redraw;
pub mod sample;
pub mod screen;
pub mod smoothing;
pub mod stop;
pub mod suspend;
pub mod unit;
pub mod zoom;

/// One thing that a key can do.
pub struct Action {
    /// A word or two for the footer.
    pub label: Text,
    /// A line for the help: what happens, and when it takes effect.
    pub help: Text,
    /// Does it. The key's word tells apart the keys of one action.
    pub run: fn(key: &str, bench: &mut Workbench),
}
