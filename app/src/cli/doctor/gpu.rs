//! The GPU that the checks are asked for: every operation against its scalar definition, whole models against the CPU.

use super::model::{LLAMA, VOCAB, batch, toy};
use super::{Check, Outcome, cpu};
use crate::cli::bench::device::cases::{AWKWARD, cases};
use engine::estimate::allowed_threads;
use engine::model::Model;
use engine::train::step::Trainer;
use kernels::check::Case;
use kernels::gpu::{Gpu, Kind, check, gemm};
use kernels::ops::{Entry, OPS};
use kernels::{Cpu, Precision};

/// Bounds of the normalised error of any output or gradient: sums go in another order than in the definition, and tensor
/// cores round in their own way.
const F32: f64 = 1e-4;
const BF16: f64 = 3e-2;
/// Bounds of the difference of a loss, in nats.
const LOSS_F32: f64 = 1e-4;
const LOSS_BF16: f64 = 2e-2;
/// Bound of the normalised difference between two kernels of the same product: only the order of sums differs.
const TWIN: f64 = 1e-5;
/// Rows, columns, K of the products that are made by both: edges everywhere, then whole tiles.
const TWINS: [[usize; 3]; 3] = [[200, 300, 200], [1000, 1160, 2120], [2048, 3072, 1024]];
/// Steps that are compared.
const STEPS: u64 = 5;

/// One check an operation, and some of whole models.
pub(super) fn checks(gpu: &Gpu) -> Vec<Check> {
    let mut all: Vec<Check> = OPS
        .iter()
        .map(|op| {
            let gpu = gpu.clone();
            Check::new(format!("gpu kernel {}", op.name), move || {
                operation(op, &gpu)
            })
        })
        .collect();
    // The emulation would take hours.
    if gpu.info().kind != Kind::Emulated {
        all.extend(cases(&AWKWARD).into_iter().map(|case| {
            let gpu = gpu.clone();
            let sizes: Vec<String> = case.inputs[0]
                .shape
                .iter()
                .map(ToString::to_string)
                .collect();
            let name = format!("gpu large {} {}", case.op.name(), sizes.join("x"));
            Check::new(name, move || large(&case, &gpu))
        }));
    }
    if gpu.info().is_hopper() {
        let gpu = gpu.clone();
        all.push(Check::new("gpu products sm_90a".to_owned(), move || {
            twins(&gpu)
        }));
    }
    for precision in ["f32", "bf16"] {
        let device = gpu.clone();
        all.push(Check::new(format!("gpu model {precision}"), move || {
            as_on_the_cpu(&device, precision)
        }));
        let device = gpu.clone();
        all.push(Check::new(
            format!("gpu same bits {precision}"),
            move || same_bits(&device, precision),
        ));
    }
    all
}

fn operation(op: &Entry, gpu: &Gpu) -> Outcome {
    let cases = (op.cases)();
    let (mut f32, mut bf16) = (0f64, 0f64);
    for case in &cases {
        let error = |precision| check::error(case, gpu, precision).map_err(|e| e.to_string());
        f32 = f32.max(error(Precision::F32)?);
        bf16 = bf16.max(error(Precision::Bf16)?);
    }
    let found = format!(
        "{} cases: off the definition by {f32:.0e} (f32) and {bf16:.0e} (bf16)",
        cases.len()
    );
    if f32 < F32 && bf16 < BF16 {
        Ok(found)
    } else {
        Err(format!("{found}; bounds are {F32:.0e} and {BF16:.0e}"))
    }
}

/// A large case, against the CPU's fastest kernels.
fn large(case: &Case, gpu: &Gpu) -> Outcome {
    let cpu = Cpu::new(allowed_threads());
    let error =
        |precision| check::error_against(case, gpu, precision, &cpu).map_err(|e| e.to_string());
    let (f32, bf16) = (error(Precision::F32)?, error(Precision::Bf16)?);
    let found = format!("off the CPU by {f32:.0e} (f32) and {bf16:.0e} (bf16)");
    if f32 < F32 && bf16 < BF16 {
        Ok(found)
    } else {
        Err(format!("{found}; bounds are {F32:.0e} and {BF16:.0e}"))
    }
}

/// The products of Hopper's own kernel beside those of the portable one, which the other checks compare with the CPU.
fn twins(gpu: &Gpu) -> Outcome {
    let error = gemm::twins::compare(gpu, &TWINS).map_err(|error| error.to_string())?;
    let error = error.ok_or("it has no kernels of its own")?;
    super::below("off the portable kernel by", error, TWIN)
}

fn trainer(precision: &str, gpu: Option<&Gpu>) -> Result<Trainer, String> {
    let mut config = toy(LLAMA)?;
    config.device.bf16 = precision == "bf16";
    let model = Model::new(&config.model, VOCAB);
    Trainer::on(&config, model, cpu(), gpu.cloned()).map_err(|error| error.to_string())
}

/// Losses of some steps.
fn losses(trainer: &mut Trainer, lr: f64) -> Result<Vec<f64>, String> {
    let step = |step| {
        let gradients = trainer
            .gradients(&[batch(2, 16, step)], step, false, &|| false)
            .map_err(|error| error.to_string())?
            .ok_or("it stopped by itself")?;
        trainer
            .update(&gradients, lr, step, 1.0)
            .map_err(|error| error.to_string())?;
        Ok(gradients.loss)
    };
    (1..=STEPS).map(step).collect()
}

fn as_on_the_cpu(gpu: &Gpu, precision: &str) -> Outcome {
    let mut on_gpu = trainer(precision, Some(gpu))?;
    let mut on_cpu = trainer(precision, None)?;
    // Small: where a gradient is nothing but rounding, the first steps of AdamW go either way, as far as lr says.
    let lr = 1e-4;
    let (got, want) = (losses(&mut on_gpu, lr)?, losses(&mut on_cpu, lr)?);
    let differences = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0.0, f64::max);
    let bound = if precision == "f32" {
        LOSS_F32
    } else {
        LOSS_BF16
    };
    super::below(
        &format!("losses of {STEPS} steps differ from the CPU's by"),
        worst,
        bound,
    )
}

fn same_bits(gpu: &Gpu, precision: &str) -> Outcome {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let losses = losses(&mut trainer(precision, Some(gpu))?, 1e-2)?;
        runs.push(losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>());
    }
    if runs[0] == runs[1] {
        Ok(format!("{STEPS} steps twice: every loss to the bit"))
    } else {
        Err("the same steps gave other losses the second time".to_owned())
    }
}
