//! What the tape promises, tried on a small decoder and on recordings that are awkward on purpose.

mod fusion;
mod toy;

use super::plan::{Kind, Options, Phase, Place, Plan, Target};
use super::run::{Program, Replay};
use super::{Tape, Var};
use crate::param::{Group, Init, ParamId, ParamSpecs, Params};
use kernels::arena::Arena;
use kernels::ops::attention::Attention;
use kernels::philox::Stream;
use kernels::{Cpu, Precision};
use std::panic::{AssertUnwindSafe, catch_unwind};
use toy::{LARGE, LAYER, Outcome, RMS, Runner, SMALL, Setup, Sizes, step};

/// Every way to lay out and order the work.
fn setups(precision: Precision) -> Vec<Setup> {
    let mut all = Vec::new();
    for (fused, recompute) in [(false, false), (true, false), (false, true), (true, true)] {
        all.push(Setup {
            fused,
            recompute,
            ..Setup::new(precision)
        });
    }
    all
}

/// `sqrt(sum((a - b)^2) / sum(b^2))` over all gradients, and the same of the losses.
fn distance(a: &Outcome, b: &Outcome) -> f64 {
    let gradients = kernels::check::normalised_error(&a.gradients, &b.gradients);
    gradients.max(((a.loss - b.loss) / b.loss).abs())
}

#[test]
fn freed_bytes_are_not_read() {
    for precision in [Precision::F32, Precision::Bf16] {
        for setup in setups(precision) {
            let clean = step(SMALL, setup);
            let poison = true;
            let poisoned = step(SMALL, Setup { poison, ..setup });
            assert!(poisoned == clean, "{setup:?}");
            // A second step finds what the first has left.
            let mut runner = Runner::new(SMALL, Setup { poison, ..setup });
            runner.step();
            assert!(runner.step() == clean, "{setup:?}, second step");
        }
    }
}

#[test]
fn planned_equals_unplanned() {
    for precision in [Precision::F32, Precision::Bf16] {
        for setup in setups(precision) {
            let mut planned = Runner::new(SMALL, setup);
            let want = planned.step();
            for (reuse, share_gradients, remake) in [
                (false, false, true),
                (false, true, false),
                (true, false, true),
                (true, true, false),
            ] {
                let options = Options {
                    reuse,
                    share_gradients,
                    remake,
                };
                let mut other = Runner::new(SMALL, Setup { options, ..setup });
                let got = other.step();
                assert!(got == want, "{setup:?} {options:?}");
                assert!(
                    reuse || other.bytes() > 2 * planned.bytes(),
                    "{setup:?} {options:?}: {} and {} bytes",
                    other.bytes(),
                    planned.bytes()
                );
            }
        }
    }
}

#[test]
fn recomputing_changes_no_bit_and_needs_less_memory() {
    for precision in [Precision::F32, Precision::Bf16] {
        for fused in [false, true] {
            let setup = Setup {
                fused,
                ..Setup::new(precision)
            };
            let again = Setup {
                recompute: true,
                ..setup
            };
            let (mut plain, mut again) = (Runner::new(LARGE, setup), Runner::new(LARGE, again));
            let (want, got) = (plain.step(), again.step());
            // Sums and the norms of the next block lie in two regions and are not joined there; the bits are the same.
            assert!(got == want, "{precision:?}, fused {fused}");
            assert!(
                again.bytes() < plain.bytes() * 3 / 4,
                "{precision:?}: {} of {}",
                again.bytes(),
                plain.bytes()
            );
        }
    }
}

