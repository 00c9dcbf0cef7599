//! Operations of the tape, run on their own with the memory that the tape would give them.

use super::case::{Built, Kind, Runner, Stage};
use super::tensor::Tensor;
use kernels::arena::Arena;
use kernels::op::{InferOp as _, State};
use kernels::ops::act::Act;
use kernels::ops::attention::Attention;
use kernels::ops::attention_cached::AttentionCached;
use kernels::ops::classifier::{Classifier, chunk_rows, softmax_cross_entropy};
use kernels::ops::gated::Gated;
use kernels::ops::rmsnorm::RmsNorm;
use kernels::{Backward, Cpu, Dtype, Forward, Grad, GradMode, Keeps, Meta, Op, Precision, Scalars};

/// Causal attention of one document a row. Counted is the causal half: 2 B H D T^2 forward, 2.5 times that backward (five
/// products instead of two).
pub static ATTENTION: Kind = Kind {
    name: "attention",
    dims: "BATCH x HEADS x KV_HEADS x TIME x HEAD_DIM",
    rank: 5,
    stages: |_| &[Stage::Forward, Stage::Both],
    bf16: true,
    bytes: |dims| {
        let [b, h, kv, t, d] = [dims[0], dims[1], dims[2], dims[3], dims[4]].map(|x| x as u64);
        4 * b * t * d * (4 * h + 4 * kv)
    },
    build: |cpu, precision, dims| {
        let [b, h, kv, t, d] = [dims[0], dims[1], dims[2], dims[3], dims[4]];
        let op = Attention::new(h, kv, d);
        let qkv = Meta::new([b, t, op.qkv_cols()], precision.compute());
        let inputs = vec![Tensor::new(qkv), Tensor::ids(&[b, t], vec![0; b * t])];
        let forward = 2 * (b * h * d) as u64 * (t * t) as u64;
        OpRunner::build(cpu, precision, op, inputs, [forward, forward * 5 / 2])
    },
};

/// One new token against a full cache of keys and values.
pub static ATTENTION_CACHED: Kind = Kind {
    name: "attention_cached",
    dims: "HEADS x HEAD_DIM x CONTEXT",
    rank: 3,
    stages: |_| &[Stage::Forward],
    bf16: true,
    bytes: |dims| 8 * (dims[0] * dims[1] * (dims[2] + 8)) as u64,
    build: |cpu, precision, dims| Cached::build(cpu, precision, [dims[0], dims[1], dims[2]]),
};

/// Linear map to the vocabulary, softmax and cross-entropy.
pub static CLASSIFIER: Kind = Kind {
    name: "classifier",
    dims: "ROWS x DIM x VOCABULARY",
    rank: 3,
    stages: |_| &[Stage::Forward, Stage::Both],
    bf16: true,
    bytes: |dims| 8 * (dims[0] * dims[1] + dims[1] * dims[2]) as u64 + (256 << 20),
    build: |cpu, precision, dims| {
        let [rows, dim, vocab] = [dims[0], dims[1], dims[2]];
        let targets = (0..rows).map(|row| (row * 7919 % vocab) as i32).collect();
        let inputs = vec![
            Tensor::new(Meta::new([rows, dim], precision.compute())),
            Tensor::new(Meta::new([vocab, dim], Dtype::F32)),
            Tensor::ids(&[rows], targets),
        ];
        counted(cpu, precision, Classifier, inputs)
    },
};

/// Softmax and cross-entropy of logits that are there already: what the classifier does between its products, chunk by chunk,
/// in place.
pub static CROSS_ENTROPY: Kind = Kind {
    name: "cross_entropy",
    dims: "ROWS x VOCABULARY",
    rank: 2,
    stages: |_| &[Stage::Forward, Stage::Both],
    // Logits are f32 in both precisions.
    bf16: false,
    bytes: |dims| 4 * (dims[0] * dims[1]) as u64,
    build: |_, _, dims| {
        let [rows, vocab] = [dims[0], dims[1]];
        Ok(Box::new(CrossEntropy {
            logits: Tensor::new(Meta::new([rows, vocab], Dtype::F32)),
            targets: (0..rows).map(|row| (row * 7919 % vocab) as i32).collect(),
            losses: vec![0.0; rows],
        }))
    },
};

/// RMSNorm of rows of the residual stream.
pub static RMSNORM: Kind = Kind {
    name: "rmsnorm",
    dims: "ROWS x CHANNELS",
    rank: 2,
    stages: |_| &[Stage::Forward, Stage::Backward],
    bf16: true,
    bytes: |dims| 16 * (dims[0] * dims[1] + 64 * dims[1]) as u64,
    build: |cpu, precision, dims| {
        let inputs = vec![
            Tensor::new(Meta::new([dims[0], dims[1]], Dtype::F32)),
            Tensor::new(Meta::new([dims[1]], Dtype::F32)),
        ];
        let op = RmsNorm {
            eps: 1e-5,
            zero_centered: false,
            wide: false,
        };
        counted(cpu, precision, op, inputs)
    },
};

