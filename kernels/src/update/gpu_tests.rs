//! The updates on the emulated device against the CPU.

use super::Pass;
use super::adamw::{self, AdamW};
use super::norm::{clip_factor, partial_sums, sum_of_squares, sum_of_squares_gpu};
use super::rounding::Rounding;
use super::sgd::{self, Sgd};
use super::told::{BOUNDS_BYTES, Bounds, TOLD_BYTES, Told, judge_gpu, keep_loss_gpu};
use crate::gpu::check::emulated;
use crate::gpu::emulator::{Emulator, Options};
use crate::gpu::{Buffer, Gpu, GpuError, View};
use crate::philox::Stream;
use crate::{Bf16, Cpu, Dtype, Elem as _, Isa};

/// What lies before and after a tensor.
const FENCE: f32 = 12345.5;

/// `values` on the device, `offset` elements behind an aligned address, with a fence on both sides.
struct Tensor {
    memory: Buffer,
    view: View,
}

impl Tensor {
    fn new(gpu: &Gpu, offset: usize, values: &[f32]) -> Self {
        let mut all = vec![FENCE; offset];
        all.extend(values);
        all.extend([FENCE; 4]);
        let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
        let memory = gpu.alloc(bytes.len()).unwrap();
        gpu.driver().upload(memory.address(), &bytes).unwrap();
        let view = memory.view(4 * offset, values.len(), Dtype::F32);
        Self { memory, view }
    }

    fn values(&self, gpu: &Gpu) -> Vec<f32> {
        let mut bytes = vec![0; self.memory.bytes()];
        gpu.driver()
            .download(&mut bytes, self.memory.address())
            .unwrap();
        let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let all: Vec<f32> = bytes.chunks_exact(4).map(word).collect();
        let start = all.len() - 4 - self.view.len;
        assert!(
            all[..start].iter().all(|x| *x == FENCE),
            "written before the start"
        );
        assert_eq!(all[start + self.view.len..], [FENCE; 4]);
        all[start..start + self.view.len].to_vec()
    }
}

fn device(warp: u32, order: u32) -> Option<Gpu> {
    emulated(Options {
        warp,
        checked: true,
        order,
    })
}

/// A device of its own: a capture would take the launches of other tests too.
fn device_alone(warp: u32) -> Option<Gpu> {
    let options = Options {
        warp,
        checked: true,
        order: 0,
    };
    match Emulator::new(options, None) {
        Ok(emulator) => Some(Gpu::new(Box::new(emulator), None)),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: updates on the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, 7);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// Equal bits, or both not a number. Where the CPU has no fused multiply-add, close.
fn assert_same(got: &[f32], want: &[f32], isa: Isa, what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        let close = isa == Isa::Scalar && (a - b).abs() <= 1e-6 * b.abs().max(1e-3);
        assert!(
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || close,
            "{what}, element {i} of {}: {a:e}, not {b:e}",
            want.len()
        );
    }
}

/// Lengths, and where each buffer starts: all aligned, all by the same number of elements off, or each by another.
const SHAPES: [(usize, [usize; 4]); 6] = [
    (1, [0; 4]),
    (3, [2; 4]),
    (7, [1; 4]),
    (1030, [0; 4]),
    (1030, [3; 4]),
    (517, [0, 1, 2, 3]),
];

/// Says what the update goes by.
fn order(gpu: &Gpu, told: &Buffer, scale: f64) {
    let order = Told::order(scale);
    gpu.driver().upload(told.address(), &order).unwrap();
}

