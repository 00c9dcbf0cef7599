//! Products in `f64`, for gradient checks: plain loops, in the order of the definition.

use super::{Epilogue, Mat, MatMut, put};
use crate::Cpu;

/// A pointer that tasks share.
struct Shared(*mut f64);
// SAFETY: each task writes a row of its own.
unsafe impl Sync for Shared {}
impl Shared {
    fn row(&self, i: usize, stride: usize) -> *mut f64 {
        self.0.wrapping_add(i * stride)
    }
}

/// As [`super::gemm`], in `f64`.
pub(super) fn gemm(cpu: &Cpu, a: Mat<'_>, b: Mat<'_>, c: MatMut<'_>, epilogue: Epilogue<'_>) {
    let element = |mat: Mat<'_>, data: &[f64], i: usize, j: usize| {
        data[if mat.transposed {
            j * mat.stride + i
        } else {
            i * mat.stride + j
        }]
    };
    let (a_data, b_data) = (a.data.as_slice::<f64>(), b.data.as_slice::<f64>());
    let bias = epilogue.bias.map(|bias| bias.as_slice::<f64>());
    let (rows, cols, stride) = (c.rows, c.cols, c.stride);
    let out = Shared(c.data.into_slice::<f64>().as_mut_ptr());
    cpu.pool.run(rows, |i| {
        for j in 0..cols {
            let mut sum = 0.0;
            for k in 0..a.cols {
                sum += element(a, a_data, i, k) * element(b, b_data, k, j);
            }
            let sum = sum + bias.map_or(0.0, |bias| bias[j]);
            // SAFETY: (i, j) lies in C, and this task alone writes row i.
            unsafe { put(out.row(i, stride).add(j), sum, epilogue.accumulate) };
        }
    });
}
