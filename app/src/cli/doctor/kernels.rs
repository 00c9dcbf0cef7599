//! Every operation on its own.

use super::{Check, Outcome};
use kernels::check::{Case, gradient_error, isa_error};
use kernels::ops::{Entry, OPS};
use kernels::{Cpu, GradMode, Isa, Precision};

/// Elements of each input whose gradient is compared with differences.
const SAMPLES: usize = 10;
/// Bounds of the tests of the operations.
const GRADIENT: f64 = 1e-6;
const F32: f64 = 5e-6;
const BF16: f64 = 3e-2;

/// One check an operation.
pub(super) fn checks() -> Vec<Check> {
    OPS.iter()
        .map(|op| Check::new(format!("kernel {}", op.name), || examine(op)))
        .collect()
}

fn examine(op: &Entry) -> Outcome {
    let cases = (op.cases)();
    let (mut gradient, mut f32, mut bf16) = (0f64, 0f64, 0f64);
    for case in &cases {
        gradient = gradient.max(gradient_error(case, SAMPLES));
        for isa in Isa::available() {
            f32 = f32.max(isa_error(case, Precision::F32, isa));
            bf16 = bf16.max(isa_error(case, Precision::Bf16, isa));
        }
        same_bits(case)?;
    }
    let found = format!(
        "{} cases: gradient off by {gradient:.0e}, instruction sets by {f32:.0e} (f32) and {bf16:.0e} (bf16)",
        cases.len()
    );
    if gradient < GRADIENT && f32 < F32 && bf16 < BF16 {
        Ok(found)
    } else {
        Err(format!(
            "{found}; bounds are {GRADIENT:.0e}, {F32:.0e}, {BF16:.0e}"
        ))
    }
}

/// Threads must not change a bit.
fn same_bits(case: &Case) -> Result<(), String> {
    for precision in [Precision::F32, Precision::Bf16] {
        let trial = case.trial(precision, 13);
        let one = trial.run(&Cpu::new(1), GradMode::Set);
        let three = trial.run(&Cpu::new(3), GradMode::Set);
        if one != three {
            return Err(format!(
                "three threads give other bits than one in {} ({case:?})",
                precision.name()
            ));
        }
    }
    Ok(())
}
