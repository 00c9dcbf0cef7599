//! Optimizers: how gradients become updates.

use crate::registry::{Class, Default, Key, Kind, Slot};

crate::variants!(=> adamw, sgd);

/// The slot `optimizer`.
pub static SLOT: Slot = Slot {
    path: "optimizer",
    doc: "how gradients become updates",
    default: "adamw",
    class: Class::Restart,
    keys: &[Key {
        name: "lr",
        kind: Kind::NON_NEGATIVE,
        default: Default::Required,
        class: Class::Live,
        doc: "learning rate at the schedule's height; a change rescales the whole schedule",
    }],
    variants: VARIANTS,
};
