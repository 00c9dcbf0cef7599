//! Root-mean-square normalisation.
//!
//! `y = x / sqrt(mean(x^2) + eps) * w`; zero-centred, `w` is replaced by `1 + w` and starts at 0 (Gemma, Qwen3-Next), so that
//! weight decay pulls the gain to 1.
//!
//! Source: Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467.

use crate::registry::{Class, Default, Key, Kind, Variant};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "rmsnorm",
    summary: "divides by the root mean square (Llama, Mistral, Qwen)",
    reference: "Zhang and Sennrich, arXiv:1910.07467",
    keys: &[Key {
        name: "zero_centered",
        kind: Kind::Bool,
        default: Default::Is("false"),
        class: Class::Restart,
        doc: "the gain is 1 + w with w from 0 (Gemma)",
    }],
};
