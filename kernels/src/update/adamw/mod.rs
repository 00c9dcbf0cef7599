//! # What
//! AdamW: Adam with decoupled weight decay (Kingma and Ba 2014, arXiv:1412.6980; Loshchilov and Hutter 2017,
//! arXiv:1711.05101).
//!
//! # Formula
//! With `g` the gradient times [`AdamW::grad_scale`] (clipping), at step `t` from 1:
//!
//! ```text
//! m = beta1 m + (1 - beta1) g            v = beta2 v + (1 - beta2) g^2
//! w = w (1 - lr weight_decay) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```
//!
//! The bias corrections are made in `f64` and folded into the step size and the divisor. Everything is read and written
//! once: 28 bytes a parameter (on a GPU 30 where a `bf16` copy of the weights is kept, which the same pass writes).
//!
//! With [`AdamW::rounding`] the new weights are rounded to `bf16` at random ([`Rounding`]) and kept so: training without
//! `f32` master weights.

mod cpu;
mod gpu;

use super::Pass;
use super::rounding::Rounding;
use crate::Cpu;
use crate::gpu::{Gpu, GpuError};

/// The scalars of one update of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay of the weights.
    pub weight_decay: f64,
    /// Step, from 1.
    pub step: u64,
    /// What gradients are multiplied by: the clip factor. A device takes its own ([`super::told`]).
    pub grad_scale: f64,
    /// How new weights are rounded to `bf16`; `None` keeps them in `f32`.
    pub rounding: Option<Rounding>,
}

/// One update. All slices have the same length; `m` and `v` start as zeros.
pub fn update(cpu: &Cpu, scalars: &AdamW, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    cpu::update(cpu, scalars, w, g, m, v);
}

/// Bytes of the scalars on a device.
pub const SCALARS_BYTES: usize = 40;

impl AdamW {
    /// The scalars as [`update_gpu`] reads them, to be uploaded before it.
    pub fn scalars_bytes(&self) -> [u8; SCALARS_BYTES] {
        let mut bytes = [0; SCALARS_BYTES];
        for (to, x) in bytes.chunks_exact_mut(4).zip(gpu::scalars(self)) {
            to.copy_from_slice(&x.to_le_bytes());
        }
        bytes
    }
}

/// One update on a GPU of weights, gradients, `m` and `v`, which start as zeros. The scalars are those of
/// [`AdamW::scalars_bytes`]; `rounds` says whether they have a [`AdamW::rounding`].
///
/// # Errors
/// If the device refuses.
pub fn update_gpu(gpu: &Gpu, rounds: bool, pass: &Pass<'_>) -> Result<(), GpuError> {
    gpu::update(gpu, rounds, pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Stream;
    use crate::{Bf16, Elem as _, Isa};

    const BASE: AdamW = AdamW {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        step: 1,
        grad_scale: 1.0,
        rounding: None,
    };

    /// Ten steps by the formula in `f64`.
    #[test]
    fn follows_the_formula_on_every_instruction_set() {
        let n = 70_001;
        for isa in Isa::available() {
            let mut stream = Stream::new(2, 0);
            let mut w: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
            let mut want: Vec<[f64; 3]> = w.iter().map(|w| [f64::from(*w), 0.0, 0.0]).collect();
            let (mut m, mut v) = (vec![0f32; n], vec![0f32; n]);
            for step in 1..=10 {
                let g: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
                let s = AdamW {
                    step,
                    grad_scale: 0.5,
                    ..BASE
                };
                update(&Cpu::with_isa(2, isa), &s, &mut w, &g, &mut m, &mut v);
                for (x, g) in want.iter_mut().zip(&g) {
                    let g = f64::from(*g) * 0.5;
                    x[1] = 0.9 * x[1] + 0.1 * g;
                    x[2] = 0.95 * x[2] + 0.05 * g * g;
                    let (mh, vh) = (
                        x[1] / (1.0 - 0.9f64.powi(step as i32)),
                        x[2] / (1.0 - 0.95f64.powi(step as i32)),
                    );
                    x[0] = x[0] * (1.0 - 1e-2 * 0.1) - 1e-2 * mh / (vh.sqrt() + 1e-8);
                }
            }
            let worst = w
                .iter()
                .zip(&want)
                .map(|(a, b)| (f64::from(*a) - b[0]).abs())
                .fold(0.0, f64::max);
            assert!(worst < 3e-6, "{isa:?}: {worst:e}");
        }
    }

    #[test]
    fn first_step_moves_by_lr_and_no_gradient_only_decays() {
        let cpu = Cpu::new(1);
        let (mut w, mut m, mut v) = (vec![1.0f32; 3], vec![0.0; 3], vec![0.0; 3]);
        let s = AdamW {
            weight_decay: 0.0,
            ..BASE
        };
        update(&cpu, &s, &mut w, &[0.3, -7.0, 1e-3], &mut m, &mut v);
        assert!(
            w.iter()
                .zip([0.99, 1.01, 0.99])
                .all(|(w, want)| (w - want).abs() < 1e-5),
            "{w:?}"
        );
        let (mut w, mut m, mut v) = (vec![2.0f32; 3], vec![0.0; 3], vec![0.0; 3]);
        for step in 1..=5 {
            update(
                &cpu,
                &AdamW { step, ..BASE },
                &mut w,
                &[0.0; 3],
                &mut m,
                &mut v,
            );
        }
        assert!((f64::from(w[0]) - 2.0 * (1.0f64 - 1e-3).powi(5)).abs() < 1e-6);
    }

    /// A quadratic around 1.2 from 1.0, by updates below half a step of `bf16`: the mean of many weights that are rounded at
    /// random goes where `f32` goes; rounded to the nearest none moves.
    #[test]
    fn rounded_at_random_small_updates_are_not_lost() {
        let n = 4096;
        let cpu = Cpu::new(1);
        let run = |round: &dyn Fn(u64, &mut AdamW, &mut [f32])| {
            let (mut w, mut m, mut v) = (vec![1.0f32; n], vec![0.0; n], vec![0.0; n]);
            for step in 1..=200 {
                let g: Vec<f32> = w.iter().map(|w| w - 1.2).collect();
                let mut s = AdamW {
                    lr: 5e-4,
                    weight_decay: 0.0,
                    step,
                    ..BASE
                };
                round(step, &mut s, &mut []);
                update(&cpu, &s, &mut w, &g, &mut m, &mut v);
                round(step, &mut s, &mut w);
            }
            w.iter().map(|w| f64::from(*w)).sum::<f64>() / n as f64
        };
        let exact = run(&|_, _, _| ());
        let random = run(&|step, s, _| s.rounding = Some(Rounding::new(3, step, 0)));
        let nearest = run(&|_, _, w| w.iter_mut().for_each(|w| *w = Bf16::put(*w).get()));
        assert!(exact > 1.08, "{exact}");
        assert!((random - exact).abs() < 2e-3, "{random}, not {exact}");
        assert_eq!(nearest, 1.0);
    }

    #[test]
    fn threads_change_no_bit() {
        let mut stream = Stream::new(2, 0);
        let n = 200_000;
        let w: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
        let g: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
        let run = |threads| {
            let (mut w, mut m, mut v) = (w.clone(), vec![0.0; n], vec![0.0; n]);
            update(&Cpu::new(threads), &BASE, &mut w, &g, &mut m, &mut v);
            (w, m, v)
        };
        assert!(run(1) == run(3));
    }
}
