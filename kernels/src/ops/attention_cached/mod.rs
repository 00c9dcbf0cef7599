//! # What
//! Causal attention of new tokens over a key-value cache, for generation: the twin of [`crate::ops::attention`] without a
//! gradient. One new token (decoding) reads the cache once, split over fixed chunks of keys whose partial softmaxes are merged
//! in order (Flash-Decoding, Dao et al. 2023); several (prefill) take the blocked forward pass of training.
//!
//! # Shapes
//! `qkv (1, n, (H + 2 Hk) d)` compute type, the new tokens -> `out (1, n, H d)` compute type. State: keys and values
//! `(Hk, capacity, d)` of the compute type, so exactly those of `qkv`, of which `cache_len` tokens are there already; the new
//! ones are appended.
//!
//! # Forward
//! With c = `cache_len`: `out_i = sum_j p_ij v_j` over `j <= c + i`, `p_ij` the softmax of `scale q_i . k_j`. Each chunk gives its
//! largest score m, `l = sum e^(s - m)` and `o = sum e^(s - m) v`; `out = sum e^(m - M) o / sum e^(m - M) l`, M the largest m.
//!
//! # Backward
//! None: this op stands on no path from a parameter to a loss.
//!
//! # Kept for backward
//! Nothing.

mod cpu;
mod gpu;

use super::attention::Attention;
use crate::gpu::{GpuError, GpuForward, Info, View};
use crate::op::{Forward, InferOp, Meta, ShapeError, State};
use crate::{Bf16, Cpu, Dtype, Precision};

/// Attention over a key-value cache. Input: `qkv`. Output: `out`. State: keys, values.
#[derive(Clone, Debug)]
pub struct AttentionCached {
    /// Query heads H.
    pub heads: usize,
    /// Key and value heads Hk, a divisor of H.
    pub kv_heads: usize,
    /// Size d of a head.
    pub head_dim: usize,
    /// What scores are multiplied by, above 0; `1 / sqrt(d)` as a rule.
    pub scale: f64,
    /// Tokens that the cache can hold.
    pub capacity: usize,
}

impl AttentionCached {
    /// Attention with the scale `1 / sqrt(head_dim)` over a cache of `capacity` tokens.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize, capacity: usize) -> Self {
        Attention::new(heads, kv_heads, head_dim).cached(capacity)
    }
}

impl Attention {
    /// The same attention over a cache of `capacity` tokens.
    pub fn cached(&self, capacity: usize) -> AttentionCached {
        AttentionCached {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
            capacity,
        }
    }
}

impl InferOp for AttentionCached {
    fn name(&self) -> &'static str {
        "attention_cached"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [qkv] = inputs else {
            return Err(ShapeError::new(format!(
                "attention_cached takes qkv, not {} inputs",
                inputs.len()
            )));
        };
        let op = Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.scale,
        };
        let (batch, new) = op.check(qkv)?;
        if batch != 1 || new > self.capacity {
            return Err(ShapeError::new(format!(
                "attention_cached takes one sequence of at most {} tokens, not {qkv:?}",
                self.capacity
            )));
        }
        if precision == Precision::F64 || qkv.dtype != precision.compute() {
            return Err(ShapeError::new(format!(
                "attention_cached runs in f32 and bf16; in {} it cannot take {qkv:?}",
                precision.name()
            )));
        }
        Ok(vec![Meta::new(
            [1, new, self.heads * self.head_dim],
            qkv.dtype,
        )])
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu) -> usize {
        let new = inputs[0].shape[1];
        match inputs[0].dtype {
            Dtype::Bf16 => cpu::workspace::<Bf16>(self, new, cpu),
            _ => cpu::workspace::<f32>(self, new, cpu),
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>, state: &mut [State]) {
        match cx.metas[0].dtype {
            Dtype::Bf16 => cpu::forward::<Bf16>(self, cx, state),
            _ => cpu::forward::<f32>(self, cx, state),
        }
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info) -> usize {
        gpu::workspace(self, &inputs[0])
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>, state: &[View]) -> Result<(), GpuError> {
        gpu::forward(self, cx, state)
    }

    fn state(&self) -> Vec<usize> {
        vec![self.capacity * self.kv_heads * self.head_dim; 2]
    }

    /// Two products of every new token with a full cache.
    fn flops(&self, inputs: &[Meta]) -> u64 {
        4 * (inputs[0].shape[1] * self.capacity * self.heads * self.head_dim) as u64
    }
}

#[cfg(test)]
mod tests;
