//! # What
//! An activation, gated or plain, and the linear map that reads it: [`super::gated`] or [`super::activation`], then
//! [`super::linear`]. [`ActivationLinear::reference`] is that definition, and the results are the same. The activation's
//! result is never in memory as a whole: a chunk of rows lives in scratch, and the backward makes it again (which unfused
//! would have to be kept, as large as the widest tensor of a block).
//!
//! # Shapes
//! `u (.., F)`, gated `(.., 2F)` with the gate first, compute type; `w (N, F)` parameter, optionally `b (N)` parameter ->
//! `y (.., N)` compute type.
//!
//! # Forward
//! `h = f(u)`, gated `h = f(gate) up`; `y = h w^T + b`, by chunks of [`ROWS`] rows.
//!
//! # Backward
//! By chunks of rows: `dh = dy w` goes to scratch; one pass over u turns it into du (as in [`super::gated`] and
//! [`super::activation`]) and leaves h in its place; then `dw += dy^T h`, chunk after chunk. `db = sum over rows of dy`,
//! folded in a fixed number of chunks.
//!
//! # Kept for backward
//! `u`, `w`.

mod cpu;
mod gpu;

use super::Entry;
use super::act::Act;
use super::activation::Activation;
use super::gated::Gated;
use super::linear::{Linear, product};
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::gemm;
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "activation_linear",
    formula: "y = h w^T + b, h = f(gate) up or f(u)",
    cases,
};

/// Rows of a chunk. A multiple of what the matrix product cuts K at, so that `dw` is summed as in one product; 512, 1024
/// and 2048 take the same time, so the least scratch.
pub(crate) const ROWS: usize = 512;

/// Activation and linear map. Inputs: `u`, `w`, and `b` if there is one. Output: `y`.
#[derive(Clone, Debug)]
pub struct ActivationLinear {
    /// The function.
    pub act: Act,
    /// Whether the function's value is multiplied by the second half of `u`.
    pub gated: bool,
}

impl ActivationLinear {
    /// The two operations that this one fuses: the second reads the result of the first.
    pub fn reference(&self) -> (Box<dyn Op>, Linear) {
        let act = self.act;
        let first: Box<dyn Op> = if self.gated {
            Box::new(Gated { act })
        } else {
            Box::new(Activation { act })
        };
        (first, Linear { wide: false })
    }
}

impl Op for ActivationLinear {
    fn name(&self) -> &'static str {
        "activation_linear"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [u, params @ ..] = inputs else {
            return Err(ShapeError::new(
                "activation_linear takes u, w and maybe b, not 0 inputs",
            ));
        };
        if u.dtype != precision.compute() {
            return Err(ShapeError::new(format!(
                "activation_linear takes u of the compute type, not {u:?}"
            )));
        }
        let (activation, linear) = self.reference();
        let mut inner = activation.outputs(std::slice::from_ref(u), precision)?;
        inner.extend_from_slice(params);
        linear.outputs(&inner, precision)
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b11)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, backward: bool) -> usize {
        let (u, w) = (&inputs[0], &inputs[1]);
        let (m, n, f) = (u.rows().min(ROWS), w.shape[0], w.cols());
        let bytes = |m, n, k| gemm::workspace_bytes(cpu, product(u.dtype), m, n, k);
        let products = if backward {
            let sums = inputs.get(2).map_or(0, |b| CHUNKS * b.bytes());
            bytes(m, f, n).max(bytes(n, f, m)).max(sums)
        } else {
            bytes(m, n, f)
        };
        // The last chunk may have fewer rows, and a few rows are multiplied in another way.
        let last = u.rows() % ROWS;
        let rest = if backward {
            bytes(last, f, n).max(bytes(n, f, last))
        } else {
            bytes(last, n, f)
        };
        let (chunks, right) = ((u.rows(), ROWS), if backward { (f, n) } else { (n, f) });
        gemm::chunk_bytes(m * f * u.dtype.size())
            + gemm::panel_bytes(cpu, product(u.dtype), chunks, right)
            + products.max(rest)
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
        let (activation, _) = self.reference();
        activation.flops(&inputs[..1]) + 2 * (inputs[0].rows() * inputs[1].len()) as u64
    }

    /// The activation is made again.
    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        let (activation, _) = self.reference();
        2 * self.flops(inputs) + activation.flops(&inputs[..1])
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, f: usize, n: usize, act, gated: bool, bias: bool| {
        let width = if gated { 2 * f } else { f };
        let mut inputs = vec![
            Input::new([rows, width], Role::Compute, Fill::Normal(1.2)),
            Input::new([n, f], Role::Param, Fill::Normal(0.5)),
        ];
        if bias {
            inputs.push(Input::new([n], Role::Param, Fill::Normal(1.0)));
        }
        Case::new(ActivationLinear { act, gated }, inputs)
    };
    let mut cases = vec![
        case(1, 1, 1, Act::Silu, true, true),
        case(130, 33, 31, Act::Silu, true, false),
        case(1, 70, 90, Act::Silu, true, false),
        // Several chunks of rows, the last with few.
        case(ROWS + 3, 5, 3, Act::Silu, true, true),
        case(2 * ROWS, 3, 2, Act::Relu2, false, false),
        // Lines of whole vectors.
        case(11, 24, 16, Act::Silu, true, true),
        case(11, 24, 16, Act::GeluTanh, false, true),
    ];
    for act in Act::ALL {
        for gated in [false, true] {
            cases.push(case(37, 19, 13, act, gated, !gated));
        }
    }
    cases
}

#[cfg(test)]
mod tests;
