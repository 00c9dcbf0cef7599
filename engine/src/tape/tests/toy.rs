//! A small decoder and one way to run it: what the tests of the tape share.
//!
//! Its first block has an RMSNorm, a gate and no biases, its others a LayerNorm, a plain activation and biases, so that it
//! holds every pair that [`crate::tape::fuse`] knows. Rows hold two documents.

use crate::param::{Group, Init, ParamId, ParamSpecs, Params};
use crate::tape::fuse::fuse;
use crate::tape::plan::Options;
use crate::tape::run::{Program, Replay};
use crate::tape::{Tape, Var};
use kernels::arena::Arena;
use kernels::ops::act::Act;
use kernels::ops::attention::Attention;
use kernels::ops::layernorm::LayerNorm;
use kernels::ops::rmsnorm::RmsNorm;
use kernels::ops::rope::Layout;
use kernels::philox::Stream;
use kernels::{Cpu, Precision, Scalars};

pub const RMS: RmsNorm = RmsNorm {
    eps: 1e-5,
    zero_centered: false,
    wide: false,
};

pub const LAYER: LayerNorm = LayerNorm {
    eps: 1e-5,
    bias: true,
    wide: false,
};

/// Sizes of a toy.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub vocab: usize,
    pub layers: usize,
    /// Two query heads over one key-value head, each half as wide as this.
    pub dim: usize,
    pub hidden: usize,
    pub rows: usize,
    pub seq: usize,
}

pub const SMALL: Sizes = Sizes {
    vocab: 23,
    layers: 2,
    dim: 12,
    hidden: 10,
    rows: 2,
    seq: 7,
};

/// Large enough for several threads.
pub const LARGE: Sizes = Sizes {
    vocab: 101,
    layers: 4,
    dim: 64,
    hidden: 160,
    rows: 2,
    seq: 64,
};

struct Layer {
    norms: [(ParamId, ParamId); 2],
    /// Weight and bias of queries, keys and values; output; up; down.
    maps: [(ParamId, ParamId); 4],
}

/// The decoder's parameters.
pub struct Toy {
    pub sizes: Sizes,
    pub specs: ParamSpecs,
    table: ParamId,
    layers: Vec<Layer>,
    norm: ParamId,
}

/// What a recording is written to and read from.
#[derive(Clone, Copy)]
pub struct Vars {
    pub tokens: Var,
    pub targets: Var,
    pub positions: Var,
    pub doc_start: Var,
    pub loss: Var,
}

impl Toy {
    pub fn new(sizes: Sizes) -> Self {
        let Sizes {
            vocab, dim, hidden, ..
        } = sizes;
        let mut specs = ParamSpecs::default();
        let table = specs.add("table", &[vocab, dim], Group::Embedding, Init::Normal(0.5));
        let layers = (0..sizes.layers)
            .map(|l| {
                let mut pair = |name: &str, shape: &[usize], init| {
                    let group = if shape.len() == 2 {
                        Group::Matrix
                    } else {
                        Group::Vector
                    };
                    let weight = specs.add(format!("{l}.{name}.weight"), shape, group, init);
                    let bias = [shape[0]];
                    let init = Init::Normal(0.2);
                    let bias = specs.add(format!("{l}.{name}.bias"), &bias, Group::Vector, init);
                    (weight, bias)
                };
                let mut map = |name, out, inner| pair(name, &[out, inner], Init::Normal(0.3));
                let up = if l == 0 { 2 * hidden } else { hidden };
                let maps = [
                    map("qkv", 2 * dim, dim),
                    map("out", dim, dim),
                    map("up", up, dim),
                    map("down", dim, hidden),
                ];
                let norms = ["first", "second"].map(|name| pair(name, &[dim], Init::Ones));
                Layer { norms, maps }
            })
            .collect();
        let norm = specs.add("norm", &[dim], Group::Vector, Init::Ones);
        Self {
            sizes,
            specs,
            table,
            layers,
            norm,
        }
    }

    /// Parameters with values that no symmetry makes special.
    pub fn params(&self, precision: Precision) -> Params {
        let mut start = Params::new(self.specs.clone(), Precision::F32, false);
        start.init(3);
        let mut params = Params::new(self.specs.clone(), precision, true);
        params.copy_from(&start);
        let mut stream = Stream::new(8, 8);
        for i in self.elements(&params) {
            params.set_f64(i, params.get_f64(i) + 0.05 * stream.normal());
        }
        params
    }

    /// Indices of all numbers of all parameters in the flat buffers.
    pub fn elements(&self, params: &Params) -> Vec<usize> {
        let ids = (0..self.specs.all().len()).map(|i| ParamId(i as u32));
        ids.flat_map(|id| params.range(id)).collect()
    }

    /// Records a training step over `rows` rows.
    pub fn record(&self, precision: Precision, rows: usize, recompute: bool) -> (Tape, Vars) {
        let mut tape = Tape::new(precision);
        let shape = [rows, self.sizes.seq];
        let [tokens, targets, positions, doc_start] =
            ["tokens", "targets", "positions", "doc_start"].map(|name| tape.input(name, &shape));
        let table = tape.param(&self.specs, self.table);
        let mut x = tape.embedding(tokens, table);
        for (index, layer) in self.layers.iter().enumerate() {
            let record = |tape: &mut Tape| {
                let scope = format!("blocks.{index}");
                tape.scope(&scope, |tape| {
                    self.block(tape, index == 0, layer, x, positions, doc_start)
                })
            };
            x = if recompute {
                tape.recompute(record)
            } else {
                record(&mut tape)
            };
        }
        let w = tape.param(&self.specs, self.norm);
        let h = tape.rmsnorm(x, w, RMS);
        let loss = tape.classifier(h, table, targets);
        let vars = Vars {
            tokens,
            targets,
            positions,
            doc_start,
            loss,
        };
        (tape, vars)
    }

