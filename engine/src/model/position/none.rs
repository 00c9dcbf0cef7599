//! No position embedding: the causal mask alone tells positions apart.
//!
//! Source: Kazemnejad et al., "The impact of positional encoding on length generalization in transformers", arXiv:2305.19466.

use super::Position;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::registry::Variant;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "none",
    summary: "no positions beyond what the causal mask tells",
    reference: "Kazemnejad et al., arXiv:2305.19466",
    keys: &[],
};

#[derive(Debug)]
struct Nothing;

/// It has no parameters.
pub(super) fn build(_: &ModelConfig, _: &mut ParamSpecs) -> Box<dyn Position> {
    Box::new(Nothing)
}

impl Position for Nothing {}
