//! # What
//! Causal scaled dot-product attention with grouped queries (Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023,
//! arXiv:2305.13245) inside documents, streamed over blocks of keys so that no T x T matrix exists (FlashAttention-2, Dao
//! 2023, arXiv:2307.08691). [`crate::ops::attention_cached`] is its twin for decoding.
//!
//! # Shapes
//! `qkv (B, T, (H + 2 Hk) d)` compute type: first the H query heads, then Hk key heads, then Hk value heads; `doc_start
//! (B, T)` index -> `out (B, T, H d)` compute type. Query head h reads key-value head `h / (H / Hk)`. Saved: `lse (B, H, T)`
//! wide type, to base 2.
//!
//! # Forward
//! `s_ij = scale q_i . k_j` where `doc_start_i <= j <= i`; `p_ij = e^(s_ij - lse_i)`, `lse_i = ln sum_j e^(s_ij)`;
//! `out_i = sum_j p_ij v_j`. Blocks of keys before the first document start of a block of queries are skipped. `doc_start_i`
//! may be any index up to i, so that a sliding window of W keys is `max(doc_start_i, i - W + 1)`.
//!
//! # Backward
//! With `dp_ij = dout_i . v_j` and `delta_i = sum_j p_ij dp_ij = dout_i . out_i`: the softmax gives
//! `ds_ij = p_ij (dp_ij - delta_i)`, so `dq_i = scale sum_j ds_ij k_j`, `dk_j = scale sum_i ds_ij q_i` and
//! `dv_j = sum_i p_ij dout_i`, the last two summed over the group's query heads in order.
//!
//! # Kept for backward
//! `qkv`, `doc_start`, `out`, and `lse`.

pub(in crate::ops) mod cpu;
pub(in crate::ops) mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradMode, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Precision, with_elem};
use cpu::{BackwardPass, ForwardPass, Shape, Strides, Tiled, View, ViewMut};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "attention",
    formula: "out = softmax(scale q k^T, doc_start_i <= j <= i) v",
    cases,
};

/// Causal attention. Inputs: `qkv`, `doc_start`. Output: `out`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Query heads H.
    pub heads: usize,
    /// Key and value heads Hk, a divisor of H.
    pub kv_heads: usize,
    /// Size d of a head.
    pub head_dim: usize,
    /// What scores are multiplied by, above 0; `1 / sqrt(d)` as a rule.
    pub scale: f64,
}

/// Positions are exact in `f32` below this length.
const MAX_LENGTH: usize = 1 << 24;

