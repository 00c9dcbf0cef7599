//! Training on the emulated device: every variant of a model gives the losses, gradients and updates that the CPU gives; the
//! same bits every time, captured or not; and a run may move from one device to the other.
//!
//! Skips itself, visibly, where there is no C++ compiler.

#![cfg(unix)]

#[path = "variants/list.rs"]
mod list;

use engine::config::Config;
use engine::data::Batch;
use engine::model::Model;
use engine::param::Group;
use engine::train::ahead::{Ahead, Planned};
use engine::train::step::{Gradients, Trainer};
use kernels::Cpu;
use kernels::gpu::compiled::Cache;
use kernels::gpu::driver::Kind;
use kernels::gpu::{Gpu, GpuError, devices};
use list::{VOCAB, all, batch, config, valid_targets};

fn gpu() -> Option<Gpu> {
    let program = std::env::current_exe().expect("a test knows its file");
    let cache = Cache::new(program.with_file_name("emulated"));
    match devices::open(Kind::Emulated, 0, Some(cache)) {
        Ok(gpu) => Some(gpu),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: training on the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn trainer(config: &Config, gpu: Option<&Gpu>) -> Trainer {
    let model = Model::new(&config.model, VOCAB);
    let mut trainer = Trainer::on(config, model, Cpu::new(1), gpu.cloned()).expect("memory");
    // Gains away from one and biases away from zero, so that nothing hides behind them.
    let mut stream = kernels::philox::Stream::new(1, 1);
    let values = trainer.params.values_mut().iter_mut();
    values.for_each(|x| *x += 0.05 * stream.normal() as f32);
    trainer
}

/// Two micro-batches of different heights, with targets to ignore and documents that end within a row.
fn batches(step: u64) -> Vec<Batch> {
    [(3, 0), (1, 3)]
        .map(|(rows, row0)| {
            let mut batch = batch(rows, 12, 100 * step + row0, 5);
            batch.row0 = row0;
            batch.valid_targets = valid_targets(&batch);
            batch
        })
        .into()
}

/// Losses and norms of some steps, all bits.
fn train(trainer: &mut Trainer, steps: std::ops::RangeInclusive<u64>, look: bool) -> Vec<[u64; 2]> {
    steps
        .map(|step| {
            let gradients = trainer
                .gradients(&batches(step), step, look, &|| false)
                .expect("the device works")
                .expect("not stopped");
            trainer
                .update(&gradients, 1e-2, step, 1.0)
                .expect("the device works");
            [gradients.loss.to_bits(), gradients.norm.to_bits()]
        })
        .collect()
}

/// `|a - b| / |b|`.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f(f64::from(*a), f64::from(*b)))
            .sum()
    };
    let size = sum(&|_, b| b * b);
    let error = sum(&|a, b| (a - b) * (a - b));
    if error == 0.0 {
        0.0
    } else {
        (error / size.max(1e-12)).sqrt()
    }
}

