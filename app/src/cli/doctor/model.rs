//! Whole models: their gradient, learning, and writing as they were trained.

use super::{Check, Outcome, below, cpu};
use engine::config::Config;
use engine::data::Batch;
use engine::infer::load::Loaded;
use engine::model::Model;
use engine::param::{ParamId, Params};
use engine::tape::plan::Options;
use engine::tape::run::{Program, Replay};
use engine::tape::{Tape, fuse};
use engine::train::step::Trainer;
use kernels::arena::Arena;
use kernels::philox::Stream;
use kernels::{Cpu, Precision, Scalars};

/// Tokens of the toy models.
pub(super) const VOCAB: usize = 17;

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("model gradient (llama)", || gradient(LLAMA)),
        Check::new("model gradient (gpt2)", || gradient(GPT2)),
        Check::new("learns by heart in f32", || overfit("f32")),
        Check::new("learns by heart in bf16", || overfit("bf16")),
        Check::new("writing is as training", writing_is_as_training),
    ]
}

/// Grouped queries, normed heads, rotary positions, SwiGLU.
pub(super) const LLAMA: &[&str] = &["model.mixer.qk_norm=true"];
/// Biases everywhere, learned positions, layer norms, a separate head.
pub(super) const GPT2: &[&str] = &[
    "model.mixer.kind=mha",
    "model.kv_heads=4",
    "model.mixer.qkv_bias=true",
    "model.mixer.out_bias=true",
    "model.ffn.kind=mlp",
    "model.ffn.bias=true",
    "model.norm.kind=layernorm",
    "model.position.kind=learned",
    "model.tie_embeddings=false",
];

/// A small model, rows of 16 tokens, two rows a step.
pub(super) fn toy(sets: &[&str]) -> Result<Config, String> {
    const TEXT: &str = "data = { source = \"storybook\", sequence_length = 16 }\n\
        train = { batch_size = 2, max_steps = 1 }\noptimizer.lr = 1e-2\n\
        [model]\nlayers = 2\ndim = 16\nheads = 4\nkv_heads = 2\nvocab_size = 17\ninit_std = 0.2\nffn = { hidden = 24 }\n";
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse(None, TEXT, &sets).map_err(|error| error.to_string())
}

/// Rows of random ids of the toy models, each the target of the one before.
pub(super) fn batch(rows: usize, seq: usize, seed: u64) -> Batch {
    random_batch(VOCAB, rows, seq, seed)
}

/// The same with ids below `vocab`.
pub(super) fn random_batch(vocab: usize, rows: usize, seq: usize, seed: u64) -> Batch {
    let mut stream = Stream::new(seed, 0xd0c7);
    let ids: Vec<i32> = (0..rows * (seq + 1))
        .map(|_| stream.below(vocab as u64) as i32)
        .collect();
    let part = |from: usize| -> Vec<i32> {
        ids.chunks(seq + 1)
            .flat_map(|row| &row[from..from + seq])
            .copied()
            .collect()
    };
    Batch {
        rows,
        height: rows,
        tokens: part(0),
        targets: part(1),
        doc_start: vec![0; rows * seq],
        positions: (0..rows * seq).map(|i| (i % seq) as i32).collect(),
        row0: 0,
        valid_targets: (rows * seq) as u64,
        target_bytes: None,
    }
}

