//! Feed-forward networks: what a block computes at each position alone.

use crate::registry::{Class, Default, Key, Kind, Slot};

crate::variants!(=> mlp, swiglu, geglu, relu2);

/// The slot `model.ffn`.
pub static SLOT: Slot = Slot {
    path: "model.ffn",
    doc: "the feed-forward network of a block",
    default: "swiglu",
    class: Class::Restart,
    keys: &[
        Key {
            name: "hidden",
            kind: Kind::SIZE,
            default: Default::Derived(
                "4 dim; for gated networks 8/3 dim, rounded up to a multiple of 64",
            ),
            class: Class::Restart,
            doc: "width between its two projections",
        },
        Key {
            name: "bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "biases in its projections",
        },
    ],
    variants: VARIANTS,
};

/// Whether the variant multiplies by a gate, so that it has three matrices in place of two.
pub fn is_gated(kind: &str) -> bool {
    matches!(kind, "swiglu" | "geglu")
}