#[test]
fn every_variant_trains_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for (precision, loss_bound, gradient_bound) in [("f32", 1e-5, 1e-4), ("bf16", 2e-2, 3e-2)] {
        for (name, mut config) in all() {
            config.device.bf16 = precision == "bf16";
            let [mut on_gpu, mut on_cpu] = [Some(&gpu), None].map(|gpu| trainer(&config, gpu));
            let step = |trainer: &mut Trainer| {
                let gradients = trainer.gradients(&batches(1), 1, true, &|| false);
                let gradients = gradients.expect("the device works").expect("not stopped");
                trainer.fetch_gradients().expect("the device works");
                gradients
            };
            let (got, want) = (step(&mut on_gpu), step(&mut on_cpu));
            let error = (got.loss - want.loss).abs();
            assert!(
                error < loss_bound,
                "{name} in {precision}: loss differs by {error:e}"
            );
            for (id, param) in on_cpu.params.ids() {
                let (a, b) = (on_gpu.params.gradient(id), on_cpu.params.gradient(id));
                let error = difference(a, b);
                let tiny = b.iter().all(|x| x.abs() < 1e-6);
                assert!(
                    error <= gradient_bound || tiny,
                    "{name} in {precision}: gradient of {param} differs by {error:e} of it"
                );
            }
            let seen = on_gpu.statistics.rms.iter().zip(&on_cpu.statistics.rms);
            for (layer, (a, b)) in seen.enumerate() {
                assert!(
                    (a - b).abs() <= 1e-2 * b.abs(),
                    "{name} in {precision}: layer {layer} has {a}, not {b}"
                );
            }
            let seen = on_gpu.statistics.max.iter().zip(&on_cpu.statistics.max);
            for (layer, (a, b)) in seen.enumerate() {
                assert!(
                    (a - b).abs() <= 3e-2 * b.abs(),
                    "{name} in {precision}: layer {layer} has at most {a}, not {b}"
                );
            }
            assert_eq!(on_gpu.statistics.nonfinite, on_cpu.statistics.nonfinite);
            let sketches = &on_gpu.statistics.sketches;
            for (layer, (a, b)) in sketches.iter().zip(&on_cpu.statistics.sketches).enumerate() {
                // A value at a bound may lie on either side of it.
                let top = a.top.max(b.top);
                let pairs = a.buckets(top).into_iter().zip(b.buckets(top));
                let moved: u64 = pairs.map(|(a, b)| a.abs_diff(b)).sum();
                assert_eq!((a.count(), a.stride), (b.count(), b.stride));
                assert!(
                    moved <= a.count() / 20 + 2,
                    "{name} in {precision}: layer {layer} is spread as {a:?}, not {b:?}"
                );
            }
            for trainer in [&mut on_gpu, &mut on_cpu] {
                trainer
                    .update(&got, 1e-2, 1, 1.0)
                    .expect("the device works");
                trainer.fetch().expect("the device works");
            }
            // Where a gradient is nothing but rounding, the first step of AdamW goes either way.
            let gradients = on_cpu.params.gradients();
            let largest = gradients.iter().fold(0f32, |a, g| a.max(g.abs()));
            let weights = on_gpu.params.values().iter().zip(on_cpu.params.values());
            for ((a, b), g) in weights.zip(gradients) {
                assert!(
                    (a - b).abs() < 1e-3 || g.abs() < 0.05 * largest,
                    "{name} in {precision}: weight {a}, not {b}, by gradient {g}"
                );
            }
            let [a, b] = [&mut on_gpu, &mut on_cpu].map(|trainer| {
                let summed = trainer.evaluate(&batches(9)[0]);
                summed.expect("the device works")
            });
            assert!(
                (a - b).abs() <= 40.0 * loss_bound,
                "{name} in {precision}: {a} and {b}"
            );
        }
    }
}

#[test]
fn the_same_bits_captured_or_looked_at() {
    let Some(gpu) = gpu() else { return };
    for precision in ["f32", "bf16"] {
        let mut config = config(&["model.dropout=0.1", "model.mixer.qk_norm=true"]);
        config.device.bf16 = precision == "bf16";
        let once = train(&mut trainer(&config, Some(&gpu)), 1..=5, false);
        let again = train(&mut trainer(&config, Some(&gpu)), 1..=5, false);
        assert_eq!(once, again, "{precision}: twice the same");
        let looked = train(&mut trainer(&config, Some(&gpu)), 1..=5, true);
        assert_eq!(once, looked, "{precision}: captured and not");
        let distinct: std::collections::BTreeSet<_> = once.iter().collect();
        assert_eq!(
            distinct.len(),
            5,
            "{precision}: every step has its own batch"
        );
    }
}

#[test]
fn a_run_moves_between_devices() {
    let Some(gpu) = gpu() else { return };
    let config = config(&[]);
    let mut stays = trainer(&config, None);
    train(&mut stays, 1..=6, false);
    let mut moves = trainer(&config, None);
    train(&mut moves, 1..=2, false);
    for (to, steps) in [(Some(&gpu), 3..=4), (None, 5..=6)] {
        moves.move_to(to.cloned()).expect("memory");
        moves.configure(&config, Cpu::new(1)).expect("memory");
        assert_eq!(moves.gpu().is_some(), to.is_some());
        train(&mut moves, steps, false);
    }
    let error = difference(moves.params.values(), stays.params.values());
    assert!(error > 0.0 && error < 1e-4, "weights differ by {error:e}");
    // Moments too: without them the last steps would go elsewhere.
    for ((name, a), (_, b)) in moves.optimizer.state().iter().zip(stays.optimizer.state()) {
        let error = difference(a, b);
        assert!(error < 1e-3, "{name} differs by {error:e}");
    }
}