    fn block(
        &self,
        tape: &mut Tape,
        first: bool,
        layer: &Layer,
        x: Var,
        positions: Var,
        doc_start: Var,
    ) -> Var {
        let width = self.sizes.dim / 2;
        let norm = |tape: &mut Tape, x, i: usize| {
            let (w, b) = layer.norms[i];
            let w = tape.param(&self.specs, w);
            if first {
                tape.rmsnorm(x, w, RMS)
            } else {
                let b = tape.param(&self.specs, b);
                tape.layernorm(x, w, Some(b), LAYER)
            }
        };
        let linear = |tape: &mut Tape, x, i: usize| {
            let (w, b) = layer.maps[i];
            let w = tape.param(&self.specs, w);
            let b = (!first).then(|| tape.param(&self.specs, b));
            tape.linear(x, w, b)
        };
        let n = norm(tape, x, 0);
        let qkv = linear(tape, n, 0);
        let qkv = tape.rope(qkv, positions, (2, 1, width), 100.0, Layout::Half);
        let a = tape.attention(qkv, doc_start, Attention::new(2, 1, width));
        let a = linear(tape, a, 1);
        let a = tape.dropout(a, 0.2);
        let x = tape.add(x, a);
        let n = norm(tape, x, 1);
        let u = linear(tape, n, 2);
        let h = if first {
            tape.gated(u, Act::Silu)
        } else {
            tape.activation(u, Act::GeluTanh)
        };
        let y = linear(tape, h, 3);
        let y = tape.dropout(y, 0.1);
        tape.add(x, y)
    }
}

/// How to run a toy.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub precision: Precision,
    pub fused: bool,
    pub recompute: bool,
    pub options: Options,
    /// Starts on an arena full of NaN, and fills what is no longer needed with it.
    pub poison: bool,
    pub threads: usize,
    /// Rows of a micro-batch.
    pub micro_batch: usize,
}

impl Setup {
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            fused: false,
            recompute: false,
            options: Options::default(),
            poison: false,
            threads: 1,
            micro_batch: SMALL.rows,
        }
    }
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub loss: f64,
    pub gradients: Vec<f64>,
}

/// A toy ready to run.
pub struct Runner {
    pub toy: Toy,
    pub setup: Setup,
    pub params: Params,
    pub program: Program,
    vars: Vars,
    arena: Arena,
    cpu: Cpu,
}

impl Runner {
    pub fn new(sizes: Sizes, setup: Setup) -> Self {
        let toy = Toy::new(sizes);
        let cpu = Cpu::new(setup.threads);
        let (mut tape, vars) = toy.record(setup.precision, setup.micro_batch, setup.recompute);
        if setup.fused {
            tape = fuse(tape);
        }
        let program = Program::new(tape, Some(vars.loss), &cpu, setup.options);
        let mut arena = Arena::new(program.plan().bytes());
        if setup.poison {
            arena.fill(0..arena.size(), 0xff);
        }
        Self {
            params: toy.params(setup.precision),
            toy,
            setup,
            program,
            vars,
            arena,
            cpu,
        }
    }

    /// All micro-batches of one step.
    pub fn step(&mut self) -> Outcome {
        let Sizes {
            vocab, rows, seq, ..
        } = self.toy.sizes;
        let mut stream = Stream::new(1, 2);
        let mut ids = |ignored: u64| -> Vec<i32> {
            let n = vocab as u64 + ignored;
            (0..rows * seq)
                .map(|_| (stream.below(n) as i64 - ignored as i64).max(-1) as i32)
                .collect()
        };
        let (tokens, targets) = (ids(0), ids(4));
        let valid = targets.iter().filter(|t| **t >= 0).count();
        let starts: Vec<i32> = (0..rows * seq)
            .map(|i| {
                if i % seq < seq / 2 + 1 {
                    0
                } else {
                    seq as i32 / 2 + 1
                }
            })
            .collect();
        let positions: Vec<i32> = (0..rows * seq)
            .map(|i| (i % seq) as i32 - starts[i])
            .collect();
        let mut loss = 0.0;
        for row in (0..rows).step_by(self.setup.micro_batch) {
            let part = row * seq..(row + self.setup.micro_batch) * seq;
            for (var, values) in [
                (self.vars.tokens, &tokens),
                (self.vars.targets, &targets),
                (self.vars.positions, &positions),
                (self.vars.doc_start, &starts),
            ] {
                self.program
                    .write(&mut self.arena, var, &values[part.clone()]);
            }
            let mut replay = Replay {
                scalars: Scalars {
                    seed: 9,
                    row0: row as u64,
                    loss_scale: 1.0 / valid as f64,
                    ..Scalars::default()
                },
                accumulate: row > 0,
                poison: self.setup.poison,
                ..Replay::default()
            };
            self.program
                .replay(&mut self.arena, &mut self.params, &self.cpu, &mut replay);
            loss += self.program.loss(&self.arena);
        }
        let elements = self.toy.elements(&self.params);
        Outcome {
            loss,
            gradients: elements
                .iter()
                .map(|i| self.params.gradient_f64(*i))
                .collect(),
        }
    }

    /// Bytes of arena.
    pub fn bytes(&self) -> usize {
        self.program.plan().bytes()
    }
}

/// One step of a toy.
pub fn step(sizes: Sizes, setup: Setup) -> Outcome {
    let outcome = Runner::new(sizes, setup).step();
    let finite = outcome.gradients.iter().all(|g| g.is_finite());
    assert!(outcome.loss.is_finite() && finite, "{setup:?}");
    outcome
}
