use super::*;
use crate::check::{Case, Fill, Input, Outcome, Role, Trial, outcome_error};
use crate::gpu::check::{error, run};
use crate::gpu::emulator::{Emulator, Options};
use crate::gpu::{Gpu, compiled::Cache};
use crate::op::Op as _;
use crate::{Cpu, Isa, Precision};

/// An emulated device, watched, with threads in one of the orders; `None` without a C++ compiler.
fn device(order: u32, like: fn(Emulator) -> Emulator) -> Option<Gpu> {
    device_of(32, order, like)
}

/// The same with warps of so many lanes.
fn device_of(warp: u32, order: u32, like: impl Fn(Emulator) -> Emulator) -> Option<Gpu> {
    let options = Options {
        warp,
        checked: true,
        order,
    };
    let program = std::env::current_exe().expect("a test knows its file");
    let cache = Cache::new(program.with_file_name("emulated"));
    match Emulator::new(options, Some(&cache)) {
        Ok(emulator) => Some(Gpu::new(Box::new(like(emulator)), Some(cache))),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: attention on the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// As it comes, with little shared memory; with a training device's; with Hopper's instructions.
const PLAIN: fn(Emulator) -> Emulator = |emulator| emulator;
const LARGE: fn(Emulator) -> Emulator = |emulator| emulator.with_shared(227 << 10);
const HOPPER: fn(Emulator) -> Emulator = Emulator::as_hopper;

fn case(
    (heads, kv_heads, head_dim): (usize, usize, usize),
    [b, t]: [usize; 2],
    document: usize,
) -> Case {
    let op = Attention::new(heads, kv_heads, head_dim);
    let cols = op.qkv_cols();
    Case::new(
        op,
        vec![
            Input::new([b, t, cols], Role::Compute, Fill::Normal(1.0)),
            Input::new([b, t], Role::Index, Fill::Documents(t, document)),
        ],
    )
}

fn assert_definition(case: &Case, gpu: &Gpu) {
    let error = error(case, gpu, Precision::Bf16).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    assert!(error < 2e-2, "{case:?}: {error:e}");
}

#[test]
fn the_tiles_of_a_training_device_equal_the_definition() {
    let Some(gpu) = device(0, LARGE) else { return };
    for (heads, t, document) in [
        ((2, 1, 64), 201, 150),
        ((1, 1, 80), 35, 35),
        ((1, 1, 128), 133, 61),
        ((1, 1, 192), 37, 30),
    ] {
        assert_definition(&case(heads, [1, t], document), &gpu);
    }
}

/// The tiles of one size divide none of these lengths; a warpgroup without a query, groups of heads, a document that begins
/// inside a tile, sequences that begin inside one another's boxes.
#[test]
fn hopper_equals_the_definition() {
    let Some(gpu) = device(0, HOPPER) else { return };
    for (heads, size, document) in [
        ((2, 1, 64), [2, 150], 61),
        ((1, 1, 64), [1, 1], 1),
        ((2, 2, 128), [1, 133], 133),
        ((2, 1, 128), [2, 37], 20),
        ((1, 1, 256), [1, 131], 90),
    ] {
        let case = case(heads, size, document);
        let (op, qkv) = (
            Attention::new(heads.0, heads.1, heads.2),
            &case.trial(Precision::Bf16, 1).metas[0],
        );
        let rows = hopper::backward_rows(&op, qkv, gpu.info());
        assert_eq!(rows.is_some(), heads.2 <= 128, "made by the wrong kernels");
        assert_definition(&case, &gpu);
    }
}

#[test]
fn hopper_gives_the_same_bits_in_any_order() {
    for case in [
        case((2, 1, 64), [1, 300], 300),
        case((1, 1, 128), [1, 140], 80),
    ] {
        let trial = case.trial(Precision::Bf16, 3);
        let mut seen: Option<Outcome> = None;
        for order in [0, 1, 3] {
            let Some(gpu) = device(order, HOPPER) else {
                return;
            };
            let got = run(&trial, &gpu, GradMode::Set).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                *seen.get_or_insert_with(|| got.clone()) == got,
                "order {order}"
            );
        }
    }
}

#[test]
fn amd_matrix_cores_equal_the_definition() {
    for (arch, warp) in [("gfx942", 64), ("gfx1100", 32), ("gfx1201", 32)] {
        let amd = |emulator: Emulator| emulator.with_arch(arch).with_shared(64 << 10);
        let Some(gpu) = device_of(warp, 0, amd) else {
            return;
        };
        for (heads, t, document) in [((2, 1, 64), 69, 50), ((1, 1, 128), 35, 20)] {
            let case = case(heads, [1, t], document);
            let error = error(&case, &gpu, Precision::Bf16);
            let error = error.unwrap_or_else(|e| panic!("{arch}, {case:?}: {e}"));
            assert!(error < 2e-2, "{arch}, {case:?}: {error:e}");
        }
        let case = case((1, 1, 24), [1, 70], 70);
        let mut trial = case.trial(Precision::Bf16, 4);
        // First keys that go back and forth.
        trial.inputs[1] = (0..70)
            .map(|i: usize| (i - i * 37 % (i + 1)) as f64)
            .collect();
        let [got, want] = outcome(&trial, &gpu);
        let error = outcome_error(&got, &want);
        assert!(error < 2e-2, "{arch}: {error:e}");
    }
}

fn outcome(trial: &Trial<'_>, gpu: &Gpu) -> [Outcome; 2] {
    [
        run(trial, gpu, GradMode::Set).unwrap_or_else(|error| panic!("{error}")),
        trial.run(&Cpu::with_isa(1, Isa::Scalar), GradMode::Set),
    ]
}

#[test]
fn any_first_key_may_be_given() {
    type First = fn(usize) -> f64;
    // A sliding window, first keys that go back and forth, and ones behind the query or before the sequence.
    let ways: [First; 3] = [
        |i| i.saturating_sub(16) as f64,
        |i| (i - i * 37 % (i + 1)) as f64,
        |i| if i % 3 == 0 { 400.0 } else { -5.0 },
    ];
    for (like, head_dim, precision, limit) in [
        (PLAIN, 32, Precision::F32, 5e-6),
        (PLAIN, 32, Precision::Bf16, 2e-2),
        (HOPPER, 64, Precision::Bf16, 2e-2),
    ] {
        let Some(gpu) = device(0, like) else { return };
        let case = case((1, 1, head_dim), [1, 150], 150);
        for first in ways {
            let mut trial = case.trial(precision, 4);
            trial.inputs[1] = (0..150).map(first).collect();
            let [got, want] = outcome(&trial, &gpu);
            let error = outcome_error(&got, &want);
            assert!(error < limit, "{precision:?}: {error:e}");
        }
    }
}

#[test]
fn extreme_scores_stay_finite() {
    for (like, head_dim, precision) in [
        (PLAIN, 32, Precision::F32),
        (PLAIN, 32, Precision::Bf16),
        (HOPPER, 64, Precision::Bf16),
    ] {
        let Some(gpu) = device(0, like) else { return };
        let case = case((1, 1, head_dim), [1, 70], 40);
        let mut trial = case.trial(precision, 5);
        // Scores of about +-1e4.
        trial.inputs[0].iter_mut().for_each(|x| *x *= 40.0);
        let [got, _] = outcome(&trial, &gpu);
        let mut all = got.outputs[0].iter().chain(&got.d_inputs[0]);
        assert!(all.all(|x| x.is_finite()), "{precision:?}");
    }
}

#[test]
fn a_missing_upstream_gradient_is_zero() {
    let Some(gpu) = device(0, PLAIN) else { return };
    let op = Attention::new(1, 1, 4);
    let metas = [
        Meta::new([1, 3, 12], Dtype::F32),
        Meta::new([1, 3], Dtype::I32),
    ];
    for (mode, want) in [(GradMode::Set, 0.0_f32), (GradMode::Add, 7.0)] {
        let memory = gpu.alloc(4 * 36).expect("memory");
        let seven = 7.0_f32.to_le_bytes().repeat(36);
        gpu.driver()
            .upload(memory.address(), &seven)
            .expect("memory");
        let view = memory.view(0, 36, Dtype::F32);
        let given = GpuBackward {
            gpu: &gpu,
            metas: &metas,
            inputs: &[None, None],
            outputs: &[None],
            late_outputs: &[],
            d_outputs: &[None],
            d_inputs: &[Some(crate::gpu::GpuGrad { view, mode }), None],
            saved: &[],
            workspace: memory.view(0, 0, Dtype::I32),
            live: 0,
        };
        op.backward_gpu(&given).expect("nothing to compute");
        let mut bytes = vec![0; 4 * 36];
        gpu.driver()
            .download(&mut bytes, memory.address())
            .expect("memory");
        assert_eq!(bytes, want.to_le_bytes().repeat(36), "{mode:?}");
    }
}
