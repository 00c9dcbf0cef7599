//! How the work is cut on a device: chunks of rows, rows in shared memory or read twice.

use super::gpu::{Plan, backward, workspace};
use crate::gpu::check::emulated;
use crate::gpu::emulator::Options;
use crate::gpu::{Buffer, Gpu, GpuBackward, GpuGrad, LIVE_BYTES, View, live_bytes};
use crate::op::{GradMode, Meta, Scalars};
use crate::philox::Stream;
use crate::{Bf16, Dtype, Elem as _};

/// Rows of 151 quads, the last of them of three: three turns of the 64 threads.
const VOCAB: usize = 603;
const ROWS: usize = 5;
const DIM: usize = 3;
/// A plan that neither cuts the rows nor keeps them from shared memory.
const WHOLE: Plan = Plan {
    rows: 1024,
    shared: 47 << 10,
    threads: 64,
};

struct Outcome {
    loss: Vec<f32>,
    dh: Vec<f32>,
    dw: Vec<f32>,
}

fn upload(gpu: &Gpu, dtype: Dtype, values: &[f32]) -> (Buffer, View) {
    let flat = |x: &f32| match dtype {
        Dtype::F32 => x.to_le_bytes().to_vec(),
        Dtype::Bf16 => Bf16::put(*x).0.to_le_bytes().to_vec(),
        _ => (*x as i32).to_le_bytes().to_vec(),
    };
    let bytes: Vec<u8> = values.iter().flat_map(flat).collect();
    let memory = gpu.alloc(bytes.len()).unwrap();
    gpu.driver().upload(memory.address(), &bytes).unwrap();
    let view = memory.view(0, values.len(), dtype);
    (memory, view)
}

fn download(gpu: &Gpu, view: View) -> Vec<f32> {
    let size = view.dtype.size();
    let mut bytes = vec![0; view.len * size];
    gpu.driver().download(&mut bytes, view.ptr).unwrap();
    let value = |b: &[u8]| {
        if size == 2 {
            Bf16(u16::from_le_bytes([b[0], b[1]])).get()
        } else {
            f32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }
    };
    bytes.chunks_exact(size).map(value).collect()
}

/// A backward of fixed inputs; `wanted`: which gradients are asked for; `upstream`: whether anything depends on the loss.
fn run(gpu: &Gpu, plan: Plan, dtype: Dtype, wanted: [bool; 2], upstream: bool) -> Outcome {
    let mut stream = Stream::new(9, 0);
    let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
    let (_h, h) = upload(gpu, dtype, &normals(ROWS * DIM));
    let weights = normals(VOCAB * DIM);
    let (_w, mut w) = upload(gpu, Dtype::F32, &weights);
    let (_rounded, rounded) = upload(gpu, Dtype::Bf16, &weights);
    w.rounded = (dtype == Dtype::Bf16).then_some(rounded.ptr);
    let targets = [0.0, VOCAB as f32 - 1.0, -1.0, 512.0, 77.0];
    let (_targets, targets) = upload(gpu, Dtype::I32, &targets);
    let metas = [
        Meta::new([ROWS, DIM], dtype),
        Meta::new([VOCAB, DIM], Dtype::F32),
        Meta::new([ROWS], Dtype::I32),
    ];
    let scalars = Scalars {
        loss_scale: 0.25,
        ..Scalars::default()
    };
    let live = gpu.alloc(LIVE_BYTES).unwrap();
    gpu.driver()
        .upload(live.address(), &live_bytes(&scalars))
        .unwrap();
    let (_d, d) = upload(gpu, Dtype::F32, &[1.5]);
    let (_loss, loss) = upload(gpu, Dtype::F32, &[f32::NAN]);
    let (_dh, dh) = upload(gpu, dtype, &[f32::NAN; ROWS * DIM]);
    let (_dw, dw) = upload(gpu, Dtype::F32, &vec![f32::NAN; VOCAB * DIM]);
    let words = workspace(&metas, plan) / 4;
    let (_scratch, scratch) = upload(gpu, Dtype::F32, &vec![f32::NAN; words]);
    let grads = [dh, dw].map(|view| GpuGrad {
        view,
        mode: GradMode::Set,
    });
    let d_inputs = [0, 1].map(|i| wanted[i].then_some(grads[i]));
    let cx = GpuBackward {
        gpu,
        metas: &metas,
        inputs: &[Some(h), Some(w), Some(targets)],
        outputs: &[None],
        late_outputs: &[loss],
        d_outputs: &[upstream.then_some(d)],
        d_inputs: &[d_inputs[0], d_inputs[1], None],
        saved: &[],
        workspace: View::new(scratch.ptr, words, Dtype::I32),
        live: live.address(),
    };
    backward(&cx, plan).unwrap();
    let [loss, dh, dw] = [loss, dh, dw].map(|view| download(gpu, view));
    Outcome { loss, dh, dw }
}

fn device(warp: u32) -> Option<Gpu> {
    emulated(Options {
        warp,
        checked: true,
        order: 0,
    })
}

fn error(got: &[f32], want: &[f32]) -> f64 {
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
    crate::check::normalised_error(&wide(got), &wide(want))
}

#[test]
fn chunks_and_long_rows_change_nothing_but_rounding() {
    for (warp, dtype) in [(32, Dtype::Bf16), (64, Dtype::F32)] {
        let Some(gpu) = device(warp) else { return };
        let want = run(&gpu, WHOLE, dtype, [true; 2], true);
        assert!(want.loss[0].is_finite());
        assert_eq!(want.dh[2 * DIM..3 * DIM], [0.0; DIM], "an ignored row");
        let in_chunks = run(&gpu, Plan { rows: 2, ..WHOLE }, dtype, [true; 2], true);
        let twice = Plan {
            rows: 2,
            shared: 0,
            ..WHOLE
        };
        let twice = run(&gpu, twice, dtype, [true; 2], true);
        let limit = if dtype == Dtype::F32 { 3e-6 } else { 5e-3 };
        for got in [in_chunks, twice] {
            assert!(error(&got.loss, &want.loss) < 1e-6);
            assert!(error(&got.dh, &want.dh) < limit, "{dtype:?}");
            assert!(error(&got.dw, &want.dw) < limit, "{dtype:?}");
        }
    }
}

#[test]
fn gradients_that_are_not_wanted_are_left_alone_and_no_upstream_is_zero() {
    let Some(gpu) = device(32) else { return };
    let nothing = run(&gpu, WHOLE, Dtype::Bf16, [false; 2], true);
    assert!(nothing.loss[0].is_finite());
    assert!(nothing.dh.iter().chain(&nothing.dw).all(|x| x.is_nan()));
    for plan in [WHOLE, Plan { shared: 0, ..WHOLE }] {
        let zero = run(&gpu, plan, Dtype::F32, [true; 2], false);
        assert!(zero.loss[0].is_finite());
        assert!(zero.dh.iter().chain(&zero.dw).all(|x| *x == 0.0));
    }
}
