//! Layer normalisation.
//!
//! `y = (x - mean(x)) / sqrt(var(x) + eps) * w + b`.
//!
//! Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450.

use super::Norm;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::registry::{Class, Default, Key, Kind, Variant};
use crate::tape::{Tape, Var};
use kernels::ops::layernorm::LayerNorm;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "layernorm",
    summary: "subtracts the mean and divides by the standard deviation (GPT-2)",
    reference: "Ba, Kiros and Hinton, arXiv:1607.06450",
    keys: &[Key {
        name: "bias",
        kind: Kind::Bool,
        default: Default::Is("true"),
        class: Class::Restart,
        doc: "adds a trained bias",
    }],
};

#[derive(Debug)]
struct GainAndBias {
    weight: ParamId,
    bias: Option<ParamId>,
    op: LayerNorm,
}

/// Registers its parameters.
pub(super) fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
    wide: bool,
) -> Box<dyn Norm> {
    let weight = specs.add(
        format!("{name}.weight"),
        &[config.dim],
        Group::Vector,
        Init::Ones,
    );
    let bias = config.norm.flag("bias").then(|| {
        specs.add(
            format!("{name}.bias"),
            &[config.dim],
            Group::Vector,
            Init::Zeros,
        )
    });
    Box::new(GainAndBias {
        weight,
        bias,
        op: LayerNorm {
            eps: config.norm.float("eps"),
            bias: config.norm.flag("bias"),
            wide,
        },
    })
}

impl Norm for GainAndBias {
    fn record(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        let w = tape.param(recording.specs, self.weight);
        let bias = self.bias.map(|id| tape.param(recording.specs, id));
        tape.layernorm(x, w, bias, self.op.clone())
    }
}
