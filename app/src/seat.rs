//! Where a person sits: before the run's own process, or before a screen of another process that looks at its record.
//!
//! What differs is little: who may ask the engine for something, and what leaving means.

use crate::lang::Text;

/// What a screen is to the run that it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seat {
    /// The screen of the engine's own process.
    #[default]
    Own,
    /// Another process, which controls the run.
    Attached,
    /// Another process, which looks on at a run that is on.
    ReadOnly,
    /// A reader of the record, be the run on or dead.
    Watching,
}

impl Seat {
    /// Whether requests reach the engine from here.
    pub fn controls(self) -> bool {
        matches!(self, Self::Own | Self::Attached)
    }

    /// The word for it in the header; none for a run's own screen. `open` says whether more may come.
    pub fn word(self, open: bool) -> Option<Text> {
        match (self, open) {
            (Self::Own, _) => None,
            (Self::Attached, _) => Some(Text::new("ATTACHED", "已接入")),
            (Self::ReadOnly, _) => Some(Text::new("READ-ONLY", "只读")),
            (Self::Watching, true) => Some(Text::new("WATCHING", "旁观")),
            (Self::Watching, false) => Some(Text::new("RECORD", "记录")),
        }
    }
}
