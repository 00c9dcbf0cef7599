//! Multi-head attention.
//!
//! For head `h` with queries, keys and values `q, k, v` (T, D): `y = softmax(q k^T / sqrt(D) + causal mask) v`; the heads'
//! outputs stand side by side and pass one projection. Each query head has a key-value head of its own.
//!
//! Source: Vaswani et al., "Attention is all you need", arXiv:1706.03762.

use super::Mixer;
use super::softmax::SoftmaxAttention;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "mha",
    summary: "multi-head attention: a key-value head for every query head",
    reference: "Vaswani et al., arXiv:1706.03762",
    keys: &[],
};

/// Registers its parameters.
pub(super) fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn Mixer> {
    SoftmaxAttention::build(config, specs, name, config.heads)
}
