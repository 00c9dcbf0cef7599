use super::*;
use crate::check::{Outcome, normalised_error};
use crate::op::GradMode;

#[test]
fn generic_checks() {
    for case in cases() {
        crate::check::all(&case, 3e-6, 2e-2);
        crate::gpu::check::all(&case, 3e-6, 2e-2);
    }
}

/// What this operation and the two simple ones give for the same case.
fn both(case: &Case, precision: Precision) -> (Outcome, Outcome) {
    let op: &dyn std::any::Any = &*case.op;
    let op = op.downcast_ref::<ActivationLinear>().expect("its own case");
    let cpu = Cpu::new(2);
    let trial = case.trial(precision, 21);
    let (activation, linear) = op.reference();
    let first = Case {
        op: activation,
        inputs: case.inputs[..1].to_vec(),
    };
    let mut first = first.trial(precision, 1);
    first.inputs = trial.inputs[..1].to_vec();
    let h = first.run(&cpu, GradMode::Set).outputs.remove(0);

    let shape = [case.inputs[0].shape[0], case.inputs[1].shape[1]];
    let mut inputs = vec![Input::new(shape, Role::Compute, Fill::Normal(1.0))];
    inputs.extend_from_slice(&case.inputs[1..]);
    let second = Case::new(linear, inputs);
    let mut second = second.trial(precision, 1);
    second.inputs = vec![h];
    second.inputs.extend_from_slice(&trial.inputs[1..]);
    second.d_outputs.clone_from(&trial.d_outputs);
    let mut want = second.run(&cpu, GradMode::Set);
    first.d_outputs = vec![want.d_inputs[0].clone()];
    want.d_inputs[0] = first.run(&cpu, GradMode::Set).d_inputs.remove(0);
    (trial.run(&cpu, GradMode::Set), want)
}

#[test]
fn fused_equals_its_reference() {
    for case in cases() {
        for (precision, limit) in [
            (Precision::F64, 1e-13),
            (Precision::F32, 1e-6),
            // The same roundings, but for sums whose last bit decides one.
            (Precision::Bf16, 1e-3),
        ] {
            let (got, want) = both(&case, precision);
            for (got, want) in [
                (&got.outputs, &want.outputs),
                (&got.d_inputs, &want.d_inputs),
            ] {
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    let error = normalised_error(got, want);
                    assert!(error < limit, "{case:?} {precision:?}: {i} by {error:e}");
                }
            }
        }
    }
}

#[test]
fn whole_chunks_give_the_bits_of_the_reference() {
    let case = &cases()[4];
    for precision in [Precision::F32, Precision::Bf16] {
        let (got, want) = both(case, precision);
        assert!(got == want, "{precision:?}");
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let meta = |shape: &[usize], dtype| Meta::new(shape, dtype);
    let op = ActivationLinear {
        act: Act::Silu,
        gated: true,
    };
    let (u, w) = (
        meta(&[4, 6], crate::Dtype::F32),
        meta(&[5, 6], crate::Dtype::F32),
    );
    let error = op
        .outputs(&[u.clone(), w.clone()], Precision::F32)
        .unwrap_err();
    assert!(
        error.0.contains("[4, 3]") && error.0.contains("[5, 6]"),
        "{error}"
    );
    let error = op.outputs(&[u, w], Precision::Bf16).unwrap_err();
    assert!(error.0.contains("compute type"), "{error}");
}
