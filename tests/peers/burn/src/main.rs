//! A training step in burn on the CPU (flex backend), to be set beside `zerollm bench step`: prints one JSON line with its
//! fields.
//!
//! `burn-step nano|tiny|gpt2-124m [STEPS [SECONDS]]`: at most STEPS (15) steps are timed, fewer (but three, if as many are
//! wanted) once SECONDS (30) are over. `RAYON_NUM_THREADS` sets the threads. The model is that of our configuration of the
//! same name, in `f32`, written as burn's examples are: attention as a product, a mask and a softmax, burn's own norms and
//! rotations. Gradients are clipped to a norm of 1 tensor by tensor, which is what burn offers.

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Initializer, Module, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{
    LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig, RotaryEncoding,
    RotaryEncodingConfig,
};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::{gelu_approximate, silu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use std::time::Instant;

/// Sizes of a model and of its batch.
struct Config {
    vocab: usize,
    dim: usize,
    layers: usize,
    heads: usize,
    hidden: usize,
    seq: usize,
    batch: usize,
    /// RMSNorm, SwiGLU, RoPE and no biases; else LayerNorm, GELU, learned positions and biases.
    llama: bool,
}

fn config(name: &str) -> Option<Config> {
    let ([vocab, dim, layers, heads, hidden, seq, batch], llama) = match name {
        "nano" => ([6400, 512, 6, 8, 1408, 512, 16], true),
        "tiny" => ([512, 128, 4, 4, 352, 256, 32], true),
        "gpt2-124m" => ([50304, 768, 12, 12, 3072, 1024, 4], false),
        _ => return None,
    };
    Some(Config {
        vocab,
        dim,
        layers,
        heads,
        hidden,
        seq,
        batch,
        llama,
    })
}

#[derive(Module, Debug)]
enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

impl Norm {
    fn new(config: &Config, device: &Device) -> Self {
        if config.llama {
            Self::Rms(RmsNormConfig::new(config.dim).init(device))
        } else {
            Self::Layer(LayerNormConfig::new(config.dim).init(device))
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

#[derive(Module, Debug)]
struct Block {
    norm1: Norm,
    norm2: Norm,
    qkv: Linear,
    out: Linear,
    /// Of SwiGLU.
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(config: &Config, device: &Device) -> Self {
        let linear = |from: usize, to: usize| {
            LinearConfig::new(from, to)
                .with_bias(!config.llama)
                .with_initializer(INIT)
                .init(device)
        };
        let (dim, hidden) = (config.dim, config.hidden);
        Self {
            norm1: Norm::new(config, device),
            norm2: Norm::new(config, device),
            qkv: linear(dim, 3 * dim),
            out: linear(dim, dim),
            gate: config.llama.then(|| linear(dim, hidden)),
            up: linear(dim, hidden),
            down: linear(hidden, dim),
        }
    }
}

const INIT: Initializer = Initializer::Normal {
    mean: 0.0,
    std: 0.02,
};

#[derive(Module, Debug)]
struct Model {
    /// (V, C), also the classifier
    embedding: Param<Tensor<2>>,
    /// (T, C)
    positions: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    norm: Norm,
    rope: RotaryEncoding,
    #[module(skip)]
    heads: usize,
}

impl Model {
    fn new(config: &Config, device: &Device) -> Self {
        let blocks = (0..config.layers).map(|_| Block::new(config, device));
        Self {
            embedding: INIT.init([config.vocab, config.dim], device),
            positions: (!config.llama).then(|| INIT.init([config.seq, config.dim], device)),
            blocks: blocks.collect(),
            norm: Norm::new(config, device),
            rope: RotaryEncodingConfig::new(config.seq, config.dim / config.heads).init(device),
            heads: config.heads,
        }
    }

    /// (B, T, C) -> (B, T, C)
    fn attention(&self, block: &Block, x: Tensor<3>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let [b, t, c] = x.dims();
        let head = c / self.heads;
        let qkv = block.qkv.forward(x);
        let pick = |i: usize| {
            let part = qkv.clone().slice([0..b, 0..t, i * c..(i + 1) * c]);
            part.reshape([b, t, self.heads, head]).swap_dims(1, 2)
        };
        let (mut q, mut k) = (pick(0), pick(1)); // (B, H, T, D)
        if self.positions.is_none() {
            q = self.rope.forward(q);
            k = self.rope.forward(k);
        }
        let scores = q
            .matmul(k.swap_dims(2, 3))
            .mul_scalar((head as f32).powf(-0.5));
        let scores = scores.mask_fill(mask.clone(), f32::NEG_INFINITY);
        let y = softmax(scores, 3).matmul(pick(2));
        block.out.forward(y.swap_dims(1, 2).reshape([b, t, c]))
    }

    /// Mean loss of a batch.
    fn loss(&self, batch: &Batch) -> Tensor<1> {
        let [b, t] = batch.tokens.dims();
        let embedding = self.embedding.val();
        let c = embedding.dims()[1];
        let tokens = batch.tokens.clone().reshape([b * t]);
        let mut x = embedding.clone().select(0, tokens).reshape([b, t, c]);
        if let Some(positions) = &self.positions {
            x = x + positions.val().unsqueeze::<3>();
        }
        for block in &self.blocks {
            let y = self.attention(block, block.norm1.forward(x.clone()), &batch.mask);
            x = x + y;
            let z = block.norm2.forward(x.clone());
            let up = block.up.forward(z.clone());
            let inner = match &block.gate {
                Some(gate) => silu(gate.forward(z)) * up,
                None => gelu_approximate(up),
            };
            x = x + block.down.forward(inner);
        }
        let x = self.norm.forward(x).reshape([b * t, c]);
        let logits = x.matmul(embedding.transpose());
        let targets = batch.targets.clone().reshape([b * t]);
        batch.cross_entropy.forward(logits, targets)
    }
}

/// What every step reads.
struct Batch {
    /// (B, T) each
    tokens: Tensor<2, Int>,
    targets: Tensor<2, Int>,
    /// (B, H, T, T): true where scores are left out.
    mask: Tensor<4, Bool>,
    cross_entropy: CrossEntropyLoss,
}

impl Batch {
    fn new(config: &Config, device: &Device) -> Self {
        let Config {
            batch: b, seq: t, ..
        } = *config;
        // Knuth's MMIX generator: the ids only have to be spread.
        let mut state = 12345u64;
        let mut ids = || {
            let ids = (0..b * t).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 33) as usize % config.vocab) as i32
            });
            let ids = TensorData::new(ids.collect::<Vec<_>>(), [b * t]);
            Tensor::<1, Int>::from_data(ids, device).reshape([b, t])
        };
        let mask = Tensor::<2, Bool>::tril_mask([t, t], 0, device);
        Self {
            tokens: ids(),
            targets: ids(),
            mask: mask.reshape([1, 1, t, t]).expand([b, config.heads, t, t]),
            cross_entropy: CrossEntropyLossConfig::new().init(device),
        }
    }
}

