//! Statistics of the layers: how large activations, gradients, weights and updates are.

use crate::link::Layers;
use crate::optim::{Optimizer, Update};
use crate::param::{Group, ParamId, Params};
use crate::tape::observe::Statistics;

/// Makes a `layers` event. `outputs` are the statistics of the last replay, in the order of `names`; gradients are those before
/// clipping. A layer's parameters are those whose names start with its own.
pub fn layers(
    step: u64,
    names: &[String],
    outputs: &Statistics,
    params: &Params,
    optimizer: &dyn Optimizer,
    update: &Update,
) -> Layers {
    let mut layers = Layers {
        step,
        names: names.to_vec(),
        activation_rms: outputs.rms.clone(),
        dead_share: outputs.dead_share.clone(),
        ..Layers::default()
    };
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
        layers.weight_rms.push(weight);
        layers.update_ratio.push(if weight > 0.0 {
            rms(moved) / weight
        } else {
            0.0
        });
    }
    layers
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::data::Batch;
    use crate::model::Model;
    use crate::train::step::Trainer;
    use kernels::Cpu;

    /// The share of dead units of each layer after a step in which the first `dead` numbers of `param` were `value`.
    fn dead_share(ffn: &str, sets: &[&str], param: &str, dead: usize, value: f32) -> Vec<f64> {
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
        trainer.statistics.dead_share.clone()
    }

    #[test]
    fn hidden_units_that_never_fire_are_counted_whatever_is_fused() {
        let relu = "{ kind = \"mlp\", activation = \"relu\", hidden = 32, bias = true }";
        let bias = "blocks.0.ffn.up.bias";
        for sets in [
            &[][..],
            &["train.fuse=false"],
            &["train.recompute=true"],
            &["device.precision=bf16"],
        ] {
            let found = dead_share(relu, sets, bias, 16, -100.0);
            assert_eq!(found, [0.0, 0.0, 0.5, 0.0], "{sets:?}");
            let found = dead_share(relu, sets, bias, 0, 0.0);
            assert_eq!(found, [0.0; 4], "{sets:?}");
            // A closed gate: eight rows of 16 numbers.
            let gated = "{ kind = \"swiglu\", hidden = 32 }";
            let gate = "blocks.0.ffn.gate_up.weight";
            let found = dead_share(gated, sets, gate, 8 * 16, 0.0);
            assert_eq!(found, [0.0, 0.0, 0.25, 0.0], "{sets:?}");
        }
    }
}
