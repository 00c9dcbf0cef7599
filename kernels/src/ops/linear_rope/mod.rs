//! # What
//! The linear map that makes queries, keys and values, and the rotary positions of its result: [`super::linear`], then
//! [`super::rope`]. [`LinearRope::reference`] is that definition, and the results are the same. The result is turned where
//! it lies, so that it is in memory once.
//!
//! # Shapes
//! `x (B, T, K)` compute type, `w (N D, K)` parameter, optionally `b (N D)` parameter, `positions (B, T)` indices ->
//! `y (B, T, N D)` compute type: N heads of width D, of which the first [`Rope::heads`] turn.
//!
//! # Forward
//! `y = turn(x w^T + b)`.
//!
//! # Backward
//! A rotation is orthogonal: with `d = turn_back(dy)`, `dx = d w`, `dw = d^T x`, `db = sum over rows of d`. d is made by
//! chunks of [`ROWS`] rows in scratch; dw and db are summed over the chunks in order.
//!
//! # Kept for backward
//! `x`, `w`, `positions`.

mod cpu;
mod gpu;

use super::Entry;
use super::linear::{Linear, product};
use super::rope::{Layout, Rope};
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::gemm;
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "linear_rope",
    formula: "y = rope(x w^T + b)",
    cases,
};

/// Rows of a chunk of the backward. A multiple of what the matrix product cuts K at, so that `dw` is summed as in one
/// product.
pub(crate) const ROWS: usize = 512;

/// Linear map and rotary positions. Inputs: `x`, `w`, `b` if there is one, `positions`. Output: `y`.
#[derive(Clone, Debug)]
pub struct LinearRope {
    /// The rotation.
    pub rope: Rope,
}

impl LinearRope {
    /// The two operations that this one fuses: the second reads the result of the first.
    pub fn reference(&self) -> (Linear, Rope) {
        (Linear { wide: false }, self.rope.clone())
    }
}

impl Op for LinearRope {
    fn name(&self) -> &'static str {
        "linear_rope"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let (Some((positions, linear_inputs)), true) = (inputs.split_last(), inputs.len() > 2)
        else {
            return Err(ShapeError::new(format!(
                "linear_rope takes x, w, maybe b, and positions, not {} inputs",
                inputs.len()
            )));
        };
        if linear_inputs[0].dtype != precision.compute() {
            return Err(ShapeError::new(format!(
                "linear_rope takes x of the compute type, not {:?}",
                linear_inputs[0]
            )));
        }
        let (linear, rope) = self.reference();
        let mut qkv = linear.outputs(linear_inputs, precision)?;
        qkv.push(positions.clone());
        rope.outputs(&qkv, precision)
    }

    fn keeps(&self) -> Keeps {
        // Input 2 is the positions where there is no bias, else input 3; a parameter costs nothing to keep.
        Keeps::inputs(0b1111)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, backward: bool) -> usize {
        let (x, w) = (&inputs[0], &inputs[1]);
        let (m, n, k) = (x.rows(), w.shape[0], w.cols());
        let bytes = |m, n, k| gemm::workspace_bytes(cpu, product(x.dtype), m, n, k);
        if !backward {
            return bytes(m, n, k).max(self.rope.table_bytes(x.shape[1], x.dtype));
        }
        let (most, last) = (m.min(ROWS), m % ROWS);
        // The last chunk may have fewer rows, and a few rows are multiplied in another way.
        let products = [(most, k, n), (n, k, most), (last, k, n), (n, k, last)];
        let products = products.into_iter().map(|(m, n, k)| bytes(m, n, k)).max();
        let sums = if inputs.len() == 4 {
            CHUNKS * inputs[2].bytes()
        } else {
            0
        };
        gemm::chunk_bytes(most * n * x.dtype.size())
            + gemm::panel_bytes(cpu, product(x.dtype), (m, ROWS), (k, n))
            + products
                .unwrap_or(0)
                .max(sums)
                .max(self.rope.table_bytes(most, x.dtype))
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing::NONE
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::forward::<X>(self, cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, X => cpu::backward::<X>(self, cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        gpu::workspace(inputs, backward)
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        let turned = self.rope.heads * self.rope.head_dim;
        (inputs[0].rows() * (2 * inputs[1].len() + 3 * turned)) as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |batch: usize, seq: usize, k: usize, heads: [usize; 3], layout, bias: bool, fill| {
        let [heads, total_heads, head_dim] = heads;
        let rope = Rope {
            heads,
            total_heads,
            head_dim,
            theta: 10_000.0,
            layout,
        };
        let n = total_heads * head_dim;
        let mut inputs = vec![
            Input::new([batch, seq, k], Role::Compute, Fill::Normal(1.0)),
            Input::new([n, k], Role::Param, Fill::Normal(0.5)),
        ];
        if bias {
            inputs.push(Input::new([n], Role::Param, Fill::Normal(1.0)));
        }
        inputs.push(Input::new([batch, seq], Role::Index, fill));
        Case::new(LinearRope { rope }, inputs)
    };
    vec![
        case(1, 1, 1, [1, 1, 2], Layout::Half, true, Fill::Ids(9)),
        case(2, 7, 5, [3, 4, 6], Layout::Half, false, Fill::Positions(7)),
        case(
            2,
            70,
            19,
            [2, 3, 34],
            Layout::Half,
            true,
            Fill::Positions(70),
        ),
        case(
            3,
            5,
            9,
            [3, 3, 10],
            Layout::Interleaved,
            true,
            Fill::Ids(5000),
        ),
        // Several chunks of rows: cut inside a sequence, and with positions far apart.
        case(
            3,
            700,
            3,
            [1, 2, 2],
            Layout::Half,
            true,
            Fill::Positions(700),
        ),
        case(2, 1024, 3, [1, 2, 2], Layout::Half, false, Fill::Ids(5000)),
        // Heads of whole vectors.
        case(2, 9, 8, [2, 3, 16], Layout::Half, true, Fill::Positions(9)),
        case(
            2,
            9,
            8,
            [2, 3, 8],
            Layout::Interleaved,
            true,
            Fill::Positions(9),
        ),
    ]
}

#[cfg(test)]
mod tests;
