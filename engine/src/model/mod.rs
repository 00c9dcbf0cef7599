//! Models: what a block is made of.
//!
//! Each sub-module is one slot of [`crate::registry`]: `mixer` (what moves information between positions), `ffn` (what
//! works on each position alone), `norm` and `position`. A file there is one variant with its formula and its paper.
//! [`gpt`] puts them together.

mod block;
pub mod ffn;
pub mod gpt;
pub mod mixer;
pub mod norm;
pub mod position;

pub use gpt::{InferenceVars, Model, TrainingVars};

use crate::config::ModelConfig;
use crate::param::{Init, ParamSpecs};
use crate::tape::{Tape, Var};

/// What every part of a model needs while it is recorded.
#[derive(Debug)]
pub struct Recording<'a> {
    /// The model's parameters.
    pub specs: &'a ParamSpecs,
    /// (B, T) positions.
    pub positions: Var,
    /// (B, T) start of each token's document.
    pub doc_start: Var,
    /// Tokens that the caches hold, when writing; `None` when training.
    pub cache: Option<usize>,
    /// Probability of dropping an element of what is added to the residual stream.
    pub dropout: f64,
}

impl Recording<'_> {
    /// Dropout of an embedding or of what a mixer or feed-forward network adds to the residual stream (as GPT-2's `resid_pdrop`
    /// and `embd_pdrop`; attention probabilities are never dropped).
    pub(crate) fn drop_out(&self, tape: &mut Tape, x: Var) -> Var {
        if self.dropout > 0.0 {
            tape.dropout(x, self.dropout)
        } else {
            x
        }
    }
}

/// Start of a projection into the residual stream: its standard deviation is divided by the root of the number of such
/// projections, `2 layers`, so that the stream's variance does not grow with depth (GPT-2).
pub(crate) fn residual_init(config: &ModelConfig) -> Init {
    Init::Normal(config.init_std / (2.0 * config.layers.max(1) as f64).sqrt())
}
