//! Normalisation, and where in a block it stands.

use crate::registry::{Class, Default, Key, Kind, Slot};

crate::variants!(=> rmsnorm, layernorm);

/// The slot `model.norm`.
pub static SLOT: Slot = Slot {
    path: "model.norm",
    doc: "the normalisation, of every norm in the model",
    default: "rmsnorm",
    class: Class::Restart,
    keys: &[
        Key {
            name: "placement",
            kind: Kind::Choice(&["pre", "post", "sandwich"]),
            default: Default::Is("\"pre\""),
            class: Class::Restart,
            doc: "pre: x + f(N x); post: N(x + f(x)); sandwich: x + N(f(N x))",
        },
        Key {
            name: "eps",
            kind: Kind::ABOVE_ZERO,
            default: Default::Is("1e-5"),
            class: Class::Restart,
            doc: "added to the mean square before its root",
        },
    ],
    variants: VARIANTS,
};
