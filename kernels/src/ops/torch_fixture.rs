//! Compares an operation with the values that PyTorch gives for it: `tests/fixtures/ops.json`, written by `make_ops.py`
//! beside it. A new case is a function there and a call of [`check`] in the operation's tests.

use crate::check::{Case, Fill, Input, Role};
use crate::op::{GradMode, Op};
use crate::{Cpu, Precision};
use serde_json::Value;

const FIXTURE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/ops.json"
));

/// Panics unless `op` gives the outputs and gradients of the fixture `name`, in `f32` to 1e-5 and in `bf16` to 2e-2 of the
/// value and of its tensor's root mean square.
pub(crate) fn check(name: &str, op: impl Op + 'static) {
    let all: Value = serde_json::from_str(FIXTURE).expect("the fixture is JSON");
    let fixture = &all[name];
    assert!(fixture.is_object(), "no fixture is called {name}");
    let inputs = array(&fixture["inputs"]).iter().map(input).collect();
    let case = Case::new(op, inputs);
    for (precision, limit) in [(Precision::F32, 1e-5), (Precision::Bf16, 2e-2)] {
        let mut trial = case.trial(precision, 1);
        trial.inputs = array(&fixture["inputs"])
            .iter()
            .map(|input| numbers(&input["values"]))
            .collect();
        trial.d_outputs = tensors(&fixture["upstream"]);
        if let Some(scale) = fixture["scalars"]["loss_scale"].as_f64() {
            trial.scalars.loss_scale = scale;
        }
        let got = trial.run(&Cpu::new(2), GradMode::Set);
        for (what, got, want) in [
            ("output", &got.outputs, tensors(&fixture["outputs"])),
            ("gradient", &got.d_inputs, tensors(&fixture["gradients"])),
        ] {
            assert_eq!(got.len(), want.len(), "{name}: number of {what}s");
            for (tensor, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(
                    near(got, want, limit),
                    "{name} in {precision:?}: {what} {tensor} is {got:?}, in PyTorch {want:?}"
                );
            }
        }
    }
}

fn input(value: &Value) -> Input {
    let (role, fill) = match value["role"].as_str() {
        Some("wide") => (Role::Wide, Fill::Normal(1.0)),
        Some("compute") => (Role::Compute, Fill::Normal(1.0)),
        Some("param") => (Role::Param, Fill::Normal(1.0)),
        Some("index") => (Role::Index, Fill::Ids(1)),
        role => panic!("no role is called {role:?}"),
    };
    let shape: Vec<usize> = numbers(&value["shape"])
        .iter()
        .map(|size| *size as usize)
        .collect();
    Input::new(shape, role, fill)
}

fn near(got: &[f64], want: &[f64], limit: f64) -> bool {
    let square: f64 = want.iter().map(|w| w * w).sum();
    let size = (square / want.len().max(1) as f64).sqrt();
    got.len() == want.len()
        && got
            .iter()
            .zip(want)
            .all(|(g, w)| (g - w).abs() <= limit * (w.abs() + size))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array in the fixture")
}

fn numbers(value: &Value) -> Vec<f64> {
    array(value)
        .iter()
        .map(|x| x.as_f64().expect("a number in the fixture"))
        .collect()
}

fn tensors(value: &Value) -> Vec<Vec<f64>> {
    array(value).iter().map(numbers).collect()
}

#[test]
fn a_difference_is_seen() {
    assert!(near(&[1.0, 0.0], &[1.000_001, 0.0], 1e-5));
    assert!(!near(&[1.0, 0.0], &[1.0, 1e-4], 1e-5));
    assert!(!near(&[f64::NAN], &[1.0], 1e-5));
    assert!(!near(&[1.0], &[1.0, 1.0], 1e-5));
}
