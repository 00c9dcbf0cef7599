//! Sinusoidal position embedding.
//!
//! `PE(p, 2i) = sin(p / 10000^(2i/C))`, `PE(p, 2i + 1) = cos(p / 10000^(2i/C))`, added to the token's vector of C channels.
//!
//! Source: Vaswani et al., "Attention is all you need", arXiv:1706.03762, section 3.5.

use super::Position;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::param::ParamSpecs;
use crate::registry::Variant;
use crate::tape::{Tape, Var};

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "sinusoidal",
    summary: "fixed sines and cosines added to the token's vector",
    reference: "Vaswani et al., arXiv:1706.03762",
    keys: &[],
};

#[derive(Debug)]
struct Waves;

/// It has no parameters.
pub(super) fn build(_: &ModelConfig, _: &mut ParamSpecs) -> Box<dyn Position> {
    Box::new(Waves)
}

impl Position for Waves {
    fn embed(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        tape.sinusoid(x, recording.positions)
    }
}
