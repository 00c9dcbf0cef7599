//! Root-mean-square normalisation.
//!
//! `y = x / sqrt(mean(x^2) + eps) * w`; zero-centred, `w` is replaced by `1 + w` and starts at 0 (Gemma, Qwen3-Next), so that
//! weight decay pulls the gain to 1.
//!
//! Source: Zhang and Sennrich, "Root mean square layer normalization", arXiv:1910.07467.

use super::Norm;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::registry::{Class, Default, Key, Kind, Variant};
use crate::tape::{Tape, Var};
use kernels::ops::rmsnorm::RmsNorm;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "rmsnorm",
    summary: "divides by the root mean square (Llama, Mistral, Qwen)",
    reference: "Zhang and Sennrich, arXiv:1910.07467",
    keys: &[Key {
        name: "zero_centered",
        kind: Kind::Bool,
        default: Default::Is("false"),
        class: Class::Restart,
        doc: "the gain is 1 + w with w from 0 (Gemma)",
    }],
};

#[derive(Debug)]
struct Gain {
    weight: ParamId,
    op: RmsNorm,
}

/// Registers its parameters. The gain starts so that it multiplies by one.
pub(super) fn build(
    config: &ModelConfig,
    specs: &mut ParamSpecs,
    name: &str,
    wide: bool,
) -> Box<dyn Norm> {
    let zero_centered = config.norm.flag("zero_centered");
    let init = if zero_centered {
        Init::Zeros
    } else {
        Init::Ones
    };
    let weight = specs.add(format!("{name}.weight"), &[config.dim], Group::Vector, init);
    Box::new(Gain {
        weight,
        op: RmsNorm {
            eps: config.norm.float("eps"),
            zero_centered,
            wide,
        },
    })
}

impl Norm for Gain {
    fn record(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        let w = tape.param(recording.specs, self.weight);
        tape.rmsnorm(x, w, self.op.clone())
    }
}
