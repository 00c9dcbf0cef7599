//! # What
//! QK-norm: RMSNorm over the channels of each query head and each key head, so that scores stay bounded (Henry et al. 2020,
//! arXiv:2010.04245; the gains shared by heads are Qwen3's, arXiv:2505.09388). Value heads are passed on.
//!
//! # Shapes
//! `qkv (.., (H + 2 Hk) D)` any float type: H query heads, Hk key heads, Hk value heads of width D; `wq (D)`, `wk (D)`
//! parameters -> `y` as `qkv`.
//!
//! # Forward
//! For each head `y = x r w`, `r = 1 / sqrt(mean(x^2) + eps)`, with wq or wk as [`super::rmsnorm`].
//!
//! # Backward
//! That of [`super::rmsnorm`] for each head, with r computed again. dwq and dwk are sums over rows and heads, folded in a
//! fixed number of chunks of rows ([`crate::cpu::rows::CHUNKS`]). Value heads pass the gradient on.
//!
//! # Kept for backward
//! `qkv`, `wq` and `wk`.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::rows::CHUNKS;
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info, norm};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "head_norm",
    formula: "y = x w / sqrt(mean(x^2) + eps) for each query and key head",
    cases,
};

/// QK-norm. Inputs: `qkv`, `wq`, `wk`. Output: `y`.
#[derive(Clone, Debug)]
pub struct HeadNorm {
    /// Query heads.
    pub heads: usize,
    /// Key heads, and as many value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Added to the mean square.
    pub eps: f64,
}

impl Op for HeadNorm {
    fn name(&self) -> &'static str {
        "head_norm"
    }

    fn outputs(&self, inputs: &[Meta], _: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [x, wq, wk] = inputs else {
            return Err(ShapeError::new(format!(
                "head_norm takes qkv, wq and wk, not {} inputs",
                inputs.len()
            )));
        };
        let fits = x.cols() == (self.heads + 2 * self.kv_heads) * self.head_dim
            && wq.shape == [self.head_dim]
            && wk.shape == [self.head_dim];
        if !fits {
            return Err(ShapeError::new(format!(
                "head_norm of {} query and {} key heads of width {} does not fit {x:?} with gains {wq:?} and {wk:?}",
                self.heads, self.kv_heads, self.head_dim
            )));
        }
        Ok(vec![x.clone()])
    }

    fn keeps(&self) -> Keeps {
        Keeps::inputs(0b111)
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], _: &Cpu, backward: bool) -> usize {
        if backward {
            CHUNKS * 2 * inputs[1].bytes()
        } else {
            0
        }
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
        if backward {
            norm::scratch_bytes(inputs[0].rows(), 2 * self.head_dim)
        } else {
            0
        }
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        4 * (inputs[0].rows() * (self.heads + self.kv_heads) * self.head_dim) as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, heads: usize, kv_heads: usize, head_dim: usize| {
        let op = HeadNorm {
            heads,
            kv_heads,
            head_dim,
            eps: 1e-6,
        };
        let cols = (heads + 2 * kv_heads) * head_dim;
        let inputs = vec![
            Input::new([rows, cols], Role::Compute, Fill::Normal(1.0)),
            Input::new([head_dim], Role::Param, Fill::NearOne),
            Input::new([head_dim], Role::Param, Fill::NearOne),
        ];
        Case::new(op, inputs)
    };
    vec![case(1, 1, 1, 3), case(5, 3, 1, 17), case(70, 4, 2, 64)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::normalised_error;
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
        check(
            "head_norm",
            HeadNorm {
                heads: 3,
                kv_heads: 1,
                head_dim: 4,
                eps: 1e-6,
            },
        );
    }

    #[test]
    fn scale_of_queries_and_keys_is_lost_and_values_pass() {
        let case = &cases()[1];
        let mut trial = case.trial(Precision::F64, 1);
        let cpu = Cpu::new(2);
        let before = trial.run(&cpu, GradMode::Set).outputs.remove(0);
        let values =
            |y: &[f64]| -> Vec<f64> { y.chunks(85).flat_map(|row| row[68..].to_vec()).collect() };
        assert_eq!(values(&before), values(&trial.inputs[0]));
        for row in trial.inputs[0].chunks_mut(85) {
            row[..68].iter_mut().for_each(|x| *x *= 1000.0);
        }
        let after = trial.run(&cpu, GradMode::Set).outputs.remove(0);
        assert!(normalised_error(&after, &before) < 1e-5);
    }
}