#[test]
fn adamw_is_the_cpus_to_the_bit() {
    let isa = Isa::choose(None).unwrap();
    let cpu = Cpu::with_isa(1, isa);
    for (warp, rounds) in [(32, false), (32, true), (64, false), (64, true)] {
        let Some(gpu) = device_alone(warp) else {
            return;
        };
        // What the rounding makes of a difference in the last bit is not close.
        if rounds && isa == Isa::Scalar {
            continue;
        }
        for (n, offsets) in SHAPES {
            let first = 4 * n;
            let mut host = [normals(1, n), vec![0.0; n], vec![0.0; n]];
            let mut g = normals(2, n);
            g[n / 2] = [f32::INFINITY, f32::NAN, 0.0][n % 3];
            let [w, m, v] =
                [0, 2, 3].map(|i| Tensor::new(&gpu, offsets[i], &host[i.saturating_sub(1)]));
            let g_device = Tensor::new(&gpu, offsets[1], &g);
            let rounded = gpu.alloc(2 * (n + 4)).unwrap();
            let w_view = View {
                rounded: Some(rounded.address() + 2 * offsets[0] as u64),
                ..w.view
            };
            let scalars = gpu.alloc(adamw::SCALARS_BYTES).unwrap();
            let told = gpu.alloc(TOLD_BYTES).unwrap();
            let pass = Pass {
                views: &[w_view, g_device.view, m.view, v.view],
                first,
                scalars: scalars.address(),
                told: told.address(),
            };
            let graph = gpu
                .driver()
                .capture(&mut || adamw::update_gpu(&gpu, rounds, &pass))
                .unwrap();
            for step in 1..=3 {
                let s = AdamW {
                    lr: 1e-2 / step as f64,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    step,
                    grad_scale: 0.3,
                    rounding: rounds.then(|| Rounding::new(9, step, first)),
                };
                order(&gpu, &told, s.grad_scale);
                let [hw, hm, hv] = &mut host;
                adamw::update(&cpu, &s, hw, &g, hm, hv);
                gpu.driver()
                    .upload(scalars.address(), &s.scalars_bytes())
                    .unwrap();
                gpu.driver().replay(graph).unwrap();
            }
            for (tensor, (want, name)) in [&w, &m, &v]
                .into_iter()
                .zip(host.iter().zip(["w", "m", "v"]))
            {
                assert_same(&tensor.values(&gpu), want, isa, name);
            }
            let mut bytes = vec![0; 2 * n];
            gpu.driver()
                .download(&mut bytes, w_view.rounded.unwrap())
                .unwrap();
            let copy: Vec<u16> = bytes
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]))
                .collect();
            let want: Vec<u16> = w.values(&gpu).iter().map(|w| Bf16::put(*w).0).collect();
            assert_eq!(copy, want, "rounded weights");
        }
    }
}

#[test]
fn sgd_is_the_cpus_to_the_bit() {
    let isa = Isa::choose(None).unwrap();
    let cpu = Cpu::with_isa(1, isa);
    for (warp, nesterov) in [(32, false), (64, true)] {
        let Some(gpu) = device(warp, 0) else { return };
        for (n, offsets) in SHAPES {
            let (mut hw, mut hb, g) = (normals(3, n), vec![0.0; n], normals(4, n));
            let w = Tensor::new(&gpu, offsets[0], &hw);
            let g_device = Tensor::new(&gpu, offsets[1], &g);
            let b = Tensor::new(&gpu, offsets[2], &hb);
            let scalars = gpu.alloc(sgd::SCALARS_BYTES).unwrap();
            let told = gpu.alloc(TOLD_BYTES).unwrap();
            for step in 1..=3 {
                let s = Sgd {
                    lr: 0.1 / f64::from(step),
                    momentum: 0.9,
                    nesterov,
                    weight_decay: 0.01,
                    grad_scale: 2.0,
                };
                sgd::update(&cpu, &s, &mut hw, &g, &mut hb);
                gpu.driver()
                    .upload(scalars.address(), &s.scalars_bytes())
                    .unwrap();
                order(&gpu, &told, s.grad_scale);
                let pass = Pass {
                    views: &[w.view, g_device.view, b.view],
                    first: 0,
                    scalars: scalars.address(),
                    told: told.address(),
                };
                sgd::update_gpu(&gpu, &pass).unwrap();
            }
            assert_same(&w.values(&gpu), &hw, isa, "w");
            assert_same(&b.values(&gpu), &hb, isa, "b");
        }
    }
}

fn norm(gpu: &Gpu, offset: usize, values: &[f32]) -> f64 {
    let x = Tensor::new(gpu, offset, values);
    let sums = partial_sums(values.len());
    let memory = gpu.alloc(8 * (sums + 1)).unwrap();
    let out = memory.view(8 * sums, 1, Dtype::F64);
    sum_of_squares_gpu(gpu, x.view, memory.view(0, sums, Dtype::F64), out).unwrap();
    let mut bytes = [0; 8];
    gpu.driver().download(&mut bytes, out.ptr).unwrap();
    f64::from_le_bytes(bytes)
}

