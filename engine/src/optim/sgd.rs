//! Stochastic gradient descent with momentum.
//!
//! `g = g + weight_decay w`, `m = momentum m + g`, `w = w - lr m`; with Nesterov's form `w = w - lr (g + momentum m)`.
//!
//! Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

use crate::registry::{Class, Default, Key, Kind, Variant};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "sgd",
    summary: "gradient descent with momentum",
    reference: "Sutskever et al., ICML 2013",
    keys: &[
        Key {
            name: "momentum",
            kind: Kind::SHARE,
            default: Default::Is("0.0"),
            class: Class::Live,
            doc: "share of the last update that is kept, below 1",
        },
        Key {
            name: "nesterov",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Live,
            doc: "looks one update ahead (needs momentum)",
        },
        Key {
            name: "weight_decay",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("0.0"),
            class: Class::Live,
            doc: "added to the gradient of matrices as weight_decay * w",
        },
    ],
};