/// The gradient of the loss with respect to elements of every parameter, in f64, against finite differences.
fn gradient(sets: &[&str]) -> Outcome {
    let config = toy(sets)?;
    let model = Model::new(&config.model, VOCAB);
    let cpu = Cpu::new(1);
    let batch = batch(2, 6, 3);
    let mut tape = Tape::new(Precision::F64);
    let vars = model.record_training(&mut tape, 2, 6, false);
    let mut program = Program::new(fuse::fuse(tape), Some(vars.loss), &cpu, Options::default());
    let mut arena = Arena::new(program.plan().bytes());
    let mut base = model.init(7, Precision::F32, false);
    // Gains away from one and biases away from zero, so that nothing hides behind them.
    let mut stream = Stream::new(1, 1);
    for x in base.values_mut() {
        *x += 0.05 * stream.normal() as f32;
    }
    let mut params = Params::new(model.specs().clone(), Precision::F64, true);
    params.copy_from(&base);
    let mut loss = |params: &mut Params| {
        program.write(&mut arena, vars.tokens, &batch.tokens);
        program.write(&mut arena, vars.targets, &batch.targets);
        program.write(&mut arena, vars.positions, &batch.positions);
        program.write(&mut arena, vars.doc_start, &batch.doc_start);
        let scalars = Scalars {
            loss_scale: 1.0 / batch.valid_targets as f64,
            ..Scalars::default()
        };
        let mut replay = Replay {
            scalars,
            ..Replay::default()
        };
        program.replay(&mut arena, params, &cpu, &mut replay);
        program.loss(&arena)
    };
    let (mut worst, mut checked) = (0f64, 0);
    for id in 0..model.specs().all().len() {
        let range = params.range(ParamId(id as u32));
        for _ in 0..2 {
            let at = range.start + stream.below(range.len() as u64) as usize;
            loss(&mut params);
            let analytic = params.gradient_f64(at);
            let x = params.get_f64(at);
            let h = 1e-4;
            let mut shifted = |d: f64| {
                params.set_f64(at, x + d);
                loss(&mut params)
            };
            let numeric = (8.0 * (shifted(h) - shifted(-h))
                - (shifted(2.0 * h) - shifted(-2.0 * h)))
                / (12.0 * h);
            params.set_f64(at, x);
            let error = (numeric - analytic).abs() / (1e-3 + numeric.abs());
            worst = if error.is_nan() {
                f64::INFINITY
            } else {
                worst.max(error)
            };
            checked += 1;
        }
    }
    below(
        &format!("{checked} elements in f64, relative error"),
        worst,
        1e-5,
    )
}

/// Trains on one batch only: everything that a model needs must work for its loss to vanish.
fn overfit(precision: &str) -> Outcome {
    const BOUND: f64 = 0.05;
    const STEPS: u64 = 300;
    let mut config = toy(LLAMA)?;
    config.device.bf16 = precision == "bf16";
    let mut trainer = Trainer::new(&config, Model::new(&config.model, VOCAB), cpu());
    let batches = [batch(2, 16, 5)];
    let (mut first, mut last) = (f64::NAN, f64::NAN);
    for step in 1..=STEPS {
        let gradients = trainer
            .gradients(&batches, step, false, &|| false)
            .map_err(|error| error.to_string())?
            .ok_or("it stopped by itself")?;
        trainer
            .update(&gradients, 1e-2, step, 1.0)
            .map_err(|error| error.to_string())?;
        if step == 1 {
            first = gradients.loss;
        }
        last = gradients.loss;
        if last < BOUND {
            return Ok(format!(
                "one batch: loss {first:.4} to {last:.4} in {step} steps"
            ));
        }
    }
    Err(format!(
        "loss {first:.2} to {last:.3} in {STEPS} steps, should be below {BOUND}"
    ))
}

/// The probabilities that writing sees, token by token through its cache, give the loss that training sees.
fn writing_is_as_training() -> Outcome {
    let config = toy(LLAMA)?;
    let mut trainer = Trainer::new(&config, Model::new(&config.model, VOCAB), cpu());
    let batch = batch(1, 16, 9);
    let trained = trainer
        .evaluate(&batch)
        .map_err(|error| error.to_string())?;
    let mut loaded = Loaded {
        model: trainer.model,
        params: trainer.params,
        tokenizer: None,
        tokenizer_error: None,
        stops: Vec::new(),
        cpu: trainer.cpu,
        precision: Precision::F32,
        arena: Arena::new(0),
    };
    let mut ids: Vec<u32> = batch.tokens.iter().map(|id| *id as u32).collect();
    ids.extend(batch.targets.last().map(|id| *id as u32));
    let written = -loaded
        .score(&ids)
        .map_err(|error| error.to_string())?
        .iter()
        .sum::<f64>();
    let error = (written - trained).abs() / trained;
    below(
        &format!("loss {trained:.4}, relative difference"),
        error,
        1e-5,
    )
}
