//! Mixers: how a position reads the positions before it.

use crate::registry::{Class, Default, Key, Kind, Slot};

crate::variants!(=> mha, gqa, mqa);

/// The slot `model.mixer`.
pub static SLOT: Slot = Slot {
    path: "model.mixer",
    doc: "what moves information between positions",
    default: "gqa",
    class: Class::Restart,
    keys: &[
        Key {
            name: "qk_norm",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "RMSNorm over each head of the queries and keys, before the positions (Qwen3)",
        },
        Key {
            name: "qkv_bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "biases in the query, key and value projections (GPT-2, Qwen2)",
        },
        Key {
            name: "out_bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "a bias in the output projection (GPT-2)",
        },
    ],
    variants: VARIANTS,
};