#[test]
fn the_norm_is_the_cpus_in_a_fixed_order() {
    for n in [0, 1, 5, 1023, 32_768, 70_001] {
        let mut x = normals(5, n);
        let want = sum_of_squares(&Cpu::new(1), &x);
        let mut bits = Vec::new();
        for (warp, order, offset) in [(32, 0, 0), (64, 0, 0), (32, 3, 1), (64, 3, 2)] {
            let Some(gpu) = device(warp, order) else {
                return;
            };
            let got = norm(&gpu, offset, &x);
            assert!((got - want).abs() <= 1e-5 * want, "{n}: {got} {want}");
            bits.push(got.to_bits());
        }
        assert!(
            bits.windows(2).all(|two| two[0] == two[1]),
            "{n}: {bits:x?}"
        );
        if n > 0 {
            let gpu = device(32, 0).unwrap();
            x[n - 1] = f32::NAN;
            assert!(norm(&gpu, 0, &x).is_nan());
            x[n - 1] = f32::NEG_INFINITY;
            assert_eq!(norm(&gpu, 0, &x), f64::INFINITY);
        }
    }
}

/// What a device makes of a step's squares and losses.
fn judged(gpu: &Gpu, squares: f64, losses: &[f32], clip_norm: f64, most_loss: f64) -> Told {
    let bytes = TOLD_BYTES + 4 * losses.len();
    let [told, bounds, loss] = [bytes, BOUNDS_BYTES, 4].map(|bytes| gpu.alloc(bytes).unwrap());
    let view = told.view(0, bytes / 4, Dtype::F32);
    let driver = gpu.driver();
    driver.upload(told.address(), &Told::order(77.0)).unwrap();
    driver
        .upload(told.address(), &squares.to_le_bytes())
        .unwrap();
    let count = losses.len();
    for number in (0..count).rev() {
        let all = Bounds {
            clip_norm,
            most_loss,
            number,
            count,
        };
        driver.upload(bounds.address(), &all.bytes()).unwrap();
        driver
            .upload(loss.address(), &losses[number].to_le_bytes())
            .unwrap();
        keep_loss_gpu(gpu, view, loss.view(0, 1, Dtype::F32), bounds.address()).unwrap();
    }
    judge_gpu(gpu, view, bounds.address()).unwrap();
    let mut told_bytes = vec![0; bytes];
    driver.download(&mut told_bytes, told.address()).unwrap();
    Told::read(&told_bytes)
}

#[test]
fn a_step_is_judged_as_the_host_does() {
    let Some(gpu) = device(32, 3) else { return };
    let finite = [2.25f32, 1e-3, 0.7];
    let sum: f64 = finite.iter().map(|x| f64::from(*x)).sum();
    for squares in [0.0, 0.3, 1.0, 1.0000001, 7.7, 1e30] {
        for clip_norm in [0.0, 1.0, 0.37] {
            let told = judged(&gpu, squares, &finite, clip_norm, f64::INFINITY);
            let scale = clip_factor(squares.sqrt(), clip_norm) as f32;
            assert_eq!(
                told,
                Told {
                    squares,
                    scale,
                    go: true,
                    loss: sum
                }
            );
        }
    }
    let goes = |squares, losses: &[f32], most| judged(&gpu, squares, losses, 1.0, most).go;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!goes(1.0, &[1.0, bad], f64::INFINITY), "{bad}");
        assert!(!goes(f64::from(bad), &[1.0], f64::INFINITY), "{bad}");
    }
    assert!(goes(1.0, &finite, sum), "at the bound");
    assert!(!goes(1.0, &finite, sum * (1.0 - 1e-15)), "above it");
}

#[test]
fn an_update_that_is_not_to_be_touches_nothing() {
    let Some(gpu) = device(32, 0) else { return };
    let w = Tensor::new(&gpu, 0, &normals(1, 70));
    let before = w.values(&gpu);
    let others = [0; 3].map(|_| Tensor::new(&gpu, 0, &[f32::NAN; 70]));
    let [g, m, v] = others.each_ref().map(|tensor| tensor.view);
    // Scalars that nobody wrote, and a told that says no.
    let memory = gpu.alloc(64 + TOLD_BYTES).unwrap();
    gpu.driver().fill(memory.address(), 0, 80).unwrap();
    let views = [w.view, g, m, v];
    let pass = |count: usize| Pass {
        views: &views[..count],
        first: 0,
        scalars: memory.address(),
        told: memory.address() + 64,
    };
    for rounds in [false, true] {
        adamw::update_gpu(&gpu, rounds, &pass(4)).unwrap();
    }
    sgd::update_gpu(&gpu, &pass(3)).unwrap();
    assert_eq!(w.values(&gpu), before);
}