#[test]
fn writing_on_a_device_is_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for (precision, bound) in [("f32", 1e-4), ("bf16", 0.1)] {
        for sets in [
            &[][..],
            &[
                "model.mixer.qk_norm=true",
                "model.mixer.kind=\"mha\"",
                "model.kv_heads=4",
            ],
        ] {
            let mut config = config(sets);
            config.device.bf16 = precision == "bf16";
            let [mut on_gpu, mut on_cpu] = [Some(&gpu), None].map(|gpu| trainer(&config, gpu));
            // A prompt longer than what is read at once, a text that goes on, and one that begins anew.
            let [mut a, mut b] =
                [&mut on_gpu, &mut on_cpu].map(|t| t.session(100).expect("memory"));
            let text = |n: i32| -> Vec<i32> { (0..n).map(|i| i * 7 % VOCAB as i32).collect() };
            for (truncate, next) in [(None, text(70)), (None, text(1)), (Some(3), text(2))] {
                if let Some(len) = truncate {
                    a.truncate(len);
                    b.truncate(len);
                }
                let got = on_gpu.read(&mut a, &next).expect("it works").to_vec();
                let want = on_cpu.read(&mut b, &next).expect("it works").to_vec();
                assert_eq!(a.tokens(), b.tokens());
                for (x, y) in got.iter().zip(&want) {
                    assert!(
                        (x - y).abs() < bound,
                        "{precision}, {sets:?}: logit {x}, not {y}"
                    );
                }
            }
            assert!(on_gpu.read(&mut a, &text(99)).is_err(), "too long");
            // Training between does not disturb the caches, and its weights are those that write.
            train(&mut on_gpu, 1..=2, false);
            let after = on_gpu.read(&mut a, &text(1)).expect("it works").to_vec();
            let before = on_cpu.read(&mut b, &text(1)).expect("it works").to_vec();
            assert_ne!(after, before);
        }
    }
}

fn planned(step: u64) -> Planned {
    Planned {
        lr: 1e-2 / step as f64,
        step,
        clip_norm: 1.0,
        most_loss: f64::INFINITY,
    }
}

/// Weights and optimizer state, all bits.
fn bits(trainer: &mut Trainer) -> Vec<u32> {
    trainer.fetch().expect("the device works");
    let state = trainer.optimizer.state();
    let all = state.iter().flat_map(|(_, values)| values.iter());
    all.chain(trainer.params.values())
        .map(|x| x.to_bits())
        .collect()
}

/// A step whose update is known beforehand, or asked for afterwards.
fn step(trainer: &mut Trainer, batches: &[Batch], ahead: &Ahead<'_>, plan: &Planned) -> Gradients {
    let look = plan.step == 4;
    let gradients = trainer.gradients_ahead(batches, plan.step, look, ahead, &|| false);
    let gradients = gradients.expect("the device works").expect("not stopped");
    let updated = trainer.update(&gradients, plan.lr, plan.step, plan.clip_norm);
    let (update, clipped) = updated.expect("the device works");
    assert_eq!(clipped, update.grad_scale < 1.0);
    gradients
}

#[test]
fn an_update_behind_its_backward_is_the_one_asked_for_later() {
    let Some(gpu) = gpu() else { return };
    for (precision, sets) in [
        ("bf16", &["optimizer.stochastic_rounding=true"][..]),
        ("f32", &["optimizer.kind=\"sgd\"", "optimizer.momentum=0.9"]),
    ] {
        let mut config = config(sets);
        config.device.bf16 = precision == "bf16";
        for count in [1, 2] {
            let of = |step: u64| batches(step)[..count].to_vec();
            let run = |foreseen: bool| {
                let mut trainer = trainer(&config, Some(&gpu));
                let told: Vec<[u64; 2]> = (1..=7)
                    .map(|number| {
                        let plan = planned(number);
                        // What comes at step 6 is not what was expected.
                        let next = of(number + 1 + u64::from(number == 5)).swap_remove(0);
                        let ahead = Ahead {
                            update: foreseen.then_some(plan),
                            next: foreseen.then_some(&next),
                        };
                        let gradients = step(&mut trainer, &of(number), &ahead, &plan);
                        [gradients.loss.to_bits(), gradients.norm.to_bits()]
                    })
                    .collect();
                (told, bits(&mut trainer))
            };
            let (asked, foreseen) = (run(false), run(true));
            let what = format!("{precision} {sets:?}, {count} micro-batches");
            assert_eq!(foreseen.0, asked.0, "{what}: losses and norms");
            assert!(foreseen.1 == asked.1, "{what}: weights or moments differ");
        }
    }
}

