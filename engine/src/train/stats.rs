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
