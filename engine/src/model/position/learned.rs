//! Learned position embedding.
//!
//! `x_p = E[token_p] + P[p]`, with a trained table P of `model.max_positions` rows.
//!
//! Source: Radford et al., "Language models are unsupervised multitask learners" (GPT-2), 2019.

use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "learned",
    summary: "a trained vector for each of model.max_positions positions (GPT-2)",
    reference: "Radford et al., GPT-2, 2019",
    keys: &[],
};
