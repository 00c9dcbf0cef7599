//! SGD on a GPU: one pass over the elements.

use super::{SCALARS_BYTES, Sgd};
use crate::gpu::{Gpu, GpuError, Unit};
use crate::update::Pass;
use crate::update::told::TOLD;

static UNIT: Unit = Unit {
    name: "update/sgd/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[TOLD],
};

/// The scalars as `struct SgdScalars` lays them out.
pub(super) fn scalars_bytes(s: &Sgd) -> [u8; SCALARS_BYTES] {
    let floats = [s.weight_decay, s.momentum, -s.lr];
    let mut bytes = [0; SCALARS_BYTES];
    for (to, x) in bytes.chunks_exact_mut(4).zip(floats) {
        to.copy_from_slice(&(x as f32).to_le_bytes());
    }
    bytes[12..].copy_from_slice(&i32::from(s.nesterov).to_le_bytes());
    bytes
}

pub(super) fn update(gpu: &Gpu, pass: &Pass<'_>) -> Result<(), GpuError> {
    assert_eq!(pass.views.len(), 3, "weights, gradients and momentum");
    pass.launch(gpu, &UNIT.kernel("sgd_update"))
}
