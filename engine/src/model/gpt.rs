//! The decoder: embedding, blocks, a last norm, and the head.
//!
//! A [`Model`] is built once from a configuration: it registers its parameters and remembers its parts. It is then recorded
//! as often as needed: for training ([`Model::record_training`]) or for writing ([`Model::record_inference`]).

use super::Recording;
use super::block::Block;
use super::norm::{self, Norm};
use super::position::{self, Position};
use crate::config::ModelConfig;
use crate::param::{Group, Init, ParamId, ParamSpecs};
use crate::tape::{Tape, Var};
use kernels::Precision;

/// A decoder-only language model.
#[derive(Debug)]
pub struct Model {
    /// What it was built from; `vocab_size` is always set.
    pub config: ModelConfig,
    specs: ParamSpecs,
    embedding: ParamId,
    position: Box<dyn Position>,
    blocks: Vec<Block>,
    norm: Option<Box<dyn Norm>>,
    head: ParamId,
}

/// The values of a recorded training step that are written before a replay, and its result.
#[derive(Clone, Copy, Debug)]
pub struct TrainingVars {
    /// (B, T) token ids.
    pub tokens: Var,
    /// (B, T) token ids, or -1 where there is nothing to predict.
    pub targets: Var,
    /// (B, T) positions.
    pub positions: Var,
    /// (B, T) position in the row at which each token's document starts.
    pub doc_start: Var,
    /// (1) sum of the losses of the valid targets times `loss_scale`.
    pub loss: Var,
}

/// The values of a recorded step of writing.
#[derive(Clone, Copy, Debug)]
pub struct InferenceVars {
    /// (1, n) token ids.
    pub tokens: Var,
    /// (1, n) positions.
    pub positions: Var,
    /// (1, n, V) logits, where asked for.
    pub logits: Option<Var>,
}

impl Model {
    /// A model for a vocabulary of `vocab_size` tokens.
    pub fn new(config: &ModelConfig, vocab_size: usize) -> Self {
        let mut config = config.clone();
        config.vocab_size = Some(vocab_size);
        let mut specs = ParamSpecs::default();
        let init = Init::Normal(config.init_std);
        let embedding = specs.add(
            "embedding.weight",
            &[vocab_size, config.dim],
            Group::Embedding,
            init,
        );
        let position = position::build(&config, &mut specs);
        let blocks = (0..config.layers)
            .map(|layer| Block::new(&config, &mut specs, layer))
            .collect();
        // Post-norm blocks end in a norm already.
        let last = (config.norm.text("placement") != "post")
            .then(|| norm::build(&config, &mut specs, "norm", false));
        let head = if config.tie_embeddings {
            embedding
        } else {
            specs.add("head.weight", &[vocab_size, config.dim], Group::Head, init)
        };
        Self {
            config,
            specs,
            embedding,
            position,
            blocks,
            norm: last,
            head,
        }
    }

    /// The parameters.
    pub fn specs(&self) -> &ParamSpecs {
        &self.specs
    }

    /// Size of the vocabulary, padding included.
    pub fn vocab_size(&self) -> usize {
        self.config
            .vocab_size
            .expect("set when the model was built")
    }

    /// Parameters that take part in matrix products (the head counted once): what floating-point operations are counted by.
    pub fn matmul_parameters(&self) -> u64 {
        let matrices = self
            .specs
            .all()
            .iter()
            .filter(|spec| spec.group == Group::Matrix);
        let head = (self.vocab_size() * self.config.dim) as u64;
        matrices
            .map(|spec| spec.shape.iter().product::<usize>() as u64)
            .sum::<u64>()
            + head
    }

    /// Floating-point operations a token of training: `6 N + 12 L C T`, attention counted in full (Chowdhery et al. 2022,
    /// arXiv:2204.02311, appendix B), with C the width of all heads.
    pub fn flops_per_token(&self, sequence_length: usize) -> f64 {
        let attention =
            12 * self.config.layers * self.config.heads * self.config.head_dim * sequence_length;
        6.0 * self.matmul_parameters() as f64 + attention as f64
    }

