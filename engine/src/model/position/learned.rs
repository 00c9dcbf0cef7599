//! Learned position embedding.
//!
//! `x_p = E[token_p] + P[p]`, with a trained table P of `model.max_positions` rows.
//!
//! Source: Radford et al., "Language models are unsupervised multitask learners" (GPT-2), 2019.

use super::Position;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::registry::Variant;
use crate::tape::{Tape, Var};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "learned",
    summary: "a trained vector for each of model.max_positions positions (GPT-2)",
    reference: "Radford et al., GPT-2, 2019",
    keys: &[],
};

#[derive(Debug)]
struct Table(ParamId);

/// Registers the table.
pub(super) fn build(config: &ModelConfig, specs: &mut ParamSpecs) -> Box<dyn Position> {
    let shape = [config.max_positions, config.dim];
    Box::new(Table(specs.add(
        "position.weight",
        &shape,
        Group::Embedding,
        Init::Normal(config.init_std),
    )))
}

impl Position for Table {
    fn embed(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        let table = tape.param(recording.specs, self.0);
        let p = tape.embedding(recording.positions, table);
        tape.add(x, p)
    }
}
