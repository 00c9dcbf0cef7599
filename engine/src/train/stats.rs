//! Statistics of the layers: how large activations, gradients, weights and updates are, and how the first two are spread.

use crate::link::Layers;
use crate::optim::{Optimizer, Update};
use crate::param::{Group, ParamId, Params};
use crate::sketch::{Counter, Sketch};
use crate::tape::observe::Statistics;

/// About how many statistics of a run have sketches: they are larger than all of the figures together.
const SKETCHES: u64 = 512;

/// Whether the statistics of a step, taken every `interval` steps of `max_steps`, have sketches.
pub fn sketches_are_due(step: u64, interval: u64, max_steps: u64) -> bool {
    let interval = interval.max(1);
    let stride = (max_steps / interval).div_ceil(SKETCHES).max(1);
    (step / interval).is_multiple_of(stride)
}

/// Makes a `layers` event. `outputs` are the statistics of the last replay, in the order of `names`; gradients are those before
/// clipping. A layer's parameters are those whose names start with its own.
pub fn layers(
    step: u64,
    names: &[String],
    outputs: &Statistics,
    params: &Params,
    optimizer: &dyn Optimizer,
    update: &Update,
    sketches: bool,
) -> Layers {
    let mut layers = Layers {
        step,
        names: names.to_vec(),
        activation_rms: outputs.rms.clone(),
        dead_share: outputs.dead_share.clone(),
        activation_max: outputs.max.clone(),
        activation_nonfinite: outputs.nonfinite.clone(),
        ..Layers::default()
    };
    if sketches {
        layers.activation_sketch.clone_from(&outputs.sketches);
    }
    for name in names {
        let prefix = format!("{name}.");
        let members: Vec<(ParamId, Group)> = params
            .ids()
            .filter(|(_, other)| other.starts_with(&prefix))
            .map(|(id, _)| (id, params.specs().get(id).group))
            .collect();
        let count: usize = members.iter().map(|(id, _)| params.range(*id).len()).sum();
        let rms = |sum: f64| (sum / count.max(1) as f64).sqrt();
        let squares = |values: &[f32]| {
            values
                .iter()
                .map(|x| f64::from(*x) * f64::from(*x))
                .sum::<f64>()
        };
        let weight = rms(members
            .iter()
            .map(|(id, _)| squares(params.value(*id)))
            .sum());
        let moved: f64 = members
            .iter()
            .map(|(id, group)| {
                let range = params.range(*id);
                let len = range.len() as f64;
                optimizer.update_rms(params, range, *group, update).powi(2) * len
            })
            .sum();
        layers.gradient_rms.push(rms(members
            .iter()
            .map(|(id, _)| squares(params.gradient(*id)))
            .sum()));
        if sketches {
            layers.gradient_sketch.push(sketch(params, &members));
        }
        layers.weight_rms.push(weight);
        layers.update_ratio.push(if weight > 0.0 {
            rms(moved) / weight
        } else {
            0.0
        });
    }
    layers
}