#[test]
fn a_step_that_is_not_finite_or_held_touches_nothing() {
    let Some(gpu) = gpu() else { return };
    let mut held = trainer(&config(&[]), Some(&gpu));
    let mut free = trainer(&config(&[]), Some(&gpu));
    for number in 1..=4 {
        let (batches, plan) = (batches(number), planned(number));
        let before = bits(&mut held);
        // Held: nothing happens until it is asked for, and then the same.
        let limited = Planned {
            most_loss: 0.1,
            ..plan
        };
        let ahead = |update| Ahead {
            update: Some(update),
            next: None,
        };
        let gradients = held.gradients_ahead(&batches, number, false, &ahead(limited), &|| false);
        let gradients = gradients.expect("the device works").expect("not stopped");
        assert!(
            gradients.loss > 0.1 && bits(&mut held) == before,
            "{number}"
        );
        let updated = held.update(&gradients, plan.lr, plan.step, plan.clip_norm);
        updated.expect("the device works");
        step(&mut free, &batches, &ahead(plan), &plan);
        assert!(bits(&mut held) == bits(&mut free), "step {number}");
    }
    // A weight that is not finite, and so the loss: captured or not, what else there is stays.
    held.params.values_mut()[0] = f32::INFINITY;
    let before = bits(&mut held);
    for number in 5..=7 {
        let (batches, plan) = (batches(number), planned(number));
        let ahead = Ahead {
            update: Some(plan),
            next: None,
        };
        let gradients = held.gradients_ahead(&batches, number, false, &ahead, &|| false);
        let gradients = gradients.expect("the device works").expect("not stopped");
        assert!(!(gradients.loss.is_finite() && gradients.norm.is_finite()));
        assert!(bits(&mut held) == before, "step {number}");
    }
}

#[test]
fn a_stop_is_heard_between_two_compilations() {
    let Some(gpu) = gpu() else { return };
    let mut late = trainer(&config(&[]), Some(&gpu));
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == 4
    };
    let given_up = late.gradients(&batches(1), 1, false, &stop);
    assert_eq!(given_up.expect("the device works"), None);
    let compiled = gpu.loaded();
    assert!(
        (3..12).contains(&compiled),
        "{compiled} sources were loaded"
    );
    // Nothing is left of it: the step is made again as if it were the first.
    let got = train(&mut late, 1..=2, false);
    assert!(gpu.loaded() > 2 * compiled);
    // What an emulation reaches says nothing of a device.
    assert_eq!(late.device_limits(), Ok(None));
    assert_eq!(
        got,
        train(&mut trainer(&config(&[]), Some(&gpu)), 1..=2, false)
    );
}

#[test]
fn stochastic_rounding_keeps_all_but_vectors_in_bf16() {
    let gpu = gpu();
    for gpu in [None, gpu.as_ref()] {
        let mut trainer = trainer(&config(&["optimizer.stochastic_rounding=true"]), gpu);
        train(&mut trainer, 1..=2, false);
        trainer.fetch().expect("the device works");
        let mut vectors = 0;
        for (group, range) in trainer.params.groups() {
            for x in &trainer.params.values()[range.clone()] {
                let is_bf16 = x.to_bits().trailing_zeros() >= 16;
                vectors += u32::from(!is_bf16);
                assert!(is_bf16 || *group == Group::Vector, "{x} of {group:?}");
            }
        }
        assert!(vectors > 0, "gains keep all their bits");
    }
}