/// Largest resident set so far, in bytes; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    1024 * kib.unwrap_or(0)
}

fn main() {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let number = |at: usize, or: f64| arguments.get(at).map_or(Some(or), |text| text.parse().ok());
    let name = arguments.first().map_or("", String::as_str);
    let (Some(config), Some(most), Some(limit)) = (config(name), number(1, 15.0), number(2, 30.0))
    else {
        eprintln!("usage: burn-step nano|tiny|gpt2-124m [STEPS [SECONDS]]");
        std::process::exit(2);
    };
    let most = (most as usize).max(1);
    let device = Device::flex().autodiff();
    let mut model = Model::new(&config, &device);
    let batch = Batch::new(&config, &device);
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(0.95)
        .with_epsilon(1e-8)
        .with_weight_decay(0.1)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
        .init();
    let mut seconds = Vec::new();
    let mut loss = 0.0;
    let mut warm = false;
    while seconds.len() < most && (seconds.len() < 3 || seconds.iter().sum::<f64>() < limit) {
        let start = Instant::now();
        let mean = model.loss(&batch);
        let grads = GradientsParams::from_grads(mean.backward(), &model);
        model = optimizer.step(3e-4, model, grads);
        loss = mean.into_scalar::<f32>();
        device.sync().expect("a device that computes");
        // The first one warms up.
        if std::mem::replace(&mut warm, true) {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let quartile = |q: usize| seconds[(q * (seconds.len() - 1) + 2) / 4];
    let median = quartile(2);
    println!(
        "{{\"program\": \"burn 0.22.1\", \"model\": \"{name}\", \"precision\": \"f32\", \"tokens_per_second\": {}, \
         \"step_seconds\": {median}, \"step_seconds_quartiles\": [{}, {}], \"steps\": {}, \"peak_memory_bytes\": {}, \
         \"parameters\": {}, \"loss\": {loss}}}",
        (config.batch * config.seq) as f64 / median,
        quartile(1),
        quartile(3),
        seconds.len(),
        peak_memory(),
        model.num_params(),
    );
}
