//! # What
//! Sets each element to zero with probability p while training, and scales the others so that the mean stays (Srivastava et
//! al. 2014). Which elements is a pure function of seed, step, place in the stream of rows, and the operation's id: neither
//! threads, nor the micro-batch, nor recomputation change it.
//!
//! # Shapes
//! `x (B, ..)` any float type -> `y (B, ..)` of that type. B counts rows of the stream of data.
//!
//! # Forward
//! `y = x m / (1 - p)` with m 0 or 1; `y = x` when not training.
//!
//! Element e of row b has m = 0 where its word of Philox is below `p 2^32`. The key is made of seed, step and id (by Philox),
//! the counter of `row0 + b` and of the element: 64 elements take 16 counters, and word w of counter `16 g + l` belongs to
//! element `64 g + 16 w + l`, so that vectors need no shuffle.
//!
//! # Backward
//! `dx = dy m / (1 - p)`, with m made again. Works in place.
//!
//! # Kept for backward
//! Nothing.

mod cpu;
mod gpu;

use super::Entry;
use crate::check::{Case, Fill, Input, Role};
use crate::gpu::{GpuBackward, GpuError, GpuForward, Info};
use crate::op::{Backward, Forward, GradSharing, Keeps, Meta, Op, ShapeError};
use crate::{Cpu, Precision, with_elem};

/// How the generic tests and the index know it.
pub static ENTRY: Entry = Entry {
    name: "dropout",
    formula: "y = x m / (1 - p), m = 0 with probability p, else 1",
    cases,
};

/// Dropout. Input: `x`. Output: `y`.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability of zero, in `0..1`.
    pub p: f64,
    /// Which dropout of the model this is: each draws numbers of its own.
    pub id: u64,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn outputs(&self, inputs: &[Meta], _: Precision) -> Result<Vec<Meta>, ShapeError> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(ShapeError::new(format!(
                "dropout needs a probability from 0 to below 1, not {}",
                self.p
            )));
        }
        match inputs {
            [x] if x.dtype.is_float() && !x.shape.is_empty() => Ok(vec![x.clone()]),
            _ => Err(ShapeError::new(format!(
                "dropout takes one tensor of floats, not {inputs:?}"
            ))),
        }
    }

    fn keeps(&self) -> Keeps {
        Keeps::NOTHING
    }

    fn saved(&self, _: &[Meta], _: Precision) -> Vec<Meta> {
        Vec::new()
    }

    fn workspace(&self, _: &[Meta], _: &Cpu, _: bool) -> usize {
        0
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

    fn workspace_gpu(&self, _: &[Meta], _: &Info, _: bool) -> usize {
        0
    }

    fn forward_gpu(&self, cx: &GpuForward<'_>) -> Result<(), GpuError> {
        gpu::forward(self, cx)
    }

    fn backward_gpu(&self, cx: &GpuBackward<'_>) -> Result<(), GpuError> {
        gpu::backward(self, cx)
    }

    fn flops(&self, inputs: &[Meta]) -> u64 {
        inputs[0].len() as u64
    }

    fn backward_flops(&self, inputs: &[Meta]) -> u64 {
        2 * self.flops(inputs)
    }
}

fn cases() -> Vec<Case> {
    let case = |shape: &[usize], role, p| {
        let x = Input::new(shape, role, Fill::Normal(1.0));
        Case::new(Dropout { p, id: 3 }, vec![x])
    };
    vec![
        case(&[2, 3, 5], Role::Wide, 0.0),
        case(&[3, 5, 13], Role::Wide, 0.5),
        case(&[2, 64], Role::Compute, 0.1),
        case(&[5, 70, 66], Role::Compute, 0.2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Trial;
    use crate::op::GradMode;

    #[test]
    fn generic_checks() {
        for case in cases() {
            crate::check::all(&case, 2e-6, 2e-2);
            crate::gpu::check::all(&case, 2e-6, 2e-2);
        }
    }

    fn ones(batch: usize, p: f64, id: u64) -> Case {
        let x = Input::new([batch, 50, 41], Role::Wide, Fill::Normal(1.0));
        Case::new(Dropout { p, id }, vec![x])
    }

    fn mask(trial: &mut Trial<'_>, row0: u64, step: u64) -> Vec<f64> {
        trial.inputs[0].fill(1.0);
        (trial.scalars.row0, trial.scalars.step) = (row0, step);
        trial.run(&Cpu::new(2), GradMode::Set).outputs.remove(0)
    }

    #[test]
    fn rate_scale_and_evaluation() {
        let case = ones(8, 0.2, 1);
        let mut trial = case.trial(Precision::F32, 1);
        let y = mask(&mut trial, 0, 1);
        assert!(y.iter().all(|y| *y == 0.0 || *y == 1.25));
        // 16,400 draws: the rate's standard deviation is 0.003.
        let rate = y.iter().filter(|y| **y == 0.0).count() as f64 / y.len() as f64;
        assert!((rate - 0.2).abs() < 0.012, "{rate}");
        assert_eq!(trial.infer(&Cpu::new(2))[0], trial.inputs[0]);
    }

    #[test]
    fn a_mask_belongs_to_its_row_step_and_id() {
        let (large, small, other) = (ones(4, 0.5, 1), ones(2, 0.5, 1), ones(4, 0.5, 2));
        let whole = mask(&mut large.trial(Precision::F32, 1), 6, 1);
        let half = mask(&mut small.trial(Precision::F32, 1), 8, 1);
        assert_eq!(whole[2 * 2050..], half, "the micro-batch changes the mask");
        let same = |other: &[f64]| {
            let equal = whole.iter().zip(other).filter(|(a, b)| a == b).count();
            equal as f64 / whole.len() as f64
        };
        assert!((same(&mask(&mut large.trial(Precision::F32, 1), 6, 2)) - 0.5).abs() < 0.03);
        assert!((same(&mask(&mut other.trial(Precision::F32, 1), 6, 1)) - 0.5).abs() < 0.03);
        assert!((same(&mask(&mut large.trial(Precision::F32, 1), 7, 1)) - 0.5).abs() < 0.03);
    }

    #[cfg(unix)]
    #[test]
    fn a_gpu_draws_the_same_mask() {
        use crate::gpu::emulator::{Emulator, Options};
        use crate::gpu::{Gpu, GpuError};
        let emulator = match Emulator::new(Options::default(), None) {
            Ok(emulator) => emulator,
            Err(GpuError::Missing(why)) => {
                eprintln!("skipped: dropout on the emulated device: {why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let gpu = Gpu::new(Box::new(emulator), None);
        for row_len in [130, 77] {
            let x = Input::new([3, row_len], Role::Wide, Fill::Normal(1.0));
            let (p, id) = (0.3, (9 << 32) + 4);
            let case = Case::new(Dropout { p, id }, vec![x]);
            let mut trial = case.trial(Precision::F32, 1);
            // Each has a high word, and the row's low word overflows within the batch.
            trial.scalars.seed = (3 << 40) + 1;
            trial.scalars.step = (1 << 33) + 5;
            trial.scalars.row0 = (2 << 32) - 1;
            let want = trial.run(&Cpu::new(1), GradMode::Set);
            let got = crate::gpu::check::run(&trial, &gpu, GradMode::Set).unwrap();
            assert!(got == want, "rows of {row_len}");
        }
    }
}
