//! Positions: how a block knows the order of its tokens.

use crate::registry::{Class, Slot};

crate::variants!(=> rope, learned, sinusoidal, none);

/// The slot `model.position`.
pub static SLOT: Slot = Slot {
    path: "model.position",
    doc: "how positions enter the model",
    default: "rope",
    class: Class::Restart,
    keys: &[],
    variants: VARIANTS,
};
