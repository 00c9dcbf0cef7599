//! The sources that the program asks for: all operations on the shapes of their own tests, optimizers, and the shapes of real
//! models where another size means another kernel.

use kernels::check::{Case, Fill, Input, Role};
use kernels::gpu::blas::{Factor, Product};
use kernels::gpu::driver::{HOPPER_ARCH, Kind};
use kernels::gpu::survey::Survey;
use kernels::gpu::unit::Source;
use kernels::gpu::{Gpu, GpuError, GpuForward, GpuGrad, View, basic, check, gemm};
use kernels::op::InferOp as _;
use kernels::ops::OPS;
use kernels::ops::attention::Attention;
use kernels::ops::attention_cached::AttentionCached;
use kernels::update::{adamw, norm, sgd};
use kernels::{Dtype, GradMode, Meta, Precision};
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// What is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    kind: Kind,
    /// Architecture, as its compiler takes it.
    pub arch: &'static str,
    warp: u32,
    /// Whether every source is compiled for it, and not a few of each unit.
    whole: bool,
}

/// Sources of each unit that an architecture gets which does not get all.
const FEW: usize = 4;

impl Target {
    /// An architecture whose warps have `warp` lanes.
    pub const fn new(kind: Kind, arch: &'static str, warp: u32) -> Self {
        Self {
            kind,
            arch,
            warp,
            whole: false,
        }
    }

    /// An architecture that every source is compiled for.
    pub const fn whole(self) -> Self {
        Self {
            whole: true,
            ..self
        }
    }
}

/// Every operation with the shapes that it is tested on.
static CASES: LazyLock<Vec<(&'static str, Vec<Case>)>> = LazyLock::new(|| {
    let all = OPS.iter().map(|entry| (entry.name, (entry.cases)()));
    all.collect()
});

/// Widths of real models' rows: norms are cut by them.
const WIDTHS: [usize; 4] = [768, 2048, 4096, 8192];

/// The sources that a device of `target` is asked for, each once, in the order of asking.
pub fn of(target: &Target) -> Vec<Source> {
    let mut all = asked(target, target.arch);
    if target.arch == HOPPER_ARCH {
        // What its own kernels do not take goes to the portable ones.
        all.extend(asked(target, "sm_90"));
    }
    let mut seen = HashSet::new();
    let fresh = all.iter().filter(|source| seen.insert((*source).clone()));
    let fresh: Vec<Source> = fresh.cloned().collect();
    let all = std::env::var_os("ZEROLLM_GPU_COMPILE").is_some_and(|set| set == "all");
    if target.whole || all {
        return fresh;
    }
    let mut of_unit: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in &fresh {
        of_unit.entry(source.unit.name).or_default().push(source);
    }
    // Spread over the unit's list, which begins with `f32` and ends with large products.
    let few = of_unit.values().flat_map(|all| {
        let step = all.len().div_ceil(FEW);
        all.iter().rev().step_by(step)
    });
    few.map(|source| (*source).clone()).collect()
}

/// What a device that looks like `arch` is asked for.
fn asked(target: &Target, arch: &str) -> Vec<Source> {
    let (survey, asked) = Survey::new(target.kind, arch, target.warp);
    let gpu = Gpu::new(Box::new(survey), None);
    for (name, cases) in CASES.iter() {
        for case in cases {
            let asked = operation(case, &gpu);
            asked.unwrap_or_else(|error| panic!("{name} on {arch}: {error}"));
        }
    }
    flat(&gpu).expect("a survey refuses nothing");
    products(&gpu).expect("a survey refuses nothing");
    decoding(&gpu).expect("a survey refuses nothing");
    long_attention(&gpu).expect("a survey refuses nothing");
    let asked = asked.lock().expect("no thread panicked");
    asked.clone()
}

fn operation(case: &Case, gpu: &Gpu) -> Result<(), GpuError> {
    for precision in [Precision::F32, Precision::Bf16] {
        let trial = case.trial(precision, 1);
        check::infer(&trial, gpu)?;
        for mode in [GradMode::Set, GradMode::Add, GradMode::InPlace] {
            check::run(&trial, gpu, mode)?;
        }
    }
    Ok(())
}

