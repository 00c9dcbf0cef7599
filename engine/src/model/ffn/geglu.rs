//! The GELU-gated feed-forward network.
//!
//! `y = W2 (gelu(Wg x) * W1 x)`, GELU by its tanh form as Gemma has it.
//!
//! Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202.

use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "geglu",
    summary: "gated by GELU, in its tanh form (Gemma)",
    reference: "Shazeer, arXiv:2002.05202",
    keys: &[],
};