/// How the gradients of some parameters are spread.
fn sketch(params: &Params, members: &[(ParamId, Group)]) -> Sketch {
    let total = members.iter().map(|(id, _)| params.range(*id).len()).sum();
    let width = |(id, _): &(ParamId, Group)| {
        let shape = &params.specs().get(*id).shape;
        shape.last().copied().unwrap_or(1)
    };
    let widths: Vec<usize> = members.iter().map(width).collect();
    let mut counter = Counter::new(total, &widths);
    for (id, _) in members {
        let gradient = params.gradient(*id);
        counter.add(gradient.len(), |at| gradient[at]);
    }
    counter.sketch()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::data::Batch;
    use crate::model::Model;
    use crate::sketch::OCTAVES;
    use crate::train::step::Trainer;
    use kernels::Cpu;

    /// A trainer after the gradients of a step in which the first `dead` numbers of `param` were `value`.
    fn trained(ffn: &str, sets: &[&str], param: &str, dead: usize, value: f32) -> Trainer {
        let text = format!(
            "data.sequence_length = 64\nmodel = {{ layers = 1, dim = 16, heads = 2, ffn = {ffn} }}\n\
             train = {{ batch_size = 4, max_steps = 10 }}\noptimizer.lr = 1e-3\n"
        );
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = Config::parse(None, &text, &sets).unwrap();
        let model = Model::new(&config.model, 32);
        let mut trainer = Trainer::new(&config, model, Cpu::new(1));
        let start = trainer
            .params
            .range(trainer.params.id(param).unwrap())
            .start;
        trainer.params.values_mut()[start..start + dead].fill(value);
        let ids: Vec<i32> = (0..256).map(|i| (i * i + i / 7) % 32).collect();
        let batch = Batch {
            rows: 4,
            height: 4,
            tokens: ids.clone(),
            targets: ids,
            doc_start: vec![0; 256],
            positions: (0..256).map(|i| i % 64).collect(),
            valid_targets: 256,
            ..Batch::default()
        };
        let gradients = trainer.gradients(&[batch], 1, true, &|| false);
        let gradients = gradients.unwrap().unwrap();
        assert!(gradients.loss.is_finite());
        assert_eq!(trainer.statistics.rms.len(), 4);
        assert!(trainer.statistics.rms.iter().all(|rms| *rms > 0.0));
        trainer
    }

    /// The share of dead units of each layer, likewise.
    fn dead_share(ffn: &str, sets: &[&str], param: &str, dead: usize, value: f32) -> Vec<f64> {
        let trainer = trained(ffn, sets, param, dead, value);
        trainer.statistics.dead_share.clone()
    }

    const RELU: &str = "{ kind = \"mlp\", activation = \"relu\", hidden = 32, bias = true }";
    const SETS: [&[&str]; 4] = [
        &[],
        &["train.fuse=false"],
        &["train.recompute=true"],
        &["device.precision=bf16"],
    ];

    #[test]
    fn the_greatest_value_and_the_spread_are_those_of_the_output_whatever_is_fused() {
        for sets in SETS {
            // One channel of the feed-forward network's output is far from the others at every token.
            let trainer = trained(RELU, sets, "blocks.0.ffn.down.bias", 1, -300.0);
            let seen = &trainer.statistics;
            let max = seen.max[2];
            assert!((max - 300.0).abs() < 3.0, "{sets:?}: {max}");
            assert!(seen.max[1] < 100.0, "{sets:?}: {:?}", seen.max);
            assert_eq!(seen.nonfinite, [0.0; 4], "{sets:?}");
            let sketch = &seen.sketches[2];
            // 256 to 512: every token's first channel, and nothing else of that size.
            assert_eq!((sketch.top, sketch.negative[0]), (9, 256), "{sketch:?}");
            for (layer, sketch) in seen.sketches.iter().enumerate() {
                assert_eq!((sketch.count(), sketch.stride), (4096, 1), "{layer}");
                // The greatest magnitude lies in the outermost octave.
                let top = f64::exp2(f64::from(sketch.top));
                assert!(seen.max[layer] < top && seen.max[layer] >= top / 2.0);
            }
        }
    }

    #[test]
    fn an_event_has_sketches_where_they_are_due() {
        let trainer = trained(RELU, &[], "blocks.0.ffn.up.bias", 0, 0.0);
        let names = trainer.model.layer_names();
        let event = |sketches| {
            layers(
                3,
                &names,
                &trainer.statistics,
                &trainer.params,
                &*trainer.optimizer,
                &Update {
                    lr: 1e-3,
                    step: 3,
                    grad_scale: 1.0,
                    seed: 1,
                },
                sketches,
            )
        };
        let plain = event(false);
        assert!(plain.activation_sketch.is_empty() && plain.gradient_sketch.is_empty());
        assert_eq!(plain.activation_max, trainer.statistics.max);
        let whole = event(true);
        for (layer, name) in names.iter().enumerate() {
            let sketch = &whole.gradient_sketch[layer];
            let prefix = format!("{name}.");
            let members = trainer.params.ids().filter(|id| id.1.starts_with(&prefix));
            let count: usize = members.map(|id| trainer.params.range(id.0).len()).sum();
            assert_eq!(sketch.count(), count as u64, "{name}");
            // The mean square by the buckets' bounds holds the measured one between them.
            let squares = |scale: f64| {
                let buckets = sketch.buckets(sketch.top);
                let bounds = Sketch::bounds(sketch.top);
                let pairs = buckets.iter().zip(bounds).enumerate();
                pairs
                    .filter(|(at, _)| *at != OCTAVES)
                    .map(|(at, (n, bound))| {
                        // Below zero the upper bound is the smaller magnitude.
                        let least = if at < OCTAVES { bound } else { bound / 2.0 };
                        *n as f64 * (least * scale).powi(2)
                    })
                    .sum::<f64>()
            };
            let measured = whole.gradient_rms[layer].powi(2) * count as f64;
            assert!(squares(1.0) <= measured, "{name}");
            assert!(measured <= squares(2.0) * (1.0 + 1e-6), "{name}");
        }
        let all = Layers {
            activation_sketch: Vec::new(),
            gradient_sketch: Vec::new(),
            ..whole
        };
        assert_eq!(all, plain, "sketches change no figure");
    }

    #[test]
    fn a_long_run_has_about_as_many_sketches_as_a_short_one() {
        for (interval, max_steps) in [
            (10, 50),
            (10, 5120),
            (10, 100_000),
            (1, 7777),
            (50, 1 << 24),
        ] {
            let taken = (1..=max_steps / interval).map(|number| number * interval);
            let due = taken.filter(|step| sketches_are_due(*step, interval, max_steps));
            let (due, most) = (due.count() as u64, (max_steps / interval).min(SKETCHES));
            assert!(
                due <= most && due >= most / 2,
                "{interval} {max_steps}: {due}"
            );
        }
    }

    #[test]
    fn hidden_units_that_never_fire_are_counted_whatever_is_fused() {
        let bias = "blocks.0.ffn.up.bias";
        for sets in SETS {
            let found = dead_share(RELU, sets, bias, 16, -100.0);
            assert_eq!(found, [0.0, 0.0, 0.5, 0.0], "{sets:?}");
            let found = dead_share(RELU, sets, bias, 0, 0.0);
            assert_eq!(found, [0.0; 4], "{sets:?}");
            // A closed gate: eight rows of 16 numbers.
            let gated = "{ kind = \"swiglu\", hidden = 32 }";
            let gate = "blocks.0.ffn.gate_up.weight";
            let found = dead_share(gated, sets, gate, 8 * 16, 0.0);
            assert_eq!(found, [0.0, 0.0, 0.25, 0.0], "{sets:?}");
        }
    }
}
