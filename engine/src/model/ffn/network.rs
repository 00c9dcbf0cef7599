//! The two shapes of feed-forward networks: `down(act(up x))` and `down(act(gate x) * up x)`. Variants choose the activation.

use super::FeedForward;
use crate::config::ModelConfig;
use crate::model::{Recording, residual_init};
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::tape::observe::Hidden;
use crate::tape::{Tape, Var};
use kernels::ops::act::Act;

/// Two projections with an activation between them.
#[derive(Debug)]
pub(super) struct Network {
    /// Name of the layer.
    name: String,
    act: Act,
    gated: bool,
    /// `up (F, C)`, or `gate` over `up (2F, C)`, so that one product makes both.
    first: ParamId,
    first_bias: Option<ParamId>,
    down: ParamId,
    down_bias: Option<ParamId>,
}

impl Network {
    pub(super) fn build(
        config: &ModelConfig,
        specs: &mut ParamSpecs,
        name: &str,
        act: Act,
        gated: bool,
    ) -> Box<dyn FeedForward> {
        let (dim, hidden) = (config.dim, config.ffn.int("hidden"));
        let (word, width) = if gated {
            ("gate_up", 2 * hidden)
        } else {
            ("up", hidden)
        };
        let bias = config.ffn.flag("bias");
        let init = Init::Normal(config.init_std);
        let first = specs.add(
            format!("{name}.{word}.weight"),
            &[width, dim],
            Group::Matrix,
            init,
        );
        let mut vector =
            |part: String, len| bias.then(|| specs.add(part, &[len], Group::Vector, Init::Zeros));
        let first_bias = vector(format!("{name}.{word}.bias"), width);
        let down_bias = vector(format!("{name}.down.bias"), dim);
        let down = specs.add(
            format!("{name}.down.weight"),
            &[dim, hidden],
            Group::Matrix,
            residual_init(config),
        );
        Box::new(Self {
            name: name.to_owned(),
            act,
            gated,
            first,
            first_bias,
            down,
            down_bias,
        })
    }
}

impl FeedForward for Network {
    fn record(&self, tape: &mut Tape, x: Var, recording: &Recording<'_>) -> Var {
        let specs = recording.specs;
        let first = tape.param(specs, self.first);
        let bias = self.first_bias.map(|id| tape.param(specs, id));
        // (B, T, F) or (B, T, 2F)
        let u = tape.linear(x, first, bias);
        let hidden = Hidden {
            act: self.act,
            gated: self.gated,
        };
        tape.observe_hidden(&self.name, u, hidden);
        let h = if self.gated {
            tape.gated(u, self.act)
        } else {
            tape.activation(u, self.act)
        };
        let down = tape.param(specs, self.down);
        let bias = self.down_bias.map(|id| tape.param(specs, id));
        tape.linear(h, down, bias)
    }
}
