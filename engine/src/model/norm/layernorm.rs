//! Layer normalisation.
//!
//! `y = (x - mean(x)) / sqrt(var(x) + eps) * w + b`.
//!
//! Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450.

use crate::registry::{Class, Default, Key, Kind, Variant};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "layernorm",
    summary: "subtracts the mean and divides by the standard deviation (GPT-2)",
    reference: "Ba, Kiros and Hinton, arXiv:1607.06450",
    keys: &[Key {
        name: "bias",
        kind: Kind::Bool,
        default: Default::Is("true"),
        class: Class::Restart,
        doc: "adds a trained bias",
    }],
};
