//! Mixers: how a position reads the positions before it.

mod softmax;

use super::Recording;
use super::position::Position;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::{Class, Default, Key, Kind, Slot};
use crate::tape::{Tape, Var};
use std::fmt::Debug;

/// A mixer with its parameters.
pub trait Mixer: Debug + Send + Sync {
    /// `x (B, T, C)` compute type -> the same. A position never sees later ones.
    fn record(
        &self,
        tape: &mut Tape,
        x: Var,
        position: &dyn Position,
        recording: &Recording<'_>,
    ) -> Var;
}

/// Registers a variant's parameters under `name`.
type Build = fn(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn Mixer>;

crate::variants!(BUILDS: Build = build; => mha, gqa, mqa);

/// The mixer that `config` names.
pub fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Box<dyn Mixer> {
    BUILDS[config.mixer.index](config, specs, name)
}

/// The slot `model.mixer`.
pub static SLOT: Slot = Slot {
    path: "model.mixer",
    doc: "what moves information between positions",
    default: "gqa",
    class: Class::Restart,
    keys: &[
        Key {
            name: "qk_norm",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "RMSNorm over each head of the queries and keys, before the positions (Qwen3)",
        },
        Key {
            name: "qkv_bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "biases in the query, key and value projections (GPT-2, Qwen2)",
        },
        Key {
            name: "out_bias",
            kind: Kind::Bool,
            default: Default::Is("false"),
            class: Class::Restart,
            doc: "a bias in the output projection (GPT-2)",
        },
    ],
    variants: VARIANTS,
};
