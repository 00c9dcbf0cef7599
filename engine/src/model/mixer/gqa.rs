//! Grouped-query attention.
//!
//! Multi-head attention in which query heads `g*r .. (g+1)*r` share key-value head `g`, with `r = heads / kv_heads`: the
//! cache of keys and values shrinks by `r`. `kv_heads = heads` is multi-head attention, `kv_heads = 1` multi-query.
//!
//! Source: Ainslie et al., "GQA: training generalized multi-query transformer models from multi-head checkpoints",
//! arXiv:2305.13245.

use super::Mixer;
use super::softmax::SoftmaxAttention;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "gqa",
    summary: "grouped-query attention: model.kv_heads key-value heads, each shared by heads / kv_heads query heads",
    reference: "Ainslie et al., arXiv:2305.13245",
    keys: &[],
};

/// Registers its parameters.
pub(super) fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn Mixer> {
    SoftmaxAttention::build(config, specs, name, config.kv_heads)
}
