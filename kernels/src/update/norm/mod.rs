//! # What
//! The global norm of the gradient, `sqrt(sum g^2)`, for clipping (Pascanu et al. 2013, arXiv:1211.5063) and for the eye.
//!
//! # How
//! Each chunk of a fixed size is summed in `f32` lanes and its sum taken in `f64`; the chunks' sums are added in order, so
//! that the result is the same at any number of threads. A NaN or an infinity anywhere makes the result non-finite.

mod cpu;
mod gpu;

use crate::Cpu;
use crate::gpu::{Gpu, GpuError, View};

/// Sum of the squares of `x`.
pub fn sum_of_squares(cpu: &Cpu, x: &[f32]) -> f64 {
    cpu::sum_of_squares(cpu, x)
}

/// How many partial sums [`sum_of_squares_gpu`] makes of `len` elements.
pub fn partial_sums(len: usize) -> usize {
    len.div_ceil(gpu::CHUNK)
}

/// Sum of the squares of `x` (`f32`), left on the device in `out` (1, `f64`). `partial` has room for [`partial_sums`] values,
/// `f64`. Chunks and order depend on the length alone.
///
/// # Errors
/// If the device refuses.
pub fn sum_of_squares_gpu(gpu: &Gpu, x: View, partial: View, out: View) -> Result<(), GpuError> {
    gpu::sum_of_squares(gpu, x, partial, out)
}

/// What gradients are multiplied by so that their norm is at most `clip_norm` (0: no limit): `min(1, clip_norm / norm)`.
/// Exactly 1 where nothing is to be clipped, so that such gradients keep their bits.
pub fn clip_factor(norm: f64, clip_norm: f64) -> f64 {
    if clip_norm > 0.0 && norm > clip_norm {
        clip_norm / (norm + 1e-6)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::philox::Stream;

    #[test]
    fn equals_the_plain_sum_at_any_thread_count() {
        let mut stream = Stream::new(1, 1);
        for len in [0, 1, 17, 65_536, 200_003] {
            let x: Vec<f32> = (0..len).map(|_| stream.normal() as f32).collect();
            let want: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            for isa in Isa::available() {
                let got = sum_of_squares(&Cpu::with_isa(1, isa), &x);
                assert!(
                    (got - want).abs() <= 1e-5 * want,
                    "{isa:?} {len}: {got} {want}"
                );
                assert_eq!(
                    got.to_bits(),
                    sum_of_squares(&Cpu::with_isa(3, isa), &x).to_bits()
                );
            }
        }
    }

    #[test]
    fn shows_what_is_not_finite() {
        let mut x = vec![1.0f32; 100_000];
        x[77_777] = f32::NAN;
        assert!(sum_of_squares(&Cpu::new(2), &x).is_nan());
        x[77_777] = f32::INFINITY;
        assert!(sum_of_squares(&Cpu::new(2), &x).is_infinite());
    }

    #[test]
    fn clipping() {
        assert_eq!(clip_factor(0.9, 1.0), 1.0);
        assert_eq!(clip_factor(9.0, 0.0), 1.0);
        assert!((clip_factor(4.0, 1.0) * 4.0 - 1.0).abs() < 1e-6);
    }
}
