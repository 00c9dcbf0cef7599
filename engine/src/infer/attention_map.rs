//! Attention maps: where each token of a text looks, in every layer and head.
//!
//! The kernel of attention never holds a T x T matrix, so the probabilities are made here: a forward is recorded as for
//! writing, with the queries and keys of every layer kept, and the definition of [`kernels::ops::attention`] is applied to
//! them in `f64`. Nothing of the model changes, and the memory of the forward is its own.

use super::load::NoRoom;
use super::session::{Recorded, run};
use crate::model::Model;
use crate::param::Params;
use crate::tape::{NodeOp, Tape, Var};
use kernels::arena::Arena;
use kernels::ops::attention_cached::AttentionCached;
use kernels::{Cpu, Precision};
use std::any::Any;

/// Longest text, in tokens.
pub const LONGEST: usize = 256;

/// What every layer of a model looked at while it read a text of T tokens.
#[derive(Debug)]
pub struct AttentionMaps {
    tokens: usize,
    layers: Vec<Layer>,
}

/// Queries and keys of one layer.
#[derive(Debug)]
struct Layer {
    attention: AttentionCached,
    /// (T, (H + 2 Hk) d), as [`AttentionCached`] reads them.
    qkv: Vec<f64>,
}

impl AttentionMaps {
    /// Lets `model` read `tokens`: at least one, at most [`LONGEST`] and at most its positions, each below the vocabulary's
    /// size.
    ///
    /// # Errors
    /// If the memory of the forward does not fit.
    pub fn new(
        model: &Model,
        precision: Precision,
        tokens: &[i32],
        params: &mut Params,
        cpu: &Cpu,
    ) -> Result<Self, NoRoom> {
        let mut tape = Tape::new(precision);
        let vars = model.record_inference(&mut tape, tokens.len(), tokens.len(), false);
        let found = sites(&tape);
        for (_, qkv, _) in &found {
            tape.keep(*qkv);
        }
        let mut recorded = Recorded::of(tape, vars, tokens.len(), cpu);
        let need = recorded.program.plan().bytes() + recorded.program.state_bytes();
        NoRoom::check("an attention map", need as u64)?;
        let mut arena = Arena::new(recorded.program.plan().bytes());
        run(&mut recorded, tokens, 0, &mut arena, params, cpu);
        let layers = found.into_iter().map(|(attention, qkv, _)| Layer {
            attention,
            qkv: recorded.program.read(&arena, qkv).to_f64(),
        });
        Ok(Self {
            tokens: tokens.len(),
            layers: layers.collect(),
        })
    }

    /// Heads of each layer that attends.
    pub fn heads(&self) -> Vec<usize> {
        self.layers
            .iter()
            .map(|layer| layer.attention.heads)
            .collect()
    }

    /// The probabilities of one head: row i is what token i gives to tokens 0 to i, and sums to 1.
    pub fn rows(&self, layer: usize, head: usize) -> Vec<Vec<f64>> {
        self.layers[layer].rows(head, self.tokens)
    }

    /// Entropy of each layer's and head's rows, their mean, in nats: 0 where every token looks at one, the mean of `ln(i + 1)`
    /// where each looks at all alike.
    pub fn entropies(&self) -> Vec<Vec<f64>> {
        let of = |layer: &Layer, head| {
            let rows = layer.rows(head, self.tokens);
            rows.iter().map(|row| entropy(row)).sum::<f64>() / self.tokens as f64
        };
        self.layers
            .iter()
            .map(|layer| (0..layer.attention.heads).map(|h| of(layer, h)).collect())
            .collect()
    }
}

/// `-sum p ln p`, in nats.
pub fn entropy(probabilities: &[f64]) -> f64 {
    let of = |p: &f64| if *p > 0.0 { -p * p.ln() } else { 0.0 * p };
    probabilities.iter().map(of).sum()
}

/// Every attention of a recording, with what it reads (queries, keys and values) and what it makes.
fn sites(tape: &Tape) -> Vec<(AttentionCached, Var, Var)> {
    let nodes = tape.nodes.iter();
    nodes
        .filter_map(|node| match &node.op {
            NodeOp::Infer(op, _) => {
                let op = (op.as_ref() as &dyn Any).downcast_ref::<AttentionCached>()?;
                Some((op.clone(), node.inputs[0], node.outputs[0]))
            }
            NodeOp::Op(_) => None,
        })
        .collect()
}

impl Layer {
    fn rows(&self, head: usize, tokens: usize) -> Vec<Vec<f64>> {
        let d = self.attention.head_dim;
        let group = self.attention.heads / self.attention.kv_heads;
        let cols = (self.attention.heads + 2 * self.attention.kv_heads) * d;
        let part = |token: usize, column: usize| {
            let from = token * cols + column * d;
            &self.qkv[from..from + d]
        };
        let key = |token| part(token, self.attention.heads + head / group);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        (0..tokens)
            .map(|i| {
                let q = part(i, head);
                let scores = (0..=i).map(|j| self.attention.scale * dot(q, key(j)));
                softmax(scores.collect())
            })
            .collect()
    }
}

