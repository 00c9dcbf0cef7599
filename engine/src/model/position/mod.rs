//! Positions: how a block knows the order of its tokens.

use super::Recording;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::{Class, Slot};
use crate::tape::{Tape, Var};
use std::fmt::Debug;

/// A way to tell positions apart. Each variant acts in one of two places and leaves the other alone.
pub trait Position: Debug + Send + Sync {
    /// `x (B, T, C)` wide, the embedded tokens -> the same.
    fn embed(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        let _ = (tape, recording);
        x
    }

    /// `qkv (B, T, (H + 2 Hk) D)`, queries, keys and values -> the same; `heads` is H, Hk, D.
    fn rotate(
        &self,
        tape: &mut Tape,
        qkv: Var,
        heads: (usize, usize, usize),
        recording: &Recording<'_>,
    ) -> Var {
        let _ = (tape, heads, recording);
        qkv
    }
}

/// Registers a variant's parameters.
type Build = fn(config: &ModelConfig, specs: &mut ParamSpecs) -> Box<dyn Position>;

crate::variants!(BUILDS: Build = build; => rope, learned, sinusoidal, none);

/// What `config` names.
pub fn build(config: &ModelConfig, specs: &mut ParamSpecs) -> Box<dyn Position> {
    BUILDS[config.position.index](config, specs)
}

/// The slot `model.position`.
pub static SLOT: Slot = Slot {
    path: "model.position",
    doc: "how positions enter the model",
    default: "rope",
    class: Class::Restart,
    keys: &[],
    variants: VARIANTS,
};
