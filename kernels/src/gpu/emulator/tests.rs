//! The execution model itself: what it computes, and that it sees planted faults.

use super::*;
use crate::Dtype;
use crate::gpu::{Gpu, REDUCE, Unit};

static UNIT: Unit = Unit {
    name: "gpu/emulator/probes.cu",
    text: include_str!("probes.cu"),
    pieces: &[REDUCE],
};

fn device(warp: u32, order: u32) -> Option<Gpu> {
    let options = Options {
        warp,
        checked: true,
        order,
    };
    match Emulator::new(options, None) {
        Ok(emulator) => Some(Gpu::new(Box::new(emulator), None)),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn words(gpu: &Gpu, address: u64, n: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * n];
    gpu.driver().download(&mut bytes, address).unwrap();
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(word).collect()
}

#[test]
fn warps_vote_shift_and_add() {
    for warp in [32, 64] {
        let Some(gpu) = device(warp, 0) else { return };
        let out = gpu.alloc(4 * 5 * 128).unwrap();
        let view = out.view(0, 5 * 128, Dtype::I32);
        let kernel = UNIT.kernel("probe_warp");
        gpu.launch(&kernel, Grid::new(1, 128), &[view.into()])
            .unwrap();
        let got = words(&gpu, out.address(), 5 * 128);
        for t in 0..128 {
            let lane = t % warp;
            let down = if lane + 3 < warp { lane + 3 } else { lane };
            let high = if warp == 64 { 0xaaaa_aaaa } else { 0 };
            let sum = 127f32 * 64.0;
            let want = [down, 35, 0xaaaa_aaaa, high, sum.to_bits()];
            assert_eq!(
                got[5 * t as usize..][..5],
                want,
                "thread {t}, warps of {warp}"
            );
        }
    }
}

/// Fragments are filled by the strides that CUTLASS publishes for this instruction (`mma_traits_sm80.hpp`): (lane, value) to a
/// column-major position. The host's twin and the version by shuffles must both give the matrix product.
#[test]
fn matrix_fragments_have_the_published_layout() {
    for warp in [32, 64] {
        let Some(gpu) = device(warp, 0) else { return };
        let a = |m: usize, k: usize| ((m * 7 + k * 3) % 11) as f32 - 5.0;
        let b = |k: usize, n: usize| ((k * 5 + n) % 13) as f32 - 6.0;
        let half = |x: f32| (x.to_bits() >> 16) as u16;
        let mut fragments: Vec<u8> = Vec::new();
        for lane in 0..32 {
            for value in 0..8 {
                let at =
                    lane % 4 * 32 + lane / 4 + value % 2 * 16 + value / 2 % 2 * 8 + value / 4 * 128;
                fragments.extend(half(a(at % 16, at / 16)).to_le_bytes());
            }
        }
        for lane in 0..32 {
            for value in 0..4 {
                let at = lane % 4 * 16 + lane / 4 + value % 2 * 8 + value / 2 * 64;
                fragments.extend(half(b(at / 8, at % 8)).to_le_bytes());
            }
        }
        let input = gpu.alloc(fragments.len()).unwrap();
        gpu.driver().upload(input.address(), &fragments).unwrap();
        let out = gpu.alloc(4 * 2 * 4 * 64).unwrap();
        let args = [
            out.view(0, 512, Dtype::F32).into(),
            input.view(0, fragments.len() / 4, Dtype::I32).into(),
        ];
        gpu.launch(&UNIT.kernel("probe_mma"), Grid::new(1, 64), &args)
            .unwrap();
        let got = words(&gpu, out.address(), 512);
        for t in 0..64 {
            for value in 0..4 {
                let lane = t % 32;
                let at = lane % 4 * 32 + lane / 4 + value % 2 * 16 + value / 2 * 8;
                let (m, n) = (at % 16, at / 16);
                let want: f32 = (0..16).map(|k| a(m, k) * b(k, n)).sum();
                for version in 0..2 {
                    let got = f32::from_bits(got[version * 256 + t * 4 + value]);
                    assert_eq!(
                        got, want,
                        "row {m}, column {n}, version {version}, warps of {warp}"
                    );
                }
            }
        }
    }
}

/// Each planted fault of `probes.cu` is seen in every order, and its line is named.
#[test]
fn planted_faults_are_seen() {
    let faults = [
        ("missing_barrier", "nobody wrote|race"),
        ("missing_warp_sync", "race"),
        ("past_the_end", "out of bounds"),
        ("past_shared", "out of bounds|guard"),
        ("unwritten_shared", "nobody wrote"),
        ("barrier_in_a_branch", "divergence"),
        ("shuffle_in_a_branch", "divergence"),
        ("blocks_share_a_sum", "race between blocks"),
        ("copy_not_awaited", "in flight"),
        ("misaligned", "aligned"),
        ("row_overflow", "undefined behaviour"),
    ];
    for order in [0, 1, 3] {
        let Some(gpu) = device(32, order) else { return };
        let out = gpu.alloc(4 * 256).unwrap();
        let view = out.view(0, 256, Dtype::F32);
        let sound = gpu.launch(&UNIT.kernel("sound"), Grid::new(2, 128), &[view.into()]);
        assert_eq!(sound, Ok(()), "order {order}");
        for (name, word) in faults {
            let kernel = UNIT.kernel(name);
            let verdict = gpu.launch(&kernel, Grid::new(2, 128), &[view.into()]);
            let Err(GpuError::Kernel { kernel, message }) = verdict else {
                panic!("{name} was not seen in order {order}: {verdict:?}");
            };
            assert_eq!(kernel, name);
            assert!(
                word.split('|').any(|word| message.contains(word)),
                "{name}, order {order}: {message}"
            );
            assert!(
                message.contains("[gpu/emulator/probes.cu:") || !message.contains('['),
                "{message}"
            );
        }
    }
}

#[test]
fn blocks_run_in_the_order_that_was_asked_for() {
    let mut orders = Vec::new();
    for order in 0..4 {
        let options = Options {
            warp: 32,
            checked: false,
            order,
        };
        let Ok(emulator) = Emulator::new(options, None) else {
            return;
        };
        let gpu = Gpu::new(Box::new(emulator), None);
        let out = gpu.alloc(4 * 9).unwrap();
        gpu.driver().fill(out.address(), 0, 36).unwrap();
        let view = out.view(0, 9, Dtype::I32);
        let kernel = UNIT.kernel("block_order");
        gpu.launch(&kernel, Grid::new(8, 64), &[view.into()])
            .unwrap();
        orders.push(words(&gpu, out.address(), 8));
    }
    let ascending: Vec<u32> = (1..=8).collect();
    let descending: Vec<u32> = (1..=8).rev().collect();
    assert_eq!(orders[..2], [ascending.clone(), descending]);
    for mut order in orders.split_off(2) {
        assert_ne!(order, ascending);
        order.sort_unstable();
        assert_eq!(order, ascending, "each block once");
    }
}

#[test]
fn a_capture_replays_what_was_asked() {
    let Some(gpu) = device(32, 0) else { return };
    let out = gpu.alloc(4 * 64).unwrap();
    let view = out.view(0, 64, Dtype::I32);
    gpu.driver().fill(out.address(), 0, 256).unwrap();
    let kernel = UNIT.kernel("count_up");
    let graph = gpu
        .driver()
        .capture(&mut || gpu.launch(&kernel, Grid::new(1, 64), &[view.into()]))
        .unwrap();
    assert_eq!(words(&gpu, out.address(), 64), [0; 64], "captured, not run");
    for _ in 0..3 {
        gpu.driver().replay(graph).unwrap();
    }
    assert_eq!(words(&gpu, out.address(), 64), [3; 64]);
}

#[test]
fn a_kernel_that_does_not_compile_names_its_line() {
    static BROKEN: Unit = Unit {
        name: "gpu/broken.cu",
        text: "KERNEL(broken, 64, (int* p)) {\n  p[0] = nothing_of_that_name;\n}\n",
        pieces: &[],
    };
    let Some(gpu) = device(32, 0) else { return };
    let out = gpu.alloc(4).unwrap();
    let args = [out.view(0, 1, Dtype::I32).into()];
    let error = gpu
        .launch(&BROKEN.kernel("broken"), Grid::new(1, 64), &args)
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("gpu/broken.cu:2"), "{text}");
}