/// A tensor that is never read.
fn view(len: usize, dtype: Dtype) -> View {
    View::new(1 << 20, len, dtype)
}

/// Passes over flat tensors, and optimizers.
fn flat(gpu: &Gpu) -> Result<(), GpuError> {
    let n = 1 << 20;
    for from in [Dtype::F32, Dtype::Bf16] {
        for to in [Dtype::F32, Dtype::Bf16] {
            let to = view(n, to);
            let mode = GradMode::Add;
            basic::deliver(gpu, view(n, from), GpuGrad { view: to, mode })?;
            basic::convert(gpu, view(n, from), to)?;
        }
    }
    let plain = view(n, Dtype::F32);
    let mut weights = plain;
    weights.rounded = Some(1 << 20);
    let sums = view(norm::partial_sums(n), Dtype::F64);
    norm::sum_of_squares_gpu(gpu, plain, sums, view(1, Dtype::F64))?;
    for weights in [plain, weights] {
        adamw::update_gpu(gpu, 4096, weights, plain, plain, plain)?;
        sgd::update_gpu(gpu, 4096, weights, plain, plain)?;
    }
    Ok(())
}

/// Attention over so many tokens that Hopper has kernels of its own.
fn long_attention(gpu: &Gpu) -> Result<(), GpuError> {
    let length = 1024;
    for head_dim in [64, 128, 256] {
        let op = Attention::new(1, 1, head_dim);
        let inputs = vec![
            Input::new([1, length, 3 * head_dim], Role::Compute, Fill::Normal(1.0)),
            Input::new([1, length], Role::Index, Fill::Documents(length, length)),
        ];
        let case = Case::new(op, inputs);
        check::run(&case.trial(Precision::Bf16, 1), gpu, GradMode::Set)?;
    }
    Ok(())
}

/// Attention over a cache: one token behind the others, and a prompt.
fn decoding(gpu: &Gpu) -> Result<(), GpuError> {
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = precision.compute();
        for (head_dim, tokens) in [(64, 1), (64, 64), (128, 1), (128, 64), (5, 1), (5, 7)] {
            let op = AttentionCached::new(4, 2, head_dim, 256);
            let metas = [Meta::new([tokens, 8 * head_dim], compute)];
            let words = op.workspace_gpu(&metas, gpu.info()).div_ceil(4);
            let states: Vec<View> = op.state().iter().map(|n| view(*n, compute)).collect();
            let cx = GpuForward {
                gpu,
                training: false,
                metas: &metas,
                inputs: &[view(metas[0].len(), compute)],
                outputs: &[view(tokens * 4 * head_dim, compute)],
                saved: &[],
                workspace: view(words, Dtype::I32),
                live: 4096,
            };
            op.forward_gpu(&cx, &states)?;
        }
    }
    Ok(())
}

/// The products of linear layers on many rows and on few: forward, gradient of the input, gradient of the weight.
fn products(gpu: &Gpu) -> Result<(), GpuError> {
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = precision.compute();
        for rows in [1, 2, 4, 8, 512, 8192] {
            for width in WIDTHS {
                for out in [width, 4 * width] {
                    let x = view(rows * width, compute);
                    let y = view(rows * out, compute);
                    let w = view(width * out, compute);
                    let dw = view(width * out, Dtype::F32);
                    // (m, n, k), A, B, C, added
                    let all = [
                        (
                            [rows, out, width],
                            Factor::new(x, width),
                            Factor::t(w, width),
                            y,
                            false,
                        ),
                        (
                            [rows, width, out],
                            Factor::new(y, out),
                            Factor::new(w, width),
                            x,
                            false,
                        ),
                        (
                            [out, width, rows],
                            Factor::t(y, out),
                            Factor::new(x, width),
                            dw,
                            true,
                        ),
                    ];
                    for ([m, n, k], a, b, c, accumulate) in all {
                        let product = Product {
                            m,
                            n,
                            k,
                            a,
                            b,
                            c,
                            c_stride: n,
                            accumulate,
                            bias: None,
                        };
                        let bytes = gemm::scratch_bytes(precision, m, n, k);
                        gemm::product(
                            gpu,
                            precision,
                            &product,
                            view(bytes.div_ceil(4), Dtype::I32),
                        )?;
                    }
                }
            }
        }
    }
    Ok(())
}
