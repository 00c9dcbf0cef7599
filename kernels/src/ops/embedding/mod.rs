//! # What
//! Looks up the vector of each token (or of each position: learned positions are a second embedding, added).
//!
//! # Shapes
//! `ids (B, T)` indices in `0..V`, `table (V, C)` parameter -> `x (B, T, C)` wide.
//!
//! # Forward
//! `x_t = table[id_t]`.
//!
//! # Backward
//! The derivative of `x_t` by row v is the identity where `id_t = v`, else 0, so `dtable[v]` is the sum of `dx_t` over the
//! tokens with `id_t = v`. Each row of the table belongs to one task (by `v mod 32`, which spreads the frequent ids), which
//! scans all ids and adds in the order of the tokens: the bits do not depend on threads. On a GPU the tokens are sorted by
//! their ids, stably, and runs of equal ids are added in pieces of a fixed size.
//!
//! # Kept for backward
//! `ids`.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "embedding",
    formula: "x_t = table[id_t]",
    cases,
};

/// Embedding. Inputs: `ids`, `table`. Output: `x`. An id outside the table panics: whoever makes ids checks them.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Rows of the table.
    pub vocab: usize,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [ids, table] = inputs else {
            return Err(ShapeError::new(format!(
                "embedding takes ids and a table, not {} inputs",
                inputs.len()
            )));
        };
        if ids.dtype != Dtype::I32 || table.shape.len() != 2 || table.shape[0] != self.vocab {
            return Err(ShapeError::new(format!(
                "embedding takes ids and a table of {} rows, not {ids:?} and {table:?}",
                self.vocab
            )));
        }
        let mut shape = ids.shape.clone();
        shape.push(table.cols());
        Ok(vec![Meta::new(shape, precision.wide())])
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b01)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, _: &[Meta], _: &Cpu, _: bool) -> usize {
        0
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing::NONE
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        // As it lies in memory: a session that only reads may keep the table in bf16.
        with_elem!(cx.inputs[1].dtype(), P => cpu::forward::<P>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[1].dtype, P => cpu::backward::<P>(cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], _: &Info, backward: bool) -> usize {
        if backward {
            gpu::workspace(inputs[0].len(), self.vocab, inputs[1].cols())
        } else {
            0
        }
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(cx)
    }

    fn flops(&self, _: &[Meta]) -> u64 {
        0
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        (inputs[0].len() * inputs[1].cols()) as u64
    }
}

fn cases() -> Vec<Case> {
    let case = |batch: usize, seq: usize, vocab: usize, cols: usize| {
        Case::new(
            Embedding { vocab },
            vec![
                Input::new([batch, seq], Role::Index, Fill::Ids(vocab as i32)),
                Input::new([vocab, cols], Role::Param, Fill::Normal(0.5)),
            ],
        )
    };
    vec![
        case(1, 1, 1, 1),
        case(2, 5, 3, 7),
        case(3, 70, 101, 67),
        case(2, 40, 1000, 33),
        case(3, 800, 5, 8),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::GradMode;

    #[test]
    fn generic_checks() {
        for case in cases() {
            crate::check::all(&case, 2e-6, 2e-2);
            crate::gpu::check::all(&case, 2e-6, 2e-2);
        }
    }

    #[test]
    fn pytorch() {
        use crate::ops::torch_fixture::check;
        check("embedding", Embedding { vocab: 5 });
    }

    #[test]
    fn repeated_ids_add_and_absent_ids_get_zero() {
        let case = &cases()[1];
        let mut trial = case.trial(Precision::F32, 3);
        trial.inputs[0] = vec![1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        trial.d_outputs[0].fill(1.0);
        let outcome = trial.run(&Cpu::new(2), GradMode::Set);
        assert_eq!(outcome.d_inputs[1][..7], [6.0; 7]);
        assert_eq!(outcome.d_inputs[1][7..14], [4.0; 7]);
        assert_eq!(outcome.d_inputs[1][14..], [0.0; 7]);
        assert_eq!(outcome.outputs[0][..7], outcome.outputs[0][7..14]);
    }
}
