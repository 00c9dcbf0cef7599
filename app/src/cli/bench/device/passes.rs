//! What reads and writes flat memory once: the update of the weights, the norm of the gradient, the classifier's pass over its
//! logits. All of it should run as fast as the device copies.

use super::cases::{CALLS, Measured};
use kernels::gpu::{Buffer, Gpu, GpuError};
use kernels::ops::classifier;
use kernels::update::told::{TOLD_BYTES, Told};
use kernels::update::{Pass, adamw, norm};
use kernels::{Bf16, Dtype};

/// Parameters of GPT-2 124M.
const PARAMETERS: usize = 124_475_904;

/// All of them.
pub(super) fn measure(gpu: &Gpu, quick: bool, vocab: usize) -> Result<Vec<Measured>, GpuError> {
    let (count, most, calls) = if quick {
        (1003, 24, 1)
    } else {
        (PARAMETERS, usize::MAX, CALLS)
    };
    let pass = classifier::time_pass(gpu, vocab, most, calls)?;
    Ok(vec![
        update(gpu, count, calls)?,
        gradient_norm(gpu, count, calls)?,
        Measured {
            name: "softmax",
            shape: format!("{}x{vocab}", pass.rows),
            phase: "in place",
            seconds: pass.seconds,
            flops: 0,
            bytes: (pass.rows * vocab * (size_of::<f32>() + size_of::<Bf16>())) as u64,
        },
    ])
}

/// AdamW with the rounded copy of the weights that a bf16 run keeps: weights, gradients and two moments are read, all but the
/// gradients written.
fn update(gpu: &Gpu, count: usize, calls: usize) -> Result<Measured, GpuError> {
    let arrays: Vec<Buffer> = (0..4)
        .map(|_| filled(gpu, 4 * count))
        .collect::<Result<_, _>>()?;
    let rounded = gpu.alloc(2 * count)?;
    let scalars = adamw::AdamW {
        lr: 1e-6,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        step: 1,
        grad_scale: 1.0,
        rounding: None,
    };
    let set = gpu.alloc(adamw::SCALARS_BYTES)?;
    gpu.driver()
        .upload(set.address(), &scalars.scalars_bytes())?;
    let told = gpu.alloc(TOLD_BYTES)?;
    gpu.driver().upload(told.address(), &Told::order(1.0))?;
    let [mut w, g, m, v] = [0, 1, 2, 3].map(|i: usize| arrays[i].view(0, count, Dtype::F32));
    w.rounded = Some(rounded.address());
    let pass = Pass {
        views: &[w, g, m, v],
        first: 0,
        scalars: set.address(),
        told: told.address(),
    };
    let seconds = mean(gpu, calls, &|| adamw::update_gpu(gpu, false, &pass))?;
    Ok(Measured {
        name: "adamw",
        shape: count.to_string(),
        phase: "update",
        seconds,
        flops: 0,
        bytes: (7 * size_of::<f32>() + size_of::<Bf16>()) as u64 * count as u64,
    })
}

/// The sum of squares that clipping needs: gradients are read.
fn gradient_norm(gpu: &Gpu, count: usize, calls: usize) -> Result<Measured, GpuError> {
    let gradients = filled(gpu, 4 * count)?;
    let sums = gpu.alloc(8 * norm::partial_sums(count))?;
    let told = gpu.alloc(8)?;
    let x = gradients.view(0, count, Dtype::F32);
    let partial = sums.view(0, sums.bytes() / 8, Dtype::F64);
    let out = told.view(0, 1, Dtype::F64);
    let seconds = mean(gpu, calls, &|| {
        norm::sum_of_squares_gpu(gpu, x, partial, out)
    })?;
    Ok(Measured {
        name: "norm",
        shape: count.to_string(),
        phase: "update",
        seconds,
        flops: 0,
        bytes: (size_of::<f32>() * count) as u64,
    })
}

/// Memory of numbers that stay numbers: bytes of 0x3c are floats of about a hundredth.
fn filled(gpu: &Gpu, bytes: usize) -> Result<Buffer, GpuError> {
    let memory = gpu.alloc(bytes)?;
    gpu.driver().fill(memory.address(), 0x3c, bytes)?;
    Ok(memory)
}

/// Seconds of one call by the device's clock, behind a first that compiles what it needs.
fn mean(gpu: &Gpu, calls: usize, work: &dyn Fn() -> Result<(), GpuError>) -> Result<f64, GpuError> {
    work()?;
    let seconds = gpu
        .driver()
        .time(&mut || (0..calls).try_for_each(|_| work()))?;
    Ok(seconds / calls as f64)
}
