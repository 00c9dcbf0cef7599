//! Adam with decoupled weight decay.
//!
//! With gradient `g` at step `t` (from 1): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `w = w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay w)`.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101; Kingma and Ba, arXiv:1412.6980.

use crate::registry::{Class, Default, Key, Kind, Variant};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "adamw",
    summary: "Adam with decoupled weight decay",
    reference: "Loshchilov and Hutter, arXiv:1711.05101",
    keys: &[
        Key {
            name: "betas",
            kind: Kind::List(&Kind::SHARE),
            default: Default::Is("[0.9, 0.95]"),
            class: Class::Live,
            doc: "decay rates of the first and second moment, each at least 0 and below 1",
        },
        Key {
            name: "eps",
            kind: Kind::ABOVE_ZERO,
            default: Default::Is("1e-8"),
            class: Class::Live,
            doc: "added to the root of the second moment",
        },
        Key {
            name: "weight_decay",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("0.1"),
            class: Class::Live,
            doc: "decoupled decay of matrices; biases and norms are never decayed",
        },
    ],
};
