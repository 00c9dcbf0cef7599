//! Multi-query attention.
//!
//! Multi-head attention in which all query heads share one key-value head.
//!
//! Source: Shazeer, "Fast transformer decoding: one write-head is all you need", arXiv:1911.02150.

use super::Mixer;
use super::softmax::SoftmaxAttention;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "mqa",
    summary: "multi-query attention: one key-value head for all query heads",
    reference: "Shazeer, arXiv:1911.02150",
    keys: &[],
};

/// Registers its parameters.
pub(super) fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn Mixer> {
    SoftmaxAttention::build(config, specs, name, 1)
}
