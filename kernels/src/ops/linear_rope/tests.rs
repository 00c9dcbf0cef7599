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
    let op = op.downcast_ref::<LinearRope>().expect("its own case");
    let cpu = Cpu::new(2);
    let trial = case.trial(precision, 21);
    let (linear, rope) = op.reference();
    let last = case.inputs.len() - 1;
    let first = Case::new(linear, case.inputs[..last].to_vec());
    let mut first = first.trial(precision, 1);
    first.inputs = trial.inputs[..last].to_vec();
    let qkv = first.run(&cpu, GradMode::Set).outputs.remove(0);

    let [batch, seq, _] = case.inputs[0].shape[..] else {
        unreachable!("x has three dimensions")
    };
    let shape = [batch, seq, case.inputs[1].shape[0]];
    let inputs = vec![
        Input::new(shape, Role::Compute, Fill::Normal(1.0)),
        case.inputs[last].clone(),
    ];
    let second = Case::new(rope, inputs);
    let mut second = second.trial(precision, 1);
    second.inputs = vec![qkv, trial.inputs[last].clone()];
    second.d_outputs.clone_from(&trial.d_outputs);
    let second = second.run(&cpu, GradMode::Set);
    first.d_outputs = vec![second.d_inputs[0].clone()];
    let mut want = first.run(&cpu, GradMode::Set);
    want.outputs = second.outputs;
    want.d_inputs.push(Vec::new());
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
                assert_eq!(got.len(), want.len(), "{case:?}");
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    let error = normalised_error(got, want);
                    assert!(error < limit, "{case:?} {precision:?}: {i} by {error:e}");
                }
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let meta = |shape: &[usize]| Meta::new(shape, crate::Dtype::F32);
    let op: &dyn std::any::Any = &*cases()[1].op;
    let op = op.downcast_ref::<LinearRope>().expect("its own case");
    let positions = Meta::new([2, 7], crate::Dtype::I32);
    let inputs = [meta(&[2, 7, 5]), meta(&[23, 5]), positions];
    let error = op.outputs(&inputs, Precision::F32).unwrap_err();
    assert!(error.0.contains("[2, 7, 23]"), "{error}");
    let error = op.outputs(&inputs[..2], Precision::F32).unwrap_err();
    assert!(error.0.contains("2 inputs"), "{error}");
}
