//! The rules of [`crate::tape::fuse`]: joined equals not joined, each rule applies, and where one may not.

use super::distance;
use super::toy::{LARGE, LAYER, RMS, Runner, SMALL, Setup, Toy, step};
use crate::param::{Group, Init, ParamSpecs};
use crate::tape::fuse::{RULES, fuse};
use crate::tape::{Tape, Var};
use kernels::Precision;
use kernels::ops::act::Act;

#[test]
fn fused_equals_unfused_and_needs_less_memory() {
    for (precision, limit) in [
        (Precision::F64, 1e-13),
        (Precision::F32, 1e-6),
        (Precision::Bf16, 1e-2),
    ] {
        for recompute in [false, true] {
            let setup = Setup {
                recompute,
                ..Setup::new(precision)
            };
            let fused = Setup {
                fused: true,
                ..setup
            };
            let error = distance(&step(SMALL, fused), &step(SMALL, setup));
            assert!(error < limit, "{setup:?}: {error:e}");
        }
    }
    let setup = Setup::new(Precision::F32);
    let plain = Runner::new(LARGE, setup).bytes();
    let fused = Setup {
        fused: true,
        ..setup
    };
    let fused = Runner::new(LARGE, fused).bytes();
    assert!(fused < plain * 95 / 100, "{fused} of {plain} bytes");
}

/// Names and settings of a recording's operations.
fn operations(tape: &Tape) -> Vec<String> {
    let all = tape.nodes.iter();
    all.map(|node| format!("{:?}", node.op)).collect()
}

#[test]
fn every_rule_applies_to_the_decoder() {
    assert!(RULES.len() <= 12);
    let (tape, _) = Toy::new(SMALL).record(Precision::F32, 2, false);
    let (before, tape) = (tape.nodes.len(), fuse(tape));
    let after = operations(&tape);
    for part in [
        "AddNorm { norm: Rms",
        "AddNorm { norm: Layer",
        "gated: true",
        "gated: false",
        "LinearRope",
    ] {
        assert!(
            after.iter().any(|op| op.contains(part)),
            "{part} in {after:?}"
        );
    }
    // Four sums with the norms behind them, two activations, two rotations; the first norm reads no sum.
    assert_eq!(after.len(), before - 8, "{after:?}");
    for gone in ["op: Add)", "Gated", "Activation {", "Rope {"] {
        let left = after
            .iter()
            .filter(|op| op.contains(gone) && !op.contains("LinearRope"));
        assert_eq!(left.count(), 0, "{gone} in {after:?}");
    }
}

/// Names of the operations that are left of a recording, whose body gets a residual stream, a gain and a square matrix.
fn record(body: impl FnOnce(&mut Tape, [Var; 3])) -> Vec<String> {
    let mut specs = ParamSpecs::default();
    let mut param = |name, shape: &[usize]| specs.add(name, shape, Group::Matrix, Init::Zeros);
    let (table, gain, matrix) = (
        param("table", &[7, 4]),
        param("gain", &[4]),
        param("matrix", &[4, 4]),
    );
    let mut tape = Tape::new(Precision::F32);
    let ids = tape.input("ids", &[1, 3]);
    let [table, gain, matrix] = [table, gain, matrix].map(|id| tape.param(&specs, id));
    let x = tape.embedding(ids, table);
    body(&mut tape, [x, gain, matrix]);
    fuse(tape)
        .nodes
        .iter()
        .map(|node| node.op.name().to_owned())
        .collect()
}

#[test]
fn a_value_that_somebody_else_reads_stays() {
    let joined = record(|tape, [x, _, w]| {
        let h = tape.activation(x, Act::Relu);
        let y = tape.linear(h, w, None);
        tape.keep(y);
    });
    assert_eq!(joined, ["embedding", "activation_linear"]);
    let apart = ["embedding", "activation", "linear"];
    let kept = record(|tape, [x, _, w]| {
        let h = tape.activation(x, Act::Relu);
        let y = tape.linear(h, w, None);
        tape.keep(h);
        tape.keep(y);
    });
    assert_eq!(kept, apart);
    let observed = record(|tape, [x, _, w]| {
        let h = tape.activation(x, Act::Relu);
        let y = tape.linear(h, w, None);
        tape.observe("h", h);
        tape.keep(y);
    });
    assert_eq!(observed, apart);
    let read_twice = record(|tape, [x, _, w]| {
        let h = tape.activation(x, Act::Relu);
        let y = tape.linear(h, w, None);
        let s = tape.add(x, h);
        tape.keep(y);
        tape.keep(s);
    });
    assert_eq!(read_twice, ["embedding", "activation", "linear", "add"]);
    let wide = record(|tape, [x, _, w]| {
        let h = tape.activation(x, Act::Relu);
        let y = tape.linear_wide(h, w);
        tape.keep(y);
    });
    assert_eq!(wide, apart);
}

#[test]
fn readers_of_the_sum_still_come_after_it() {
    let names = record(|tape, [x, gain, w]| {
        let s = tape.add(x, x);
        let y = tape.linear(s, w, None);
        let n = tape.rmsnorm(s, gain, RMS);
        let t = tape.add(s, y);
        let m = tape.layernorm(s, gain, Some(gain), LAYER);
        for kept in [n, t, m] {
            tape.keep(kept);
        }
    });
    // The first norm of a sum is joined with it, where the sum was; the second stays.
    assert_eq!(
        names,
        ["embedding", "add_norm", "linear", "add", "layernorm"]
    );
}

#[test]
fn neither_regions_nor_needless_work_are_joined() {
    let names = record(|tape, [x, gain, _]| {
        let s = tape.recompute(|tape| tape.add(x, x));
        let n = tape.rmsnorm(s, gain, RMS);
        tape.keep(n);
    });
    assert_eq!(names, ["embedding", "add", "rmsnorm"]);
    let names = record(|tape, [x, gain, _]| {
        let s = tape.add(x, x);
        tape.rmsnorm(s, gain, RMS);
        tape.keep(s);
    });
    assert_eq!(names, ["embedding", "add", "rmsnorm"]);
}

#[test]
fn what_the_second_reads_is_made_before_the_first() {
    let names = record(|tape, [x, gain, _]| {
        let s = tape.add(x, x);
        let gain = tape.activation(gain, Act::Relu);
        let n = tape.rmsnorm(s, gain, RMS);
        tape.keep(n);
    });
    assert_eq!(names, ["embedding", "add", "activation", "rmsnorm"]);
    let names = record(|tape, [x, gain, _]| {
        let gain = tape.activation(gain, Act::Relu);
        let s = tape.add(x, x);
        let n = tape.rmsnorm(s, gain, RMS);
        tape.keep(n);
    });
    assert_eq!(names, ["embedding", "activation", "add_norm"]);
}

/// In release builds a handle does not know its tape.
#[cfg(debug_assertions)]
#[test]
fn a_fused_recording_knows_its_handles() {
    let (a, vars) = Toy::new(SMALL).record(Precision::F32, 2, false);
    let a = fuse(a);
    assert_eq!(a.meta(vars.loss).shape, [1]);
    let (_, other) = Toy::new(SMALL).record(Precision::F32, 2, false);
    let message = super::panic_of(|| {
        a.meta(other.loss);
    });
    assert!(message.contains("another tape"), "{message}");
}