    /// Names of the layers, in the order of the statistics: the prefix of their parameters.
    pub fn layer_names(&self) -> Vec<String> {
        let mut names = vec!["embedding".to_owned()];
        for layer in 0..self.config.layers {
            names.extend([
                format!("blocks.{layer}.mixer"),
                format!("blocks.{layer}.ffn"),
            ]);
        }
        names.push("norm".to_owned());
        names
    }

    /// Records a training step over `batch` rows of `seq` tokens. With `recompute`, only the input of each block is kept for
    /// the backward.
    pub fn record_training(
        &self,
        tape: &mut Tape,
        batch: usize,
        seq: usize,
        recompute: bool,
    ) -> TrainingVars {
        let tokens = tape.input("tokens", &[batch, seq]);
        let targets = tape.input("targets", &[batch, seq]);
        let positions = tape.input("positions", &[batch, seq]);
        let doc_start = tape.input("doc_start", &[batch, seq]);
        let recording = Recording {
            specs: &self.specs,
            positions,
            doc_start,
            cache: None,
            dropout: self.config.dropout,
        };
        let h = self.body(tape, tokens, &recording, recompute);
        let head = tape.param(&self.specs, self.head);
        let loss = tape.scope("head", |tape| tape.classifier(h, head, targets));
        TrainingVars {
            tokens,
            targets,
            positions,
            doc_start,
            loss,
        }
    }

    /// Records a step of writing: `n` new tokens behind those in caches of `capacity` tokens. With `logits`, those of every
    /// new token are kept.
    pub fn record_inference(
        &self,
        tape: &mut Tape,
        n: usize,
        capacity: usize,
        logits: bool,
    ) -> InferenceVars {
        let tokens = tape.input("tokens", &[1, n]);
        let positions = tape.input("positions", &[1, n]);
        let recording = Recording {
            specs: &self.specs,
            positions,
            doc_start: positions,
            cache: Some(capacity),
            dropout: 0.0,
        };
        let h = self.body(tape, tokens, &recording, false);
        let logits = if logits {
            let head = tape.param(&self.specs, self.head);
            let logits = tape.scope("head", |tape| tape.linear_wide(h, head));
            tape.keep(logits);
            Some(logits)
        } else {
            tape.keep(h);
            None
        };
        InferenceVars {
            tokens,
            positions,
            logits,
        }
    }

    /// From token ids to the input of the head.
    fn body(
        &self,
        tape: &mut Tape,
        tokens: Var,
        recording: &Recording<'_>,
        recompute: bool,
    ) -> Var {
        let x = tape.scope("embedding", |tape| {
            let table = tape.param(&self.specs, self.embedding);
            let x = tape.embedding(tokens, table);
            let x = self.position.embed(tape, x, recording);
            recording.drop_out(tape, x)
        });
        tape.observe("embedding", x);
        let mut x = x;
        for (layer, block) in self.blocks.iter().enumerate() {
            let record = |tape: &mut Tape| {
                tape.scope(&format!("blocks.{layer}"), |tape| {
                    block.record(tape, x, self.position.as_ref(), recording)
                })
            };
            x = if recompute {
                tape.recompute(record)
            } else {
                record(tape)
            };
        }
        let h = match &self.norm {
            Some(norm) => tape.scope("norm", |tape| norm.record(tape, x, recording)),
            None => x,
        };
        tape.observe("norm", h);
        h
    }

    /// The parameters of a fresh model, drawn from `seed`.
    pub fn init(&self, seed: u64, precision: Precision, gradients: bool) -> crate::param::Params {
        let mut params = crate::param::Params::new(self.specs.clone(), precision, gradients);
        params.init(seed);
        params
    }
}
