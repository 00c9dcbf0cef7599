//! # What
//! The last matrix product, softmax and cross-entropy in one, in chunks of rows, so that logits of batch x time x
//! vocabulary never exist (as in Liger Kernel, Hsu et al. 2024, arXiv:2410.10989).
//!
//! # Shapes
//! `h (.., C)` compute type, `w (V, C)` parameter, `targets (..)` token ids or -1 (ignored) -> `loss (1)` wide type.
//!
//! # Forward
//! `z = h w^T`, `lse = ln sum_j e^(z_j)`, `loss = s * sum over valid rows of (lse - z_target)`, where `s` is
//! [`crate::Scalars::loss_scale`]: one over the valid targets of the whole optimizer step, so that micro-batches with
//! unequal numbers of targets weigh right. In evaluation `s` is 1 and the loss a plain sum.
//!
//! # Backward
//! `dz = s d (softmax(z) - onehot(target))` for valid rows and 0 for ignored ones (`d` is the upstream gradient); then `dh =
//! dz w` and `dw = dz^T h`. A chunk's logits become `dz` in place and serve both products at once; the logits are made
//! only there, so that training computes them once ([`Keeps::forward_in_backward`]).
//! On a GPU the chunks are larger (`Plan` in `gpu.rs`), and in `bf16` runs `dz` is `bf16`, in the front half of each row of
//! logits.
//!
//! # Kept for backward
//! `h`, `w`, `targets`.

mod cpu;
mod gpu;
#[cfg(test)]
#[cfg(unix)]
mod gpu_tests;

pub use cpu::softmax_cross_entropy;

use super::Entry;
use super::linear::product;
use crate::check::{Case, Fill, Input, Role};
use crate::cpu::gemm;
use crate::gpu::{Gpu, GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Dtype, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "classifier",
    formula: "loss = s sum(logsumexp(h w^T) - (h w^T)[target])",
    cases,
};

/// Linear map to the vocabulary, softmax and cross-entropy. Inputs: `h`, `w`, `targets`. Output: `loss`.
#[derive(Clone, Debug, Default)]
pub struct Classifier;

/// Rows whose logits exist at once: about 32 MiB of them, but never so few that the products become slow. A function of the
/// vocabulary alone, so that results do not depend on the machine.
pub fn chunk_rows(vocab: usize) -> usize {
    ((32 << 20) / (4 * vocab.max(1))).clamp(256, 1024)
}

/// What the pass over a chunk's logits on a device takes alone, between the products: logits in `f32` become their gradient in
/// `bf16` in place, 6 bytes a logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass {
    /// Rows of the chunk.
    pub rows: usize,
    /// Seconds by the device's clock.
    pub seconds: f64,
}

/// Times that pass with `vocab` logits a row and at most `most` rows, as the mean of `calls` behind one another.
///
/// # Errors
/// If the device refuses.
pub fn time_pass(gpu: &Gpu, vocab: usize, most: usize, calls: usize) -> Result<Pass, GpuError> {
    let plan = gpu::Plan::new(vocab, gpu.info());
    let rows = plan.rows.min(most);
    let seconds = gpu::time_pass(gpu, plan, [rows, vocab], calls)?;
    Ok(Pass { rows, seconds })
}

