//! Passes over flat tensors that belong to no operation: gradients that go through unchanged, rounding of weights.

use super::{Arg, Gpu, GpuError, GpuGrad, Grid, Unit, View};
use crate::op::GradMode;

static UNIT: Unit = Unit {
    name: "gpu/basic/basic.cu",
    text: include_str!("basic.cu"),
    pieces: &[],
};

/// How a kernel is told to deliver a gradient: `SET` or `ADD` of the prelude. In place is an operation's own matter.
pub fn mode_arg(mode: GradMode) -> Arg {
    Arg::I32(match mode {
        GradMode::Set => 0,
        GradMode::Add => 1,
        GradMode::InPlace => panic!("a gradient in place is made where it is, not delivered"),
    })
}

/// Delivers the gradient `from`, rounded where the receiver is of the narrower type.
///
/// # Errors
/// If the device refuses.
pub fn deliver(gpu: &Gpu, from: View, to: GpuGrad) -> Result<(), GpuError> {
    assert_eq!(from.len, to.view.len, "a gradient of another size");
    let kernel = UNIT
        .kernel("deliver_all")
        .with_type("X", from.dtype)
        .with_type("Y", to.view.dtype);
    let args = [
        to.view.into(),
        from.into(),
        from.len.into(),
        mode_arg(to.mode),
    ];
    gpu.launch(&kernel, flat(gpu, from.len), &args)
}

/// Writes `from` into `to`, rounded where that is the narrower type.
///
/// # Errors
/// If the device refuses.
pub fn convert(gpu: &Gpu, from: View, to: View) -> Result<(), GpuError> {
    let to = GpuGrad {
        view: to,
        mode: GradMode::Set,
    };
    deliver(gpu, from, to)
}

/// Sets every element of `to` to `value`.
///
/// # Errors
/// If the device refuses.
pub fn set(gpu: &Gpu, to: View, value: f64) -> Result<(), GpuError> {
    let kernel = UNIT
        .kernel("set_all")
        .with_type("X", to.dtype)
        .with_type("Y", to.dtype);
    let args = [to.into(), value.into(), to.len.into()];
    gpu.launch(&kernel, flat(gpu, to.len), &args)
}

/// Blocks of 256 threads that walk over `n` elements with the stride of the grid: enough to fill the device, no more.
pub fn flat(gpu: &Gpu, n: usize) -> Grid {
    let most = gpu.info().multiprocessors as usize * 16;
    Grid::new(n.div_ceil(256).min(most), 256)
}

/// Elements that a kernel may take at once ([`super::PACK`]): 8 where every view and every row of `cols` elements starts at
/// a multiple of 16 bytes, else 1. For flat tensors `cols` is 8: kernels take what is left over one by one.
pub fn pack_width(views: &[View], cols: usize) -> usize {
    let aligned = views.iter().all(|view| view.ptr.is_multiple_of(16));
    if aligned && cols.is_multiple_of(8) {
        8
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    #[test]
    fn packs_need_aligned_views_and_rows() {
        let view = |at| View::new(256, 64, Dtype::Bf16).from(at);
        assert_eq!(pack_width(&[view(0), view(8)], 16), 8);
        assert_eq!(pack_width(&[view(0), view(4)], 16), 1);
        assert_eq!(pack_width(&[view(0)], 12), 1);
    }
}
