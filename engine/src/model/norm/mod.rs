//! Normalisation, and where in a block it stands.

use super::Recording;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::{Class, Default, Key, Kind, Slot};
use crate::tape::{Tape, Var};
use std::fmt::Debug;

/// A norm with its parameters.
pub trait Norm: Debug + Send + Sync {
    /// `x (B, T, C)` -> the same shape, each position normalised.
    fn record(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var;
}

/// Registers a variant's parameters under `name`; `wide` where its result is the residual stream.
type Build =
    fn(config: &ModelConfig, specs: &mut ParamSpecs, name: &str, wide: bool) -> Box<dyn Norm>;

crate::variants!(BUILDS: Build = build; => rmsnorm, layernorm);

/// The norm that `config` names.
pub fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
    wide: bool,
) -> Box<dyn Norm> {
    BUILDS[config.norm.index](config, specs, name, wide)
}

/// The slot `model.norm`.
pub static SLOT: Slot = Slot {
    path: "model.norm",
    doc: "the normalisation, of every norm in the model",
    default: "rmsnorm",
    class: Class::Restart,
    keys: &[
        Key {
            name: "placement",
            kind: Kind::Choice(&["pre", "post", "sandwich"]),
            default: Default::Is("\"pre\""),
            class: Class::Restart,
            doc: "pre: x + f(N x); post: N(x + f(x)); sandwich: x + N(f(N x))",
        },
        Key {
            name: "eps",
            kind: Kind::ABOVE_ZERO,
            default: Default::Is("1e-5"),
            class: Class::Restart,
            doc: "added to the mean square before its root",
        },
    ],
    variants: VARIANTS,
};
