//! AdamW on a GPU: one pass over the elements.

use super::AdamW;
use crate::gpu::basic::flat;
use crate::gpu::{Arg, Gpu, GpuError, Unit, View};
use crate::update::{Fours, launches, part};

static UNIT: Unit = Unit {
    name: "update/adamw/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[],
};

/// The scalars as `struct AdamWScalars` lays them out; powers and quotients are made in `f64` as on the CPU.
pub(super) fn scalars(s: &AdamW) -> [f32; super::SCALARS_BYTES / 4] {
    let correct1 = 1.0 - s.beta1.powf(s.step as f64);
    let correct2 = 1.0 - s.beta2.powf(s.step as f64);
    [
        s.beta1,
        1.0 - s.beta1,
        s.beta2,
        1.0 - s.beta2,
        1.0 - s.lr * s.weight_decay,
        s.lr / correct1,
        1.0 / correct2,
        s.eps,
        s.grad_scale,
    ]
    .map(|x| x as f32)
}

pub(super) fn update(gpu: &Gpu, scalars: u64, views: [View; 4]) -> Result<(), GpuError> {
    for range in launches(views[0].len) {
        let views = views.map(|view| part(view, &range));
        let [w, g, m, v] = views;
        let fours = Fours::of(&views);
        let args = [
            w.into(),
            g.into(),
            m.into(),
            v.into(),
            Arg::Ptr(w.rounded.unwrap_or(0)),
            Arg::Ptr(scalars),
            w.len.into(),
            fours.head.into(),
            fours.count.into(),
        ];
        let threads = w.len.div_ceil(4).max(w.len - 4 * fours.count);
        gpu.launch(&UNIT.kernel("adamw_update"), flat(gpu, threads), &args)?;
    }
    Ok(())
}
