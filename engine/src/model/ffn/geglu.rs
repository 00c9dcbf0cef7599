//! The GELU-gated feed-forward network.
//!
//! `y = W2 (gelu(Wg x) * W1 x)`, GELU by its tanh form as Gemma has it.
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
    kind: "geglu",
    summary: "gated by GELU, in its tanh form (Gemma)",
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
    Network::build(config, specs, name, Act::GeluTanh, GATED)
}
