//! What a device reaches at best: the rate of copies within its memory, and of a large matrix product. By its own clock.

use super::blas::{Factor, Product};
use super::{Gpu, GpuError, View, gemm};
use crate::{Dtype, Precision};

/// Columns of the products that are tried, the first that fits.
const SIZES: [usize; 6] = [8192, 4096, 2048, 1024, 512, 256];
/// Bytes of a copy that no cache holds.
const COPIED: usize = 1 << 30;
/// Bytes of the pattern that matrices are filled with: not zeros, which are multiplied faster, as less switches.
const PATTERN: usize = 1 << 16;

/// Bytes read and written by copies within `memory` (bytes as `i32`), 10^9 a second; `calls` copies of half of it, at most a
/// GiB. What lay there is lost.
///
/// # Errors
/// If the device does not answer.
pub fn copy_gbps(gpu: &Gpu, memory: View, calls: usize) -> Result<f64, GpuError> {
    let bytes = (memory.len * memory.dtype.size() / 2).min(COPIED);
    let driver = gpu.driver();
    let (from, to) = (memory.ptr, memory.ptr + bytes as u64);
    let all = &mut || (0..calls).try_for_each(|_| driver.copy(to, from, bytes));
    let seconds = driver.time(all)?;
    Ok((2 * bytes * calls) as f64 / seconds.max(1e-12) / 1e9)
}

/// Bytes that a product of `size` columns takes, scratch among them.
pub fn product_bytes(precision: Precision, size: usize) -> usize {
    3 * size * size * precision.compute().size() + gemm::scratch_bytes(precision, size, size, size)
}

/// Columns of the largest product that fits into `bytes` bytes; none where that is too small to fill a device.
pub fn product_size(precision: Precision, bytes: usize) -> Option<usize> {
    let mut sizes = SIZES.into_iter();
    sizes.find(|size| product_bytes(precision, *size) <= bytes)
}

/// 10^12 operations a second of `calls` square products of `size` columns in `memory` (bytes as `i32`), which holds
/// [`product_bytes`]. What lay there is lost.
///
/// # Errors
/// If the device does not answer.
pub fn product_tflops(
    gpu: &Gpu,
    precision: Precision,
    mut memory: View,
    size: usize,
    calls: usize,
) -> Result<f64, GpuError> {
    let dtype = precision.compute();
    let [a, b, c] = [0; 3].map(|_| memory.carve(size * size, dtype));
    for factor in [a, b] {
        fill(gpu, factor)?;
    }
    let product = Product {
        m: size,
        n: size,
        k: size,
        a: Factor::new(a, size),
        b: Factor::t(b, size),
        c,
        c_stride: size,
        accumulate: false,
        bias: None,
    };
    let multiply = || gemm::product(gpu, precision, &product, memory);
    // The first compiles, and tries the library's algorithms.
    multiply()?;
    let all = &mut || (0..calls).try_for_each(|_| multiply());
    let seconds = gpu.driver().time(all)?;
    let flops = 2.0 * (size as f64).powi(3) * calls as f64;
    Ok(flops / seconds.max(1e-12) / 1e12)
}

/// Fills a matrix with numbers around a hundredth: the upper half of each word is that of an `f32`, or a `bf16`.
fn fill(gpu: &Gpu, to: View) -> Result<(), GpuError> {
    let bytes = to.len * to.dtype.size();
    let pattern: Vec<u8> = (0..PATTERN.min(bytes))
        .map(|i| match i % 2 {
            0 => (i * 7) as u8,
            _ => 0x3c + (i / 2 % 3) as u8,
        })
        .collect();
    let driver = gpu.driver();
    driver.upload(to.ptr, &pattern)?;
    let mut done = pattern.len();
    while done < bytes {
        let more = done.min(bytes - done);
        driver.copy(to.ptr + done as u64, to.ptr, more)?;
        done += more;
    }
    Ok(())
}

/// Both limits within `memory`, whose contents are lost: 10^9 bytes and 10^12 operations a second. None where the memory is
/// too small to say, or the device is emulated.
///
/// # Errors
/// If the device does not answer.
pub fn within(
    gpu: &Gpu,
    precision: Precision,
    memory: View,
    calls: usize,
) -> Result<Option<(f64, f64)>, GpuError> {
    let bytes = memory.len * Dtype::I32.size();
    let size = product_size(precision, bytes);
    let Some(size) = size.filter(|_| gpu.info().kind != super::Kind::Emulated) else {
        return Ok(None);
    };
    let copied = copy_gbps(gpu, memory, calls)?;
    let multiplied = product_tflops(gpu, precision, memory, size, calls)?;
    Ok(Some((copied, multiplied)))
}
