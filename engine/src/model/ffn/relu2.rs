//! The feed-forward network with the square of ReLU.
//!
//! `y = W2 max(0, W1 x)^2`.
//!
//! Source: So et al., "Primer: searching for efficient transformers for language modeling", arXiv:2109.08668.

use super::FeedForward;
use super::network::Network;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;
use kernels::ops::act::Act;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "relu2",
    summary: "two projections with the square of ReLU between them",
    reference: "So et al., arXiv:2109.08668",
    keys: &[],
};

/// Whether it multiplies by a gate: three matrices in place of two.
pub(super) const GATED: bool = false;

/// Registers its parameters.
pub(super) fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
) -> Box<dyn FeedForward> {
    Network::build(config, specs, name, Act::Relu2, GATED)
}