fn softmax(mut scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for score in &mut scores {
        *score = (*score - largest).exp();
    }
    let sum: f64 = scores.iter().sum();
    for score in &mut scores {
        *score /= sum;
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TOKENS: [i32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

    fn model(sets: &[&str]) -> Model {
        let text = "data = { source = \"storybook\", sequence_length = 16 }\noptimizer.lr = 1.0\n\
            train = { batch_size = 1, max_steps = 1 }\n\
            model = { layers = 2, dim = 24, heads = 4, ffn = { hidden = 16 } }\n";
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = Config::parse(None, text, &sets).expect("a valid configuration");
        Model::new(&config.model, 11)
    }

    /// The output of each layer's attention (T, H d), by the operation itself, and the values that it read.
    fn by_the_operation(model: &Model, params: &mut Params, cpu: &Cpu) -> Vec<[Vec<f64>; 2]> {
        let mut tape = Tape::new(Precision::F32);
        let vars = model.record_inference(&mut tape, TOKENS.len(), TOKENS.len(), false);
        let found = sites(&tape);
        for (_, qkv, out) in &found {
            tape.keep(*qkv);
            tape.keep(*out);
        }
        let mut recorded = Recorded::of(tape, vars, TOKENS.len(), cpu);
        let mut arena = Arena::new(recorded.program.plan().bytes());
        run(&mut recorded, &TOKENS, 0, &mut arena, params, cpu);
        let read = |var| recorded.program.read(&arena, var).to_f64();
        found
            .iter()
            .map(|(_, qkv, out)| [read(*qkv), read(*out)])
            .collect()
    }

    #[test]
    fn probabilities_times_values_are_the_output_of_attention() {
        for sets in [
            &["model.kv_heads=2"][..],
            &["model.mixer.kind=\"mqa\"", "model.mixer.qk_norm=true"],
            &[
                "model.mixer.kind=\"mha\"",
                "model.position.kind=\"learned\"",
            ],
        ] {
            let (model, cpu) = (model(sets), Cpu::new(1));
            let mut params = model.init(5, Precision::F32, false);
            // Larger weights, so that heads have an opinion.
            params.values_mut().iter_mut().for_each(|x| *x *= 8.0);
            let maps = AttentionMaps::new(&model, Precision::F32, &TOKENS, &mut params, &cpu)
                .expect("it fits");
            let outputs = by_the_operation(&model, &mut params, &cpu);
            assert_eq!(maps.heads(), [4, 4]);
            for (layer, [qkv, out]) in outputs.iter().enumerate() {
                let op = &maps.layers[layer].attention;
                let (d, cols) = (op.head_dim, (op.heads + 2 * op.kv_heads) * op.head_dim);
                for head in 0..op.heads {
                    let column = (op.heads + op.kv_heads + head * op.kv_heads / op.heads) * d;
                    for (i, row) in maps.rows(layer, head).iter().enumerate() {
                        assert_eq!(row.len(), i + 1);
                        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                        for c in 0..d {
                            let values = row.iter().enumerate();
                            let want: f64 =
                                values.map(|(j, p)| p * qkv[j * cols + column + c]).sum();
                            let got = out[(i * op.heads + head) * d + c];
                            assert!((want - got).abs() < 1e-5, "{sets:?} {layer} {head} {i}");
                        }
                    }
                }
            }
            let entropies = maps.entropies();
            assert!(
                entropies
                    .iter()
                    .flatten()
                    .all(|h| *h > 0.0 && *h < 8f64.ln())
            );
        }
    }

    #[test]
    fn uniform_attention_has_the_entropy_of_its_length_and_a_single_look_none() {
        let attention = AttentionCached::new(1, 1, 2, 5);
        let layer = Layer {
            attention,
            qkv: vec![0.0; 5 * 6],
        };
        let maps = AttentionMaps {
            tokens: 5,
            layers: vec![layer],
        };
        for (i, row) in maps.rows(0, 0).iter().enumerate() {
            assert!((entropy(row) - ((i + 1) as f64).ln()).abs() < 1e-12);
        }
        let mean = (1..=5).map(|t| f64::from(t).ln()).sum::<f64>() / 5.0;
        assert!((maps.entropies()[0][0] - mean).abs() < 1e-12);
        assert_eq!(entropy(&[0.0, 1.0, 0.0]), 0.0);
        assert!(entropy(&[f64::NAN, 1.0]).is_nan());
    }
}