#[test]
fn norms_made_again_change_no_bit_and_need_less_memory() {
    for precision in [Precision::F32, Precision::Bf16] {
        for fused in [false, true] {
            let setup = Setup {
                fused,
                ..Setup::new(precision)
            };
            let options = Options {
                remake: false,
                ..Options::default()
            };
            let mut kept = Runner::new(LARGE, Setup { options, ..setup });
            let mut again = Runner::new(LARGE, setup);
            assert!(again.step() == kept.step(), "{setup:?}");
            assert!(
                again.bytes() < kept.bytes() * 19 / 20,
                "{setup:?}: {} of {}",
                again.bytes(),
                kept.bytes()
            );
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        for fused in [false, true] {
            let setup = Setup {
                fused,
                ..Setup::new(precision)
            };
            let sizes = Sizes { layers: 2, ..LARGE };
            let threads = 3;
            let (one, three) = (step(sizes, setup), step(sizes, Setup { threads, ..setup }));
            assert!(one == three, "{setup:?}");
        }
    }
}

#[test]
fn micro_batches_equal_one_batch() {
    for (precision, limit) in [(Precision::F64, 1e-13), (Precision::F32, 1e-5)] {
        for setup in setups(precision) {
            let micro_batch = 1;
            let got = step(
                SMALL,
                Setup {
                    micro_batch,
                    ..setup
                },
            );
            let error = distance(&got, &step(SMALL, setup));
            assert!(error < limit, "{setup:?}: {error:e}");
        }
    }
}

#[test]
fn the_decoder_has_the_gradient_of_finite_differences() {
    let mut stream = Stream::new(5, 5);
    for setup in setups(Precision::F64) {
        let mut runner = Runner::new(SMALL, setup);
        let elements = runner.toy.elements(&runner.params);
        let gradients = runner.step().gradients;
        for _ in 0..60 {
            let chosen = stream.below(elements.len() as u64) as usize;
            let at = elements[chosen];
            let x = runner.params.get_f64(at);
            let difference = difference(x, |x| {
                runner.params.set_f64(at, x);
                runner.step().loss
            });
            runner.params.set_f64(at, x);
            let error = (difference - gradients[chosen]).abs() / (1.0 + difference.abs());
            assert!(error < 1e-6, "{setup:?}: element {chosen} by {error:e}");
        }
    }
}

/// Fourth-order central difference.
fn difference(x: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let h = 1e-4;
    (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h)
}

/// A recording of one's own: two matrices and two vectors, four tokens, and a loss.
struct Awkward {
    specs: ParamSpecs,
    /// (7, 4) and (4, 4)
    table: ParamId,
    matrix: ParamId,
    /// (4)
    vectors: [ParamId; 2],
}

impl Awkward {
    fn new() -> Self {
        let mut specs = ParamSpecs::default();
        let init = Init::Normal(0.7);
        Self {
            table: specs.add("table", &[7, 4], Group::Embedding, init),
            matrix: specs.add("matrix", &[4, 4], Group::Matrix, init),
            vectors: ["a", "b"].map(|name| specs.add(name, &[4], Group::Vector, init)),
            specs,
        }
    }

    /// Compares the gradients of a recording with finite differences. `record` gets the residual stream, the matrix and
    /// the vectors, and gives the input of a classifier with the embedding's table.
    fn check(&self, record: impl Fn(&mut Tape, Var, Var, [Var; 2]) -> Var) {
        let cpu = Cpu::new(1);
        for (fused, share_gradients) in [(false, false), (false, true), (true, true)] {
            let mut tape = Tape::new(Precision::F64);
            let (ids, targets) = (tape.input("ids", &[1, 4]), tape.input("targets", &[1, 4]));
            let table = tape.param(&self.specs, self.table);
            let matrix = tape.param(&self.specs, self.matrix);
            let vectors = self.vectors.map(|id| tape.param(&self.specs, id));
            let x = tape.embedding(ids, table);
            let h = record(&mut tape, x, matrix, vectors);
            let loss = tape.classifier(h, table, targets);
            if fused {
                tape = super::fuse::fuse(tape);
            }
            let options = Options {
                share_gradients,
                ..Options::default()
            };
            let mut program = Program::new(tape, Some(loss), &cpu, options);
            assert_no_memory_twice(program.plan());
            let mut arena = Arena::new(program.plan().bytes());
            arena.fill(0..arena.size(), 0xff);
            let mut start = Params::new(self.specs.clone(), Precision::F32, false);
            start.init(4);
            let mut params = Params::new(self.specs.clone(), Precision::F64, true);
            params.copy_from(&start);
            let mut run = |params: &mut Params| {
                program.write(&mut arena, ids, &[3, 0, 6, 3]);
                program.write(&mut arena, targets, &[1, 3, -1, 2]);
                let mut replay = Replay {
                    poison: true,
                    ..Replay::default()
                };
                program.replay(&mut arena, params, &cpu, &mut replay);
                program.loss(&arena)
            };
            run(&mut params);
            let gradients: Vec<_> = (0..params.len()).map(|i| params.gradient_f64(i)).collect();
            for (i, gradient) in gradients.iter().enumerate() {
                let x = params.get_f64(i);
                let numeric = difference(x, |x| {
                    params.set_f64(i, x);
                    run(&mut params)
                });
                params.set_f64(i, x);
                let error = (numeric - gradient).abs() / (1.0 + numeric.abs());
                assert!(
                    error < 1e-6,
                    "element {i} of {options:?}: {gradient} for {numeric}"
                );
            }
        }
    }
}

#[test]
fn one_value_twice_in_an_operation() {
    let toy = Awkward::new();
    // A sum of a value with itself, and of the sum with itself.
    toy.check(|tape, x, _, [a, _]| {
        let s = tape.add(x, x);
        let s = tape.add(s, s);
        tape.rmsnorm(s, a, RMS)
    });
    // The sum is read again, after the norm.
    toy.check(|tape, x, w, [a, _]| {
        let s = tape.add(x, x);
        let n = tape.rmsnorm(s, a, RMS);
        let y = tape.linear(n, w, None);
        let s = tape.add(s, y);
        tape.rmsnorm(s, a, RMS)
    });
    // One parameter as gain and bias.
    toy.check(|tape, x, _, [a, _]| tape.layernorm(x, a, Some(a), LAYER));
}

#[test]
fn one_value_in_several_operations() {
    let toy = Awkward::new();
    // A weight twice, the head's table also as a weight's input.
    toy.check(|tape, x, w, [a, b]| {
        let n = tape.layernorm(x, a, Some(b), LAYER);
        let y = tape.linear(n, w, Some(b));
        tape.linear(y, w, Some(b))
    });
    // The stream is read again after the addend was made: the addend's gradient may not lie where the stream's grows.
    toy.check(|tape, x, w, [a, b]| {
        let n = tape.rmsnorm(x, a, RMS);
        let y = tape.linear(n, w, None);
        let m = tape.rmsnorm(x, b, RMS);
        let s = tape.add(x, y);
        let z = tape.linear(m, w, None);
        let s = tape.add(s, z);
        tape.rmsnorm(s, a, RMS)
    });
    // Both addends have other readers, before and after the sum.
    toy.check(|tape, x, w, [a, b]| {
        let n = tape.rmsnorm(x, a, RMS);
        let y = tape.linear(n, w, None);
        let z = tape.linear(y, w, Some(b));
        let s = tape.add(x, y);
        let s = tape.add(s, z);
        let t = tape.add(s, y);
        let m = tape.rmsnorm(s, b, RMS);
        let t = tape.add(t, m);
        tape.rmsnorm(t, a, RMS)
    });
    // Two norms of one sum, and a sum of two streams that are read again.
    toy.check(|tape, x, w, [a, b]| {
        let s = tape.add(x, x);
        let (m, n) = (
            tape.rmsnorm(s, a, RMS),
            tape.layernorm(s, a, Some(b), LAYER),
        );
        let (y, z) = (tape.linear(m, w, None), tape.linear(n, w, None));
        let (s, t) = (tape.add(s, y), tape.add(x, z));
        let s = tape.add(s, t);
        let t = tape.add(t, s);
        tape.rmsnorm(t, b, RMS)
    });
}

/// No operation is given memory to write that it also reads, or writes twice.
fn assert_no_memory_twice(plan: &Plan) {
    for step in &plan.steps {
        let deliveries = step.d_inputs.iter().flatten();
        let mut written: Vec<Target> = deliveries.map(|d| d.to).collect();
        written.extend(step.late_outputs.iter().map(|id| Target::Buffer(*id)));
        written.extend(step.workspace.map(Target::Buffer));
        let mut read: Vec<Option<usize>> = step.d_outputs.clone();
        if step.phase == Phase::Backward {
            read.extend(&step.outputs);
            read.extend(step.saved.iter().map(|id| Some(*id)));
        } else {
            written.extend(step.outputs.iter().flatten().map(|id| Target::Buffer(*id)));
            written.extend(step.saved.iter().map(|id| Target::Buffer(*id)));
        }
        for input in &step.inputs {
            if let Place::Buffer(id) = input {
                read.push(Some(*id));
            }
        }
        for (i, target) in written.iter().enumerate() {
            assert!(!written[..i].contains(target), "{step:?}");
            let is_read = |id: &usize| Target::Buffer(*id) == *target;
            assert!(!read.iter().flatten().any(is_read), "{step:?}");
        }
    }
}

#[test]
fn no_operation_gets_memory_twice() {
    for precision in [Precision::F32, Precision::Bf16] {
        for setup in setups(precision) {
            assert_no_memory_twice(Runner::new(SMALL, setup).program.plan());
        }
    }
}

#[test]
fn an_overlap_is_found() {
    let (tape, vars) = toy::Toy::new(SMALL).record(Precision::F32, 2, false);
    let mut plan = Plan::new(&tape, Some(vars.loss), &Cpu::new(1), Options::default());
    assert!(plan.overlap().is_none());
    let live: Vec<usize> = (0..plan.buffers.len())
        .filter(|&i| plan.buffers[i].kind == Kind::Input)
        .collect();
    plan.buffers[live[1]].offset = plan.buffers[live[0]].offset;
    assert!(plan.overlap().is_some());
}

/// The panic's message.
fn panic_of(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    let text = panic.downcast_ref::<String>().cloned();
    text.expect("a panic with a message")
}

#[test]
fn an_operation_without_a_gradient_is_refused_on_the_way_to_the_loss() {
    let message = panic_of(|| {
        let mut specs = ParamSpecs::default();
        let mut map = |name, shape: &[usize]| specs.add(name, shape, Group::Matrix, Init::Zeros);
        let (table, qkv, head) = (
            map("table", &[7, 4]),
            map("qkv", &[6, 4]),
            map("head", &[7, 2]),
        );
        let mut tape = Tape::new(Precision::F32);
        let (ids, targets) = (tape.input("ids", &[1, 3]), tape.input("targets", &[1, 3]));
        let [table, qkv, head] = [table, qkv, head].map(|id| tape.param(&specs, id));
        let x = tape.embedding(ids, table);
        let qkv = tape.linear(x, qkv, None);
        let h = tape.attention_cached(qkv, &Attention::new(1, 1, 2), 3);
        let loss = tape.classifier(h, head, targets);
        Plan::new(&tape, Some(loss), &Cpu::new(1), Options::default());
    });
    assert!(
        message.contains("attention_cached") && message.contains("tests.rs:"),
        "{message}"
    );
}

#[test]
fn wrong_shapes_name_the_operation_both_shapes_and_the_line() {
    let line = std::panic::Location::caller().line();
    let message = panic_of(|| {
        let toy = Awkward::new();
        let mut tape = Tape::new(Precision::F32);
        let ids = tape.input("ids", &[1, 3]);
        let table = tape.param(&toy.specs, toy.table);
        let x = tape.embedding(ids, table);
        tape.scope("head", |tape| tape.linear_wide(x, ids));
    });
    let here = format!("tests.rs:{}", line + 7);
    for part in ["linear", "[1, 3, 4]", "[1, 3]", "\"head\"", &here] {
        assert!(message.contains(part), "{part} in {message}");
    }
}
