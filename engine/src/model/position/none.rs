//! No position embedding: the causal mask alone tells positions apart.
//!
//! Source: Kazemnejad et al., "The impact of positional encoding on length generalization in transformers", arXiv:2305.19466.

use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "none",
    summary: "no positions beyond what the causal mask tells",
    reference: "Kazemnejad et al., arXiv:2305.19466",
    keys: &[],
};