impl Attention {
    /// Attention with the scale `1 / sqrt(head_dim)`.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f64).sqrt(),
        }
    }

    /// Columns of `qkv`.
    pub fn qkv_cols(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Checks the settings and the fused tensor; returns the number of sequences and their length.
    ///
    /// # Errors
    /// If they do not fit; the message names them.
    pub(in crate::ops) fn check(&self, qkv: &Meta) -> Result<(usize, usize), ShapeError> {
        let Self {
            heads,
            kv_heads,
            head_dim,
            scale,
        } = *self;
        if head_dim == 0 || kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(ShapeError::new(format!(
                "attention needs query heads in whole groups a key-value head, not {heads} over {kv_heads} (size {head_dim})"
            )));
        }
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(ShapeError::new(format!(
                "attention needs a scale above 0, not {scale}"
            )));
        }
        match qkv.shape[..] {
            [b, t, c]
                if c == self.qkv_cols()
                    && (1..MAX_LENGTH).contains(&t)
                    && b > 0
                    && qkv.dtype.is_float() =>
            {
                Ok((b, t))
            }
            _ => Err(ShapeError::new(format!(
                "attention of {heads} + 2 x {kv_heads} heads of {head_dim} needs qkv (B, T, {}) with T below 2^24, not {qkv:?}",
                self.qkv_cols()
            ))),
        }
    }

    fn shape(&self, qkv: &Meta) -> Shape {
        Shape {
            batch: qkv.shape[0],
            heads: self.heads,
            kv_heads: self.kv_heads,
            dim: self.head_dim,
            queries: qkv.shape[1],
            offset: 0,
            scale: self.scale,
        }
    }

    fn strides(&self, length: usize, cols: usize) -> Strides {
        Strides {
            batch: length * cols,
            head: self.head_dim,
            row: cols,
        }
    }

    /// First column of the keys and of the values.
    fn columns(&self) -> [usize; 2] {
        [
            self.heads * self.head_dim,
            (self.heads + self.kv_heads) * self.head_dim,
        ]
    }

    fn forward<T: Tiled>(&self, cx: &mut Forward<'_>) {
        let shape = self.shape(&cx.metas[0]);
        let t = shape.queries;
        let qkv = cx.input::<T>(0);
        let strides = self.strides(t, self.qkv_cols());
        let [k, v] = self.columns();
        let pass = ForwardPass {
            shape,
            q: View::new(qkv, 0, strides),
            k: View::new(qkv, k, strides),
            v: View::new(qkv, v, strides),
            starts: Some(cx.inputs[1].as_i32()),
            out: ViewMut::new(
                cx.output::<T>(0),
                0,
                self.strides(t, self.heads * self.head_dim),
            ),
            lse: cx
                .saved::<T::Acc>(0)
                .map(|lse| ViewMut::new(lse, 0, self.lse_strides(t))),
        };
        pass.run(cx.cpu, cx.take_workspace());
    }

    fn backward<T: Tiled>(&self, cx: &mut Backward<'_>) {
        let Some((d_qkv, mode)) = cx.d_input::<T>(0) else {
            return;
        };
        let Some(d_out) = cx.d_output::<T>(0) else {
            if mode == GradMode::Set {
                d_qkv.fill(T::default());
            }
            return;
        };
        let shape = self.shape(&cx.metas[0]);
        let t = shape.queries;
        let qkv = cx.input::<T>(0);
        let strides = self.strides(t, self.qkv_cols());
        let of_out = self.strides(t, self.heads * self.head_dim);
        let [k, v] = self.columns();
        let pass = BackwardPass {
            shape,
            q: View::new(qkv, 0, strides),
            k: View::new(qkv, k, strides),
            v: View::new(qkv, v, strides),
            starts: cx.input_i32(1),
            out: View::new(cx.output::<T>(0), 0, of_out),
            d_out: View::new(d_out, 0, of_out),
            lse: View::new(cx.saved::<T::Acc>(0), 0, self.lse_strides(t)),
            dq: ViewMut::new(d_qkv, 0, strides),
            dk: ViewMut::new(d_qkv, k, strides),
            dv: ViewMut::new(d_qkv, v, strides),
            add: mode == GradMode::Add,
        };
        pass.run(cx.cpu, cx.take_workspace());
    }

    fn lse_strides(&self, length: usize) -> Strides {
        Strides {
            batch: self.heads * length,
            head: length,
            row: 1,
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [qkv, doc_start] = inputs else {
            return Err(ShapeError::new(format!(
                "attention takes qkv and doc_start, not {} inputs",
                inputs.len()
            )));
        };
        let (b, t) = self.check(qkv)?;
        if qkv.dtype != precision.compute() {
            return Err(ShapeError::new(format!(
                "attention in {} needs qkv of {:?}, not {qkv:?}",
                precision.name(),
                precision.compute()
            )));
        }
        if doc_start.shape != [b, t] || doc_start.dtype != Dtype::I32 {
            return Err(ShapeError::new(format!(
                "attention of {qkv:?} needs document starts I32[{b}, {t}], not {doc_start:?}"
            )));
        }
        let cols = self.heads * self.head_dim;
        Ok(vec![Meta::new([b, t, cols], qkv.dtype)])
    }

    fn keeps(&self) -> Keeps {
        Keeps {
            outputs: 0b1,
            ..Keeps::inputs(0b11)
        }
    }

    fn saved(&self, inputs: &[Meta], precision: Precision) -> Vec<Meta> {
        let shape = &inputs[0].shape;
        vec![Meta::new(
            [shape[0], self.heads, shape[1]],
            precision.wide(),
        )]
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, backward: bool) -> usize {
        let shape = self.shape(&inputs[0]);
        with_elem!(inputs[0].dtype, T => if backward {
            cpu::backward_workspace::<T>(&shape, cpu)
        } else {
            cpu::forward_workspace::<T>(&shape, shape.queries, cpu)
        })
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing::NONE
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, T => self.forward::<T>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, T => self.backward::<T>(cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], device: &Info, backward: bool) -> usize {
        gpu::workspace(self, &inputs[0], device, backward)
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    /// Two products of every query with half of the keys: the causal half only.
    fn flops(&self, inputs: &[Meta]) -> u64 {
        let (b, t) = (inputs[0].shape[0] as u64, inputs[0].shape[1] as u64);
        2 * b * (self.heads * self.head_dim) as u64 * t * (t + 1)
    }

    /// Five products where the forward has two: scores, their gradient, and those of queries, keys and values.
    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        self.flops(inputs) / 2 * 5
    }
}

fn cases() -> Vec<Case> {
    let case = |(heads, kv_heads, head_dim): (usize, usize, usize), (b, t), document: usize| {
        let op = Attention::new(heads, kv_heads, head_dim);
        let cols = op.qkv_cols();
        Case::new(
            op,
            vec![
                Input::new([b, t, cols], Role::Compute, Fill::Normal(1.0)),
                Input::new([b, t], Role::Index, Fill::Documents(t, document)),
            ],
        )
    };
    vec![
        case((1, 1, 1), (1, 1), 1),
        case((2, 1, 5), (2, 7), 7),
        case((4, 2, 32), (1, 67), 25),
        case((3, 1, 64), (1, 70), 70),
        case((1, 1, 128), (2, 35), 9),
        case((2, 2, 96), (1, 33), 33),
        case((2, 1, 24), (1, 101), 45),
    ]
}

#[cfg(test)]
mod tests;