/// SwiGLU: silu of one half of each row times the other half.
pub static GATED: Kind = Kind {
    name: "gated",
    dims: "ROWS x HIDDEN",
    rank: 2,
    stages: |_| &[Stage::Forward],
    bf16: true,
    bytes: |dims| 32 * (dims[0] * dims[1]) as u64,
    build: |cpu, precision, dims| {
        let meta = Meta::new([dims[0], 2 * dims[1]], precision.compute());
        counted(
            cpu,
            precision,
            Gated { act: Act::Silu },
            vec![Tensor::new(meta)],
        )
    },
};

/// A runner whose floating-point operations are those that the operation itself counts.
fn counted(cpu: &Cpu, precision: Precision, op: impl Op, inputs: Vec<Tensor>) -> Built {
    let metas: Vec<Meta> = inputs.iter().map(|input| input.meta().clone()).collect();
    let flops = [op.flops(&metas), op.backward_flops(&metas)];
    OpRunner::build(cpu, precision, op, inputs, flops)
}

struct OpRunner<O> {
    op: O,
    metas: Vec<Meta>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    saved: Vec<Tensor>,
    d_outputs: Vec<Tensor>,
    d_inputs: Vec<Tensor>,
    workspace: Arena,
    /// Floating-point operations of a forward, and of a backward with all that it does.
    flops: [u64; 2],
}

impl<O: Op> OpRunner<O> {
    fn build(
        cpu: &Cpu,
        precision: Precision,
        op: O,
        inputs: Vec<Tensor>,
        flops: [u64; 2],
    ) -> Built {
        let metas: Vec<Meta> = inputs.iter().map(|input| input.meta().clone()).collect();
        let tensors = |metas: &[Meta]| metas.iter().cloned().map(Tensor::new).collect();
        let out = op.outputs(&metas, precision)?;
        let scratch = [true, false].map(|backward| op.workspace(&metas, cpu, backward));
        let mut runner = Self {
            inputs,
            outputs: tensors(&out),
            saved: tensors(&op.saved(&metas, precision)),
            d_outputs: tensors(&out),
            d_inputs: tensors(&metas),
            workspace: Arena::new(scratch[0].max(scratch[1])),
            op,
            metas,
            flops,
        };
        // A backward reads what a forward saved.
        runner.forward(cpu);
        Ok(Box::new(runner))
    }

    fn keeps(&self) -> Keeps {
        self.op.keeps()
    }

    fn forward(&mut self, cpu: &Cpu) {
        let inputs: Vec<_> = self.inputs.iter().map(Tensor::slot).collect();
        self.op.forward_cpu(&mut Forward {
            cpu,
            scalars: &Scalars::default(),
            // A forward that training leaves to its backward is that of an evaluation.
            training: !self.op.keeps().forward_in_backward,
            metas: &self.metas,
            inputs: &inputs,
            outputs: self.outputs.iter_mut().map(Tensor::slot_mut).collect(),
            saved: self.saved.iter_mut().map(Tensor::slot_mut).collect(),
            workspace: self.workspace.as_bytes_mut(),
        });
    }

    fn backward(&mut self, cpu: &Cpu) {
        let keeps = self.op.keeps();
        let inputs = self.inputs.iter().enumerate();
        let inputs: Vec<_> = inputs
            .map(|(i, tensor)| (keeps.inputs >> i & 1 == 1).then(|| tensor.slot()))
            .collect();
        let d_outputs: Vec<_> = self.d_outputs.iter().map(|d| Some(d.slot())).collect();
        let saved: Vec<_> = self.saved.iter().map(Tensor::slot).collect();
        let (mut outputs, mut late_outputs) = (Vec::new(), Vec::new());
        for (i, tensor) in self.outputs.iter_mut().enumerate() {
            if keeps.forward_in_backward {
                outputs.push(None);
                late_outputs.push(tensor.slot_mut());
            } else {
                outputs.push((keeps.outputs >> i & 1 == 1).then(|| tensor.slot()));
            }
        }
        let d_inputs = self.d_inputs.iter_mut().map(|d| {
            d.slot_mut().map(|slot| Grad {
                slot,
                mode: GradMode::Set,
            })
        });
        self.op.backward_cpu(&mut Backward {
            cpu,
            scalars: &Scalars::default(),
            metas: &self.metas,
            inputs: &inputs,
            outputs: &outputs,
            late_outputs,
            d_outputs: &d_outputs,
            d_inputs: d_inputs.collect(),
            saved: &saved,
            workspace: self.workspace.as_bytes_mut(),
        });
    }
}

