//! Feed-forward networks: what a block computes at each position alone.

mod network;

use super::Recording;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::{Class, Default, Key, Kind, Slot};
use crate::tape::{Tape, Var};
use std::fmt::Debug;

/// A feed-forward network with its parameters.
pub trait FeedForward: Debug + Send + Sync {
    /// `x (B, T, C)` compute type -> the same; each position alone.
    fn record(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var;
}

/// Registers a variant's parameters under `name`.
type Build = fn(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn FeedForward>;

crate::variants!(BUILDS: Build = build; GATED: bool = GATED; => mlp, swiglu, geglu, relu2);

/// The network that `config` names.
pub fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn FeedForward> {
    BUILDS[config.ffn.index](config, specs, name)
}

/// The slot `model.ffn`.
pub static SLOT: Slot = Slot {
    path: "model.ffn",
    doc: "the feed-forward network of a block",
    default: "swiglu",
    class: Class::Restart,
    keys: &[
        Key {
            name: "hidden",
            kind: Kind::SIZE,
            default: Default::Derived(
                "4 dim; for gated networks 8/3 dim, rounded up to a multiple of 64",
            ),
            class: Class::Restart,
            doc: "width between its two projections",
        },
        Key {
            name: "bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "biases in its projections",
        },
    ],
    variants: VARIANTS,
};

/// Whether the variant multiplies by a gate, so that it has three matrices in place of two.
pub fn is_gated(kind: &str) -> bool {
    SLOT.position(kind).is_some_and(|index| GATED[index])
}
