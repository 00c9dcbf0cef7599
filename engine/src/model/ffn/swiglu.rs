//! The SiLU-gated feed-forward network.
//!
//! `y = W2 (silu(Wg x) * W1 x)`, with `silu(x) = x / (1 + e^-x)`.
//!
//! Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202.

use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "swiglu",
    summary: "gated by SiLU (Llama, Mistral, Qwen)",
    reference: "Shazeer, arXiv:2002.05202",
    keys: &[],
};
