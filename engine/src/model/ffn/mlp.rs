//! The plain feed-forward network.
//!
//! `y = W2 act(W1 x)`, with GELU by its tanh form as GPT-2 has it: `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
//!
//! Source: Vaswani et al., arXiv:1706.03762; Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415.

use super::FeedForward;
use super::network::Network;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::{Class, Default, Key, Kind, Variant};
use kernels::ops::act::Act;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "mlp",
    summary: "two projections with an activation between them",
    reference: "Vaswani et al., arXiv:1706.03762",
    keys: &[Key {
        name: "activation",
        kind: Kind::Choice(&["gelu_tanh", "gelu", "relu", "silu"]),
        default: Default::Is("\"gelu_tanh\""),
        class: Class::Restart,
        doc: "the activation: GELU by its tanh form (GPT-2), exact GELU, ReLU or SiLU",
    }],
};

/// Whether it multiplies by a gate: three matrices in place of two.
pub(super) const GATED: bool = false;

/// Registers its parameters.
pub(super) fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
) -> Box<dyn FeedForward> {
    let word = config.ffn.text("activation");
    let act = Act::from_name(word).expect("the registry allows only known activations");
    Network::build(config, specs, name, act, GATED)
}
