//! # What
//! Rotary position embedding: each pair of channels of each query and key head is turned by an angle that grows with the
//! position, so that scores depend on distances (Su et al. 2021, arXiv:2104.09864). Value heads are passed on.
//!
//! # Shapes
//! `qkv (B, T, N D)` compute, N heads of width D of which the first `heads` turn; `positions (B, T)` indices ->
//! `y (B, T, N D)` compute.
//!
//! # Forward
//! With `f_i = theta^(-2i/D)` and the angle `p f_i` at position p, the pair `(a, b)` becomes
//! `(a cos - b sin, a sin + b cos)`. Pairs are `(i, i + D/2)` ([`Layout::Half`], Hugging Face) or `(2i, 2i + 1)`
//! ([`Layout::Interleaved`], Meta). Angles and their sines are made in `f64` ([`crate::cpu::angles`]).
//!
//! # Backward
//! A rotation is orthogonal: its transpose turns the gradient by `-p f_i`. Value heads pass it on. Works in place.
//!
//! # Kept for backward
//! `positions`.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::angles::{Angles, Order};
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, Info, View};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Elem, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "rope",
    formula: "(a, b) -> (a cos pf - b sin pf, a sin pf + b cos pf), f_i = theta^(-2i/D)",
    cases,
};

/// Which channels of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `(i, i + D/2)`: Hugging Face's files.
    Half,
    /// `(2i, 2i + 1)`: Meta's files and the paper.
    Interleaved,
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// By the position: queries and keys.
    Forward,
    /// Back: their gradients.
    Back,
}

/// Rotary positions. Inputs: `qkv`, `positions`. Output: `y`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Heads that turn: the queries and keys, which come first.
    pub heads: usize,
    /// All heads.
    pub total_heads: usize,
    /// Channels of a head (even).
    pub head_dim: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// Which channels form a pair.
    pub layout: Layout,
}

impl Rope {
    /// Turns `qkv (B, T, N D)` in place, for an operation that has just made it. `positions` has B T elements, `seq` is T,
    /// and `workspace` the bytes that [`Rope::table_bytes`] asks for, aligned to [`crate::arena::ALIGN`].
    pub fn rotate_in_place<X: Elem>(
        &self,
        cpu: &Cpu,
        qkv: &mut [X],
        positions: &[i32],
        seq: usize,
        turn: Turn,
        workspace: &mut [u8],
    ) {
        cpu::rotate::<X>(self, cpu, None, qkv, positions, seq, turn, false, workspace);
    }

    /// Bytes of workspace for rows of `seq` tokens whose elements have type `dtype`.
    pub fn table_bytes(&self, seq: usize, dtype: Dtype) -> usize {
        let size = if dtype == Dtype::F64 { 8 } else { 4 };
        self.angles().scratch(seq, size)
    }

    /// Turns `source (B, T, N D)` on a GPU into `to` as its mode says, for operations that make or read queries, keys and
    /// values themselves; [`crate::op::GradMode::InPlace`]: `source` is `to`, and heads that do not turn are left alone. `positions` has
    /// B T elements, `seq` is T, `workspace` has [`Rope::table_bytes_gpu`] bytes.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn turn_gpu(
        &self,
        gpu: &Gpu,
        source: View,
        to: GpuGrad,
        positions: View,
        seq: usize,
        turn: Turn,
        workspace: View,
    ) -> Result<(), GpuError> {
        gpu::turn(self, gpu, source, to, positions, seq, turn, workspace)
    }

    /// Bytes of workspace on a GPU for rows of `seq` tokens.
    pub fn table_bytes_gpu(&self, seq: usize) -> usize {
        gpu::angles(self).bytes(seq)
    }

    fn angles(&self) -> Angles {
        Angles {
            theta: self.theta,
            dims: self.head_dim,
            order: match self.layout {
                Layout::Half => Order::CosThenSin,
                Layout::Interleaved => Order::Doubled,
            },
        }
    }
}

impl Op for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [x, positions] = inputs else {
            return Err(ShapeError::new(format!(
                "rope takes qkv and positions, not {} inputs",
                inputs.len()
            )));
        };
        let fits = x.shape.len() == 3
            && x.shape[..2] == positions.shape
            && x.cols() == self.total_heads * self.head_dim
            && x.dtype == precision.compute()
            && positions.dtype == Dtype::I32;
        if !fits || self.heads > self.total_heads || !self.head_dim.is_multiple_of(2) {
            return Err(ShapeError::new(format!(
                "rope of {} among {} heads of even width, {} each, does not fit {x:?} with positions {positions:?}",
                self.heads, self.total_heads, self.head_dim
            )));
        }
        Ok(vec![x.clone()])
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b10)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], _: &Cpu, _: bool) -> usize {
        self.table_bytes(inputs[1].cols(), inputs[0].dtype)
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing {
            in_place: Some((0, 0)),
            equal: None,
        }
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::forward::<X>(self, cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::backward::<X>(self, cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, _: bool) -> usize {
        self.table_bytes_gpu(inputs[1].cols())
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        3 * (inputs[0].rows() * self.heads * self.head_dim) as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |batch: usize, seq: usize, heads, total_heads, head_dim, layout, fill| {
        Case::new(
            Rope {
                heads,
                total_heads,
                head_dim,
                theta: 10_000.0,
                layout,
            },
            vec![
                Input::new(
                    [batch, seq, total_heads * head_dim],
                    Role::Compute,
                    Fill::Normal(1.0),
                ),
                Input::new([batch, seq], Role::Index, fill),
            ],
        )
    };
    vec![
        case(1, 1, 1, 1, 2, Layout::Half, Fill::Ids(9)),
        case(2, 7, 3, 4, 6, Layout::Half, Fill::Positions(7)),
        case(2, 7, 3, 4, 6, Layout::Interleaved, Fill::Positions(7)),
        case(3, 70, 4, 6, 64, Layout::Half, Fill::Positions(70)),
        case(4, 5, 2, 3, 34, Layout::Half, Fill::Ids(5000)),
        case(4, 5, 3, 3, 10, Layout::Interleaved, Fill::Ids(5000)),
    ]
}

#[cfg(test)]
mod tests;
