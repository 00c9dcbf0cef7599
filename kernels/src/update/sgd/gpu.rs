//! SGD on a GPU: one pass over the elements.

use super::{SCALARS_BYTES, Sgd};
use crate::gpu::basic::flat;
use crate::gpu::{Arg, Gpu, GpuError, Unit, View};
use crate::update::{Fours, launches, part};

static UNIT: Unit = Unit {
    name: "update/sgd/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

/// The scalars as `struct SgdScalars` lays them out.
pub(super) fn scalars_bytes(s: &Sgd) -> [u8; SCALARS_BYTES] {
    let floats = [s.grad_scale, s.weight_decay, s.momentum, -s.lr];
    let mut bytes = [0; SCALARS_BYTES];
    for (to, x) in bytes.chunks_exact_mut(4).zip(floats) {
        to.copy_from_slice(&(x as f32).to_le_bytes());
    }
    bytes[16..].copy_from_slice(&i32::from(s.nesterov).to_le_bytes());
    bytes
}

pub(super) fn update(gpu: &Gpu, scalars: u64, views: [View; 3]) -> Result<(), GpuError> {
    for range in launches(views[0].len) {
        let views = views.map(|view| part(view, &range));
        let [w, g, b] = views;
        let fours = Fours::of(&views);
        let args = [
            w.into(),
            g.into(),
            b.into(),
            Arg::Ptr(w.rounded.unwrap_or(0)),
            Arg::Ptr(scalars),
            w.len.into(),
            fours.head.into(),
            fours.count.into(),
        ];
        let threads = w.len.div_ceil(4).max(w.len - 4 * fours.count);
        gpu.launch(&UNIT.kernel("sgd_update"), flat(gpu, threads), &args)?;
    }
    Ok(())
}
