//! Rotary position embedding.
//!
//! Pair `i` of a head's D channels is turned by the angle `p * theta^(-2i/D)` at position `p`, in queries and keys, so that their
//! product depends on the distance alone. The pair is channels `(i, i + D/2)` in the `half` layout (Hugging Face) and
//! `(2i, 2i + 1)` in the `interleaved` one (the paper).
//!
//! Source: Su et al., "RoFormer", arXiv:2104.09864.

use super::Position;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::param::ParamSpecs;
use crate::registry::{Class, Default, Key, Kind, Variant};
use crate::tape::{Tape, Var};
use kernels::ops::rope::Layout;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "rope",
    summary: "rotary embedding of queries and keys (Llama, Mistral, Qwen)",
    reference: "Su et al., arXiv:2104.09864",
    keys: &[
        Key {
            name: "theta",
            kind: Kind::ABOVE_ZERO,
            default: Default::Is("10000.0"),
            class: Class::Restart,
            doc: "base of the wave lengths; larger for longer sequences",
        },
        Key {
            name: "layout",
            kind: Kind::Choice(&["half", "interleaved"]),
            default: Default::Is("\"half\""),
            class: Class::Restart,
            doc: "which channels make a pair: (i, i + D/2) as in Hugging Face's models, or (2i, 2i + 1)",
        },
    ],
};

#[derive(Debug)]
struct Rotary {
    theta: f64,
    layout: Layout,
}

/// It has no parameters.
pub(super) fn build(config: &ModelConfig, _: &mut ParamSpecs) -> Box<dyn Position> {
    let layout = if config.position.text("layout") == "interleaved" {
        Layout::Interleaved
    } else {
        Layout::Half
    };
    Box::new(Rotary {
        theta: config.position.float("theta"),
        layout,
    })
}

impl Position for Rotary {
    fn rotate(
        &self,
        tape: &mut Tape,
        qkv: Var,
        heads: (usize, usize, usize),
        recording: &Recording<'_>,
    ) -> Var {
        tape.rope(qkv, recording.positions, heads, self.theta, self.layout)
    }
}