impl<O: Op> Runner for OpRunner<O> {
    fn run(&mut self, cpu: &Cpu, stage: Stage) {
        let joined = self.keeps().forward_in_backward;
        if matches!(stage, Stage::Forward | Stage::Both) && !(joined && stage == Stage::Both) {
            self.forward(cpu);
        }
        if matches!(stage, Stage::Backward | Stage::Both) {
            self.backward(cpu);
        }
    }

    fn work(&self, stage: Stage) -> (u64, u64) {
        let keeps = self.keeps();
        let sum = |tensors: &[Tensor], mask: u32| -> usize {
            let tensors = tensors.iter().enumerate();
            tensors
                .filter(|(i, _)| mask >> i & 1 == 1)
                .map(|(_, tensor)| tensor.meta().bytes())
                .sum()
        };
        let all = u32::MAX;
        let statistics = sum(&self.saved, all);
        let forward = sum(&self.inputs, all) + sum(&self.outputs, all) + statistics;
        let floats = self
            .d_inputs
            .iter()
            .filter(|d| d.meta().dtype.is_float())
            .map(|d| d.meta().bytes());
        let backward = sum(&self.inputs, keeps.inputs)
            + sum(&self.outputs, keeps.outputs)
            + sum(&self.d_outputs, all)
            + statistics
            + floats.sum::<usize>();
        let [f, b] = self.flops;
        let (flops, bytes) = match stage {
            Stage::Forward => (f, forward),
            Stage::Both if keeps.forward_in_backward => (b, backward),
            Stage::Both => (f + b, forward + backward),
            _ => (b, backward),
        };
        (flops, bytes as u64)
    }
}

struct CrossEntropy {
    logits: Tensor,
    targets: Vec<i32>,
    losses: Vec<f32>,
}

impl Runner for CrossEntropy {
    fn run(&mut self, cpu: &Cpu, stage: Stage) {
        let vocab = self.logits.meta().cols();
        let rows = chunk_rows(vocab);
        // A mean over the rows. The gradients are the next run's logits: no step depends on the values.
        let factor = (stage == Stage::Both).then(|| 1.0 / self.targets.len() as f32);
        let chunks = self.logits.values_mut().chunks_mut(rows * vocab);
        let chunks = chunks.zip(self.targets.chunks(rows));
        for ((logits, targets), losses) in chunks.zip(self.losses.chunks_mut(rows)) {
            softmax_cross_entropy(cpu, logits, targets, losses, vocab, factor);
        }
    }

    fn work(&self, stage: Stage) -> (u64, u64) {
        // An exponential is counted as ten.
        let (each, passes) = if stage == Stage::Both {
            (14, 2)
        } else {
            (13, 1)
        };
        let logits = self.logits.meta();
        (each * logits.len() as u64, passes * logits.bytes() as u64)
    }
}

struct Cached {
    op: AttentionCached,
    metas: Vec<Meta>,
    qkv: Tensor,
    out: Tensor,
    state: Vec<State>,
    workspace: Arena,
    capacity: usize,
}

impl Cached {
    fn build(cpu: &Cpu, precision: Precision, [heads, dim, capacity]: [usize; 3]) -> Built {
        let op = AttentionCached::new(heads, heads, dim, capacity);
        let meta = Meta::new([1, 1, 3 * heads * dim], precision.compute());
        let metas = vec![meta.clone()];
        let out = op.outputs(&metas, precision)?;
        Ok(Box::new(Self {
            qkv: Tensor::new(meta),
            out: Tensor::new(out[0].clone()),
            state: op
                .state()
                .iter()
                .map(|len| State::new(precision.compute(), *len))
                .collect(),
            workspace: Arena::new(op.workspace(&metas, cpu)),
            op,
            metas,
            capacity,
        }))
    }
}

impl Runner for Cached {
    fn run(&mut self, cpu: &Cpu, _: Stage) {
        let scalars = Scalars {
            cache_len: self.capacity - 1,
            ..Scalars::default()
        };
        let mut cx = Forward {
            cpu,
            scalars: &scalars,
            training: false,
            metas: &self.metas,
            inputs: &[self.qkv.slot()],
            outputs: vec![self.out.slot_mut()],
            saved: Vec::new(),
            workspace: self.workspace.as_bytes_mut(),
        };
        self.op.forward_cpu(&mut cx, &mut self.state);
    }

    fn work(&self, _: Stage) -> (u64, u64) {
        let cache: usize = self.state.iter().map(State::bytes).sum();
        let others = self.metas[0].bytes() + self.out.meta().bytes();
        (self.op.flops(&self.metas), (cache + others) as u64)
    }
}
