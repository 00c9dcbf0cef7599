//! Softmax attention with any grouping of heads: what `mha`, `gqa` and `mqa` share. They differ only in the number of
//! key-value heads.
//!
//! Queries, keys and values come from one projection whose rows are `[q; k; v]`, so that one product makes all three.

use super::Mixer;
use crate::config::ModelConfig;
use crate::model::Recording;
use crate::model::position::Position;
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::tape::{Tape, Var};
use kernels::ops::attention::Attention;

/// Projections around [`Attention`].
#[derive(Debug)]
pub(super) struct SoftmaxAttention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    qkv: ParamId,
    qkv_bias: Option<ParamId>,
    /// Gains of the queries' and the keys' norms, with epsilon.
    qk_norm: Option<(ParamId, ParamId, f64)>,
    out: ParamId,
    out_bias: Option<ParamId>,
}

impl SoftmaxAttention {
    pub(super) fn build(
        config: &ModelConfig,
        specs: &mut ParamSpecs,
        name: &str,
        kv_heads: usize,
    ) -> Box<dyn Mixer> {
        let (heads, head_dim) = (config.heads, config.head_dim);
        let width = (heads + 2 * kv_heads) * head_dim;
        let init = Init::Normal(config.init_std);
        let qkv = specs.add(
            format!("{name}.qkv.weight"),
            &[width, config.dim],
            Group::Matrix,
            init,
        );
        let mut vector = |part: &str, len: usize, init| {
            specs.add(format!("{name}.{part}"), &[len], Group::Vector, init)
        };
        let qkv_bias = config
            .mixer
            .flag("qkv_bias")
            .then(|| vector("qkv.bias", width, Init::Zeros));
        let qk_norm = config.mixer.flag("qk_norm").then(|| {
            let q = vector("q_norm.weight", head_dim, Init::Ones);
            (
                q,
                vector("k_norm.weight", head_dim, Init::Ones),
                config.norm.float("eps"),
            )
        });
        let out_bias = config
            .mixer
            .flag("out_bias")
            .then(|| vector("out.bias", config.dim, Init::Zeros));
        let out = specs.add(
            format!("{name}.out.weight"),
            &[config.dim, heads * head_dim],
            Group::Matrix,
            crate::model::residual_init(config),
        );
        Box::new(Self {
            heads,
            kv_heads,
            head_dim,
            qkv,
            qkv_bias,
            qk_norm,
            out,
            out_bias,
        })
    }
}

impl Mixer for SoftmaxAttention {
    fn record(
        &self,
        tape: &mut Tape,
        x: Var,
        position: &dyn Position,
        recording: &Recording<'_>,
    ) -> Var {
        let specs = recording.specs;
        let param = |tape: &mut Tape, id: ParamId| tape.param(specs, id);
        let weight = param(tape, self.qkv);
        let bias = self.qkv_bias.map(|id| param(tape, id));
        // (B, T, (H + 2 Hk) D)
        let mut qkv = tape.linear(x, weight, bias);
        if let Some((q, k, eps)) = self.qk_norm {
            let (q, k) = (param(tape, q), param(tape, k));
            qkv = tape.head_norm(qkv, q, k, (self.heads, self.kv_heads, self.head_dim), eps);
        }
        qkv = position.rotate(
            tape,
            qkv,
            (self.heads, self.kv_heads, self.head_dim),
            recording,
        );
        let attention = Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.0 / (self.head_dim as f64).sqrt(),
        };
        // (B, T, H D)
        let y = match recording.cache {
            Some(capacity) => tape.attention_cached(qkv, &attention, capacity),
            None => tape.attention(qkv, recording.doc_start, attention),
        };
        let weight = param(tape, self.out);
        let bias = self.out_bias.map(|id| param(tape, id));
        tape.linear(y, weight, bias)
    }
}
