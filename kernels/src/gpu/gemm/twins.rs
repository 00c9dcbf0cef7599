//! Kernels of one architecture alone beside their portable twins, on a device that runs both: for checks there.

use super::hopper::{self, Hopper};
use super::in_tiles;
use super::plan::{MATRIX, Plan};
use crate::check::normalised_error;
use crate::gpu::blas::{Factor, Product};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::philox::Stream;
use crate::{Bf16, Dtype, Elem as _, Precision};

/// The largest normalised difference between what `hopper.cu` and what the portable kernel add to C, over all layouts and
/// tiles and these sizes (rows, columns, K), with the sum over K whole and in two parts. `None` where the device has no such
/// kernel.
///
/// # Errors
/// If a kernel does not compile, or the device refuses.
pub fn compare(gpu: &Gpu, sizes: &[[usize; 3]]) -> Result<Option<f64>, GpuError> {
    if !gpu.info().is_hopper() {
        return Ok(None);
    }
    let mut worst: f64 = 0.0;
    for size in sizes {
        for transposed in [[false, true], [false, false], [true, false], [true, true]] {
            worst = worst.max(one(gpu, *size, transposed)?);
        }
    }
    Ok(Some(worst))
}

/// A factor of random numbers, in lines that start at 16 bytes.
fn factor(
    gpu: &Gpu,
    [lines, length]: [usize; 2],
    transposed: bool,
    seed: u64,
) -> Result<(Buffer, Factor), GpuError> {
    let stride = length.next_multiple_of(8);
    let mut stream = Stream::new(seed, 5);
    let bytes: Vec<u8> = (0..lines * stride)
        .flat_map(|_| {
            let rounded = Bf16::put(stream.normal() as f32).get();
            ((rounded.to_bits() >> 16) as u16).to_le_bytes()
        })
        .collect();
    let memory = gpu.alloc(bytes.len())?;
    gpu.driver().upload(memory.address(), &bytes)?;
    let factor = Factor {
        view: memory.view(0, lines * stride, Dtype::Bf16),
        stride,
        transposed,
    };
    Ok((memory, factor))
}

fn one(gpu: &Gpu, [m, n, k]: [usize; 3], [a_t, b_t]: [bool; 2]) -> Result<f64, GpuError> {
    let size = |rows, cols, t| if t { [cols, rows] } else { [rows, cols] };
    let (_a, a) = factor(gpu, size(m, k, a_t), a_t, 1)?;
    let (_b, b) = factor(gpu, size(k, n, b_t), b_t, 2)?;
    let c = gpu.alloc(4 * m * n)?;
    let product = Product {
        m,
        n,
        k,
        a,
        b,
        c: c.view(0, m * n, Dtype::F32),
        c_stride: n,
        accumulate: true,
        bias: None,
    };
    let scratch = gpu.alloc((2 * 4 * m * n).next_multiple_of(crate::arena::ALIGN))?;
    let scratch = scratch.view(0, scratch.bytes() / 4, Dtype::I32);
    let made = |work: &dyn Fn() -> Result<(), GpuError>| -> Result<Vec<f64>, GpuError> {
        gpu.driver().fill(c.address(), 0, c.bytes())?;
        work()?;
        let mut bytes = vec![0; c.bytes()];
        gpu.driver().download(&mut bytes, c.address())?;
        let word = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(bytes.chunks_exact(4).map(word).collect())
    };
    let portable = Plan::with(MATRIX[2], 1, k);
    let want = made(&|| in_tiles(gpu, Precision::Bf16, portable, &product, scratch))?;
    let mut worst: f64 = 0.0;
    for tile in hopper::TILES {
        for parts in [1, 2] {
            let hopper = Hopper::with(hopper::cut(tile, parts, k), &product);
            let hopper = hopper.expect("lines that start at 16 bytes");
            let got = made(&|| hopper.run(gpu, &product, scratch))?;
            worst = worst.max(normalised_error(&got, &want));
        }
    }
    Ok(worst)
}
