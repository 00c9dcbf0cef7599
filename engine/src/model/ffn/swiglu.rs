//! The SiLU-gated feed-forward network.
//!
//! `y = W2 (silu(Wg x) * W1 x)`, with `silu(x) = x / (1 + e^-x)`.
//!
//! Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202.

use super::FeedForward;
use super::network::Network;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;
use kernels::ops::act::Act;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "swiglu",
    summary: "gated by SiLU (Llama, Mistral, Qwen)",
    reference: "Shazeer, arXiv:2002.05202",
    keys: &[],
};

/// Whether it multiplies by a gate: three matrices in place of two.
pub(super) const GATED: bool = true;

/// Registers its parameters.
pub(super) fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
) -> Box<dyn FeedForward> {
    Network::build(config, specs, name, Act::Silu, GATED)
}
