//! # What
//! Stochastic gradient descent with momentum (Robbins and Monro 1951; Polyak 1964), in PyTorch's form.
//!
//! # Formula
//! With `g` the gradient times [`Sgd::grad_scale`] plus `weight_decay w`: `b = momentum b + g` (b starts as zeros, so the
//! first step has `b = g`), then `w = w - lr b`, or with Nesterov's form `w = w - lr (g + momentum b)`.

mod cpu;
mod gpu;

use super::Pass;
use crate::Cpu;
use crate::gpu::{Gpu, GpuError};

/// The scalars of one update of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the momentum; 0 is plain gradient descent.
    pub momentum: f64,
    /// Whether to look ahead (Sutskever et al. 2013).
    pub nesterov: bool,
    /// Added to the gradient, times the weight.
    pub weight_decay: f64,
    /// What gradients are multiplied by: the clip factor. A device takes its own ([`super::told`]).
    pub grad_scale: f64,
}

/// One update. All slices have the same length; `b` starts as zeros.
pub fn update(cpu: &Cpu, scalars: &Sgd, w: &mut [f32], g: &[f32], b: &mut [f32]) {
    cpu::update(cpu, scalars, w, g, b);
}

/// Bytes of the scalars on a device.
pub const SCALARS_BYTES: usize = 16;

impl Sgd {
    /// The scalars as [`update_gpu`] reads them, to be uploaded before it.
    pub fn scalars_bytes(&self) -> [u8; SCALARS_BYTES] {
        gpu::scalars_bytes(self)
    }
}

/// One update on a GPU of weights, gradients and momentum, which starts as zeros. The scalars are those of
/// [`Sgd::scalars_bytes`].
///
/// # Errors
/// If the device refuses.
pub fn update_gpu(gpu: &Gpu, pass: &Pass<'_>) -> Result<(), GpuError> {
    gpu::update(gpu, pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn follows_the_formula() {
        for isa in Isa::available() {
            for nesterov in [false, true] {
                let s = Sgd {
                    lr: 0.1,
                    momentum: 0.9,
                    nesterov,
                    weight_decay: 0.01,
                    grad_scale: 2.0,
                };
                let (mut w, mut b) = (vec![1.0f32; 21], vec![0.0f32; 21]);
                let (mut ww, mut bb) = (1.0f64, 0.0f64);
                for step in 0..5 {
                    let raw = 0.3 - 0.1 * f64::from(step);
                    update(
                        &Cpu::with_isa(1, isa),
                        &s,
                        &mut w,
                        &[raw as f32; 21],
                        &mut b,
                    );
                    let g = 2.0 * raw + 0.01 * ww;
                    bb = 0.9 * bb + g;
                    ww -= 0.1 * if nesterov { g + 0.9 * bb } else { bb };
                }
                assert!(
                    w.iter().all(|w| (f64::from(*w) - ww).abs() < 1e-6),
                    "{isa:?} {nesterov} {w:?} {ww}"
                );
            }
        }
    }
}
