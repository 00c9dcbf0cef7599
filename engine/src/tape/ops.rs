//! One line for each operation that models record. What they compute is in the folders of [`kernels::ops`].

use super::{Tape, Var};
use kernels::ops::act::Act;
use kernels::ops::activation::Activation;
use kernels::ops::add::Add;
use kernels::ops::attention::Attention;
use kernels::ops::attention_cached::AttentionCached;
use kernels::ops::classifier::Classifier;
use kernels::ops::dropout::Dropout;
use kernels::ops::embedding::Embedding;
use kernels::ops::gated::Gated;
use kernels::ops::head_norm::HeadNorm;
use kernels::ops::layernorm::LayerNorm;
use kernels::ops::linear::Linear;
use kernels::ops::rmsnorm::RmsNorm;
use kernels::ops::rope::{Layout, Rope};
use kernels::ops::sinusoid::Sinusoid;

impl Tape {
    /// `ids (B, T)`, `table (V, C)` -> `(B, T, C)` wide.
    #[track_caller]
    pub fn embedding(&mut self, ids: Var, table: Var) -> Var {
        let vocab = self.meta(table).shape[0];
        self.one(Embedding { vocab }, &[ids, table])
    }

    /// `x (B, T, C)` wide plus the sinusoid of its positions.
    #[track_caller]
    pub fn sinusoid(&mut self, x: Var, positions: Var) -> Var {
        self.one(Sinusoid, &[x, positions])
    }

    /// `x (.., K) w (N, K)^T + b (N)` -> `(.., N)` compute type.
    #[track_caller]
    pub fn linear(&mut self, x: Var, w: Var, bias: Option<Var>) -> Var {
        let inputs: Vec<_> = [x, w].into_iter().chain(bias).collect();
        self.one(Linear { wide: false }, &inputs)
    }

    /// As [`Tape::linear`] without a bias, into the wide type (logits).
    #[track_caller]
    pub fn linear_wide(&mut self, x: Var, w: Var) -> Var {
        self.one(Linear { wide: true }, &[x, w])
    }

    /// RMSNorm of `x (.., C)` with gain `w (C)`; `wide` for a result that is the residual stream.
    #[track_caller]
    pub fn rmsnorm(&mut self, x: Var, w: Var, norm: RmsNorm) -> Var {
        self.one(norm, &[x, w])
    }

    /// LayerNorm of `x (.., C)` with gain `w (C)` and bias `b (C)`.
    #[track_caller]
    pub fn layernorm(&mut self, x: Var, w: Var, bias: Option<Var>, norm: LayerNorm) -> Var {
        let inputs: Vec<_> = [x, w].into_iter().chain(bias).collect();
        self.one(norm, &inputs)
    }

    /// RMSNorm of each head of the queries and keys in `qkv`; `shape` is heads, key-value heads, size of a head.
    #[track_caller]
    pub fn head_norm(
        &mut self,
        qkv: Var,
        q: Var,
        k: Var,
        shape: (usize, usize, usize),
        eps: f64,
    ) -> Var {
        let (heads, kv_heads, head_dim) = shape;
        self.one(
            HeadNorm {
                heads,
                kv_heads,
                head_dim,
                eps,
            },
            &[qkv, q, k],
        )
    }

    /// Rotary positions of the queries and keys in `qkv`.
    #[track_caller]
    pub fn rope(
        &mut self,
        qkv: Var,
        positions: Var,
        shape: (usize, usize, usize),
        theta: f64,
        layout: Layout,
    ) -> Var {
        let (heads, kv_heads, head_dim) = shape;
        let rope = Rope {
            heads: heads + kv_heads,
            total_heads: heads + 2 * kv_heads,
            head_dim,
            theta,
            layout,
        };
        self.one(rope, &[qkv, positions])
    }

    /// Causal attention: `qkv (B, T, (H + 2 Hk) D)` -> `(B, T, H D)`.
    #[track_caller]
    pub fn attention(&mut self, qkv: Var, doc_start: Var, attention: Attention) -> Var {
        self.one(attention, &[qkv, doc_start])
    }

    /// Attention of new tokens over a cache of `capacity` tokens, which it extends.
    #[track_caller]
    pub fn attention_cached(&mut self, qkv: Var, attention: &Attention, capacity: usize) -> Var {
        let Attention {
            heads,
            kv_heads,
            head_dim,
            scale,
        } = *attention;
        self.infer(
            AttentionCached {
                heads,
                kv_heads,
                head_dim,
                scale,
                capacity,
            },
            &[qkv],
        )
    }

    /// `act(x)`.
    #[track_caller]
    pub fn activation(&mut self, x: Var, act: Act) -> Var {
        self.one(Activation { act }, &[x])
    }

    /// `act(gate) * up` of `x (.., 2F)` -> `(.., F)`.
    #[track_caller]
    pub fn gated(&mut self, x: Var, act: Act) -> Var {
        self.one(Gated { act }, &[x])
    }

    /// `x + y`, `x` wide.
    #[track_caller]
    pub fn add(&mut self, x: Var, y: Var) -> Var {
        self.one(Add, &[x, y])
    }

    /// Dropout with probability `p`; identity outside training. Each gets a number of its own.
    #[track_caller]
    pub fn dropout(&mut self, x: Var, p: f64) -> Var {
        let id = self.nodes.len() as u64;
        self.one(Dropout { p, id }, &[x])
    }

    /// Mean cross-entropy of `h (.., C)` through the head `w (V, C)`, without logits in memory.
    #[track_caller]
    pub fn classifier(&mut self, h: Var, w: Var, targets: Var) -> Var {
        self.one(Classifier, &[h, w, targets])
    }
}