impl Op for Classifier {
    fn name(&self) -> &'static str {
        "classifier"
    }

    fn outputs(&self, inputs: &[Meta], precision: Precision) -> Result<Vec<Meta>, ShapeError> {
        let [h, w, targets] = inputs else {
            return Err(ShapeError::new(format!(
                "classifier takes h, w and targets, not {} inputs",
                inputs.len()
            )));
        };
        if w.shape.len() != 2
            || w.cols() != h.cols()
            || targets.len() != h.rows()
            || targets.dtype != Dtype::I32
        {
            return Err(ShapeError::new(format!(
                "classifier of h {h:?} with w {w:?} and targets {targets:?}"
            )));
        }
        Ok(vec![Meta::new([1], precision.wide())])
    }

    fn keeps(&self) -> Keeps {
        Keeps {
            forward_in_backward: true,
            ..Keeps::inputs(0b111)
        }
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, inputs: &[Meta], cpu: &Cpu, _: bool) -> usize {
        let (n, c, v) = (inputs[0].rows(), inputs[0].cols(), inputs[1].shape[0]);
        let rows = chunk_rows(v).min(n);
        let wide = if inputs[0].dtype == Dtype::F64 { 8 } else { 4 };
        let precision = product(inputs[0].dtype);
        let products = [(rows, v, c), (rows, c, v), (v, c, rows)]
            .into_iter()
            .map(|(m, n, k)| gemm::workspace_bytes(cpu, precision, m, n, k))
            .max()
            .expect("three products");
        // Packed weights, logits of a chunk, the losses of all rows, and scratch of the products; each part starts aligned.
        let panels: usize = cpu::panel_bytes(cpu, precision, (n, c, v)).iter().sum();
        panels + (rows * v * wide).next_multiple_of(64) + (n * wide).next_multiple_of(64) + products
    }

    fn grad_sharing(&self) -> GradSharing {
        GradSharing::NONE
    }

    fn forward_cpu(&self, cx: &mut Forward<'_>) {
        with_elem!(cx.metas[0].dtype, H => cpu::forward::<H>(cx));
    }

    fn backward_cpu(&self, cx: &mut Backward<'_>) {
        with_elem!(cx.metas[0].dtype, H => cpu::backward::<H>(cx));
    }

    fn workspace_gpu(&self, inputs: &[Meta], device: &Info, _: bool) -> usize {
        gpu::workspace(inputs, gpu::Plan::new(inputs[1].shape[0], device))
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(cx, gpu::Plan::new(cx.metas[1].shape[0], cx.gpu.info()))
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(cx, gpu::Plan::new(cx.metas[1].shape[0], cx.gpu.info()))
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        let (n, c, v) = (
            inputs[0].rows() as u64,
            inputs[0].cols() as u64,
            inputs[1].shape[0] as u64,
        );
        2 * n * c * v
    }

    /// The logits are made here too.
    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        3 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |rows: usize, dim: usize, vocab: usize| {
        Case::new(
            Classifier,
            vec![
                Input::new([rows, dim], Role::Compute, Fill::Normal(1.0)),
                Input::new([vocab, dim], Role::Param, Fill::Normal(0.5)),
                Input::new([rows], Role::Index, Fill::Targets(vocab as i32)),
            ],
        )
    };
    vec![
        case(1, 1, 1),
        case(3, 5, 7),
        case(17, 8, 33),
        case(300, 3, 5),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::GradMode;

    /// The pass alone, over rows of every mix of vectors, by the definition in `f64`.
    #[test]
    fn the_pass_over_logits_is_the_definition() {
        let (factor, mut stream) = (0.25, crate::philox::Stream::new(2, 9));
        for vocab in [1, 15, 16, 17, 48, 64, 151] {
            let targets = [0, vocab as i32 - 1, -1, vocab as i32 / 2];
            let logits: Vec<f32> = (0..4 * vocab)
                .map(|_| 5.0 * stream.normal() as f32)
                .collect();
            for isa in crate::Isa::available() {
                let cpu = Cpu::with_isa(2, isa);
                let mut losses = [[f32::NAN; 4]; 2];
                let (mut kept, mut got) = (logits.clone(), logits.clone());
                softmax_cross_entropy(&cpu, &mut kept, &targets, &mut losses[0], vocab, None);
                let factor32 = Some(factor as f32);
                softmax_cross_entropy(&cpu, &mut got, &targets, &mut losses[1], vocab, factor32);
                assert!(kept == logits && losses[0] == losses[1], "{isa:?} {vocab}");
                for (row, target) in targets.iter().enumerate() {
                    let z = logits[row * vocab..][..vocab].iter();
                    let z: Vec<f64> = z.map(|z| f64::from(*z)).collect();
                    let sum: f64 = z.iter().map(|z| z.exp()).sum();
                    let Ok(target) = usize::try_from(*target) else {
                        assert_eq!(losses[0][row], 0.0);
                        assert!(got[row * vocab..][..vocab].iter().all(|d| *d == 0.0));
                        continue;
                    };
                    let loss = sum.ln() - z[target];
                    assert!((f64::from(losses[0][row]) - loss).abs() < 1e-5, "{isa:?}");
                    for (i, z) in z.iter().enumerate() {
                        let hot = if i == target { 1.0 } else { 0.0 };
                        let want = factor * (z.exp() / sum - hot);
                        let error = (f64::from(got[row * vocab + i]) - want).abs();
                        assert!(error < 1e-6, "{isa:?} {vocab} at ({row}, {i})");
                    }
                }
            }
        }
    }

    #[test]
    fn generic_checks() {
        for case in cases() {
            crate::check::all(&case, 3e-6, 3e-2);
            crate::gpu::check::all(&case, 3e-6, 3e-2);
        }
    }

    #[test]
    fn several_chunks_equal_the_formula() {
        // 300 rows are two chunks of at least 256: compare the loss with the formula in f64.
        let case = &cases()[3];
        let trial = case.trial(Precision::F64, 3);
        let (h, w, targets) = (&trial.inputs[0], &trial.inputs[1], &trial.inputs[2]);
        let mut want = 0.0;
        for row in 0..300 {
            if targets[row] < 0.0 {
                continue;
            }
            let z: Vec<f64> = (0..5)
                .map(|v| (0..3).map(|c| h[row * 3 + c] * w[v * 3 + c]).sum())
                .collect();
            want += z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[targets[row] as usize];
        }
        let got = trial.run(&Cpu::new(2), GradMode::Set).outputs[0][0];
        assert!(
            (got - want * trial.scalars.loss_scale).abs() < 1e-9,
            "{got} {want}"
        );
        assert!((trial.infer(&Cpu::new(2))[0][0] - got).abs() < 1e-9);
    }

    #[test]
    fn all_ignored_rows_give_zero_and_no_nan() {
        let case = &cases()[1];
        let mut trial = case.trial(Precision::F32, 3);
        trial.inputs[2].fill(-1.0);
        let got = trial.run(&Cpu::new(1), GradMode::Set);
        assert_eq!(got.outputs[0], [0.0]);
        assert!(
            got.d_inputs[0]
                .iter()
                .chain(&got.d_inputs[1])
                .all(|x| *x == 0.0)
        );
    }

    #[test]
    fn huge_logits_stay_finite() {
        let case = &cases()[2];
        let mut trial = case.trial(Precision::F32, 3);
        trial.inputs[0].iter_mut().for_each(|x| *x *= 1e4);
        let got = trial.run(&Cpu::new(1), GradMode::Set);
        assert!(got.outputs[0][0].is_finite() && got.d_inputs[0].iter().all(|x| x.is_finite()));
    }
}
