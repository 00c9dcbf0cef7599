//! AdamW on a GPU: one pass over the elements.

use super::AdamW;
use crate::gpu::{Gpu, GpuError, PHILOX, Unit};
use crate::update::Pass;
use crate::update::told::TOLD;

static UNIT: Unit = Unit {
    name: "update/adamw/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[PHILOX, TOLD],
};

/// The scalars as `struct AdamWScalars` lays them out; powers and quotients are made in `f64` as on the CPU.
pub(super) fn scalars(s: &AdamW) -> [u32; super::SCALARS_BYTES / 4] {
    let correct1 = 1.0 - s.beta1.powf(s.step as f64);
    let correct2 = 1.0 - s.beta2.powf(s.step as f64);
    let [beta1, rest1, beta2, rest2, keep, step, root, eps] = [
        s.beta1,
        1.0 - s.beta1,
        s.beta2,
        1.0 - s.beta2,
        1.0 - s.lr * s.weight_decay,
        s.lr / correct1,
        1.0 / correct2,
        s.eps,
    ]
    .map(|x| (x as f32).to_bits());
    let [low, high] = s.rounding.map_or([0, 0], |rounding| rounding.key);
    [beta1, rest1, beta2, rest2, keep, step, root, eps, low, high]
}

pub(super) fn update(gpu: &Gpu, rounds: bool, pass: &Pass<'_>) -> Result<(), GpuError> {
    assert_eq!(pass.views.len(), 4, "weights, gradients and two moments");
    let kernel = UNIT
        .kernel("adamw_update")
        .with("ROUNDS", i32::from(rounds));
    pass.launch(gpu, &kernel)
}
