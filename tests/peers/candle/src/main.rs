//! A training step in candle on the CPU, to be set beside `zerollm bench step`: prints one JSON line with its fields.
//!
//! `candle-step nano|tiny|gpt2-124m [STEPS [SECONDS]]`: at most STEPS (15) steps are timed, fewer (but three, if as many are
//! wanted) once SECONDS (30) are over. `RAYON_NUM_THREADS` sets the threads. The model is that of our configuration of the
//! same name, in `f32`, written as candle's examples are: attention as a product, a mask and a softmax, and those norms and
//! rotations of candle's that have a backward.

use candle_core::{D, DType, Device, IndexOp as _, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, ops, rotary_emb};
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

/// Makes parameters and remembers them for the optimizer.
struct Params {
    all: Vec<Var>,
    biases: bool,
}

impl Params {
    fn keep(&mut self, var: Var) -> Tensor {
        self.all.push(var.clone());
        var.into_inner()
    }

    fn normal(&mut self, rows: usize, cols: usize) -> Result<Tensor> {
        let var = Var::randn(0f32, 0.02, (rows, cols), &Device::Cpu)?;
        Ok(self.keep(var))
    }

    fn linear(&mut self, from: usize, to: usize) -> Result<Linear> {
        let weight = self.normal(to, from)?;
        let bias = self
            .biases
            .then(|| Var::zeros(to, DType::F32, &Device::Cpu));
        let bias = bias.transpose()?.map(|var| self.keep(var));
        Ok(Linear { weight, bias })
    }

    fn norm(&mut self, dim: usize) -> Result<Norm> {
        let ones = Var::ones(dim, DType::F32, &Device::Cpu)?;
        let weight = self.keep(ones);
        let bias = self
            .biases
            .then(|| Var::zeros(dim, DType::F32, &Device::Cpu));
        let bias = bias.transpose()?.map(|var| self.keep(var));
        Ok(Norm { weight, bias })
    }
}

/// `x w^T + b`
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Rows flattened, so that it is one product. (.., from) -> (.., to)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let from = dims.pop().expect("not a scalar");
        dims.push(self.weight.dim(0)?);
        let y = x.reshape(((), from))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y.reshape(dims)
    }
}

/// LayerNorm with a bias, RMSNorm without.
struct Norm {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => ops::layer_norm_slow(x, &self.weight, bias, 1e-5),
            None => ops::rms_norm_slow(x, &self.weight, 1e-5),
        }
    }
}

struct Block {
    norms: [Norm; 2],
    qkv: Linear,
    out: Linear,
    /// Of SwiGLU.
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

struct Model {
    /// (V, C), also the classifier
    embedding: Tensor,
    /// (T, C)
    positions: Option<Tensor>,
    blocks: Vec<Block>,
    norm: Norm,
    /// (T, D / 2) each
    rope: [Tensor; 2],
    /// (T, T): what is added to scores.
    mask: Tensor,
    heads: usize,
}

impl Model {
    fn new(config: &Config, params: &mut Params) -> Result<Self> {
        let &Config {
            dim, hidden, seq, ..
        } = config;
        let head = dim / config.heads;
        let mut blocks = Vec::new();
        for _ in 0..config.layers {
            blocks.push(Block {
                norms: [params.norm(dim)?, params.norm(dim)?],
                qkv: params.linear(dim, 3 * dim)?,
                out: params.linear(dim, dim)?,
                gate: if config.llama {
                    Some(params.linear(dim, hidden)?)
                } else {
                    None
                },
                up: params.linear(dim, hidden)?,
                down: params.linear(hidden, dim)?,
            });
        }
        let angle = |at: usize| {
            let (position, pair) = (at / (head / 2), at % (head / 2));
            position as f32 * 10_000f32.powf(-2.0 * pair as f32 / head as f32)
        };
        let angles = (0..seq * head / 2).map(angle).collect::<Vec<_>>();
        let angles = Tensor::from_vec(angles, (seq, head / 2), &Device::Cpu)?;
        let masked = |at: usize| {
            if at % seq > at / seq {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        };
        let mask = (0..seq * seq).map(masked).collect::<Vec<_>>();
        Ok(Self {
            embedding: params.normal(config.vocab, dim)?,
            positions: if config.llama {
                None
            } else {
                Some(params.normal(seq, dim)?)
            },
            blocks,
            norm: params.norm(dim)?,
            rope: [angles.cos()?, angles.sin()?],
            mask: Tensor::from_vec(mask, (seq, seq), &Device::Cpu)?,
            heads: config.heads,
        })
    }

    /// (B, T, C) -> (B, T, C)
    fn attention(&self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let head = c / self.heads;
        let qkv = block.qkv.forward(x)?.reshape((b, t, 3, self.heads, head))?;
        let pick = |i: usize| qkv.i((.., .., i))?.transpose(1, 2)?.contiguous();
        let (mut q, mut k) = (pick(0)?, pick(1)?); // (B, H, T, D)
        if self.positions.is_none() {
            let [cos, sin] = &self.rope;
            q = rotary_emb::rope_slow(&q, cos, sin)?;
            k = rotary_emb::rope_slow(&k, cos, sin)?;
        }
        let scores = (q.matmul(&k.t()?)? * (head as f64).powf(-0.5))?.broadcast_add(&self.mask)?;
        let y = ops::softmax(&scores, D::Minus1)?.matmul(&pick(2)?)?;
        block.out.forward(&y.transpose(1, 2)?.reshape((b, t, c))?)
    }

    /// Mean loss of a batch, (B, T) each.
    fn loss(&self, tokens: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let (b, t) = tokens.dims2()?;
        let c = self.embedding.dim(1)?;
        let mut x = self.embedding.index_select(&tokens.flatten_all()?, 0)?;
        x = x.reshape((b, t, c))?;
        if let Some(positions) = &self.positions {
            x = x.broadcast_add(positions)?;
        }
        for block in &self.blocks {
            x = (&x + self.attention(block, &block.norms[0].forward(&x)?)?)?;
            let z = block.norms[1].forward(&x)?;
            let up = block.up.forward(&z)?;
            let inner = match &block.gate {
                Some(gate) => (gate.forward(&z)?.silu()? * up)?,
                None => up.gelu()?,
            };
            x = (x + block.down.forward(&inner)?)?;
        }
        let x = self.norm.forward(&x)?.reshape((b * t, c))?;
        let logits = x.matmul(&self.embedding.t()?)?;
        candle_nn::loss::cross_entropy(&logits, &targets.flatten_all()?)
    }
}

/// One step: forward, backward, clipping to a norm of 1, AdamW.
fn step(model: &Model, batch: &[Tensor; 2], params: &[Var], optimizer: &mut AdamW) -> Result<f32> {
    let loss = model.loss(&batch[0], &batch[1])?;
    let mut grads = loss.backward()?;
    let mut squares = 0.0;
    for var in params {
        if let Some(grad) = grads.get(var) {
            squares += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let factor = (1.0 / (squares.sqrt() + 1e-6)).min(1.0);
    for var in params {
        if let Some(grad) = grads.remove(var) {
            grads.insert(var, (grad * factor)?);
        }
    }
    optimizer.step(&grads)?;
    loss.to_scalar()
}

/// Largest resident set so far, in bytes; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    1024 * kib.unwrap_or(0)
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let number = |at: usize, or: f64| arguments.get(at).map_or(Some(or), |text| text.parse().ok());
    let name = arguments.first().map_or("", String::as_str);
    let (Some(config), Some(most), Some(limit)) = (config(name), number(1, 15.0), number(2, 30.0))
    else {
        eprintln!("usage: candle-step nano|tiny|gpt2-124m [STEPS [SECONDS]]");
        std::process::exit(2);
    };
    let most = (most as usize).max(1);
    let mut params = Params {
        all: Vec::new(),
        biases: !config.llama,
    };
    let model = Model::new(&config, &mut params)?;
    let params = params.all;
    let settings = ParamsAdamW {
        lr: 3e-4,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
    };
    let mut optimizer = AdamW::new(params.clone(), settings)?;
    // Knuth's MMIX generator: the ids only have to be spread.
    let mut state = 12345u64;
    let mut ids = || {
        let ids = (0..config.batch * config.seq).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as usize % config.vocab) as u32
        });
        let ids = ids.collect::<Vec<_>>();
        Tensor::from_vec(ids, (config.batch, config.seq), &Device::Cpu)
    };
    let batch = [ids()?, ids()?];
    step(&model, &batch, &params, &mut optimizer)?; // warms up
    let mut seconds = Vec::new();
    let mut loss = 0.0;
    while seconds.len() < most && (seconds.len() < 3 || seconds.iter().sum::<f64>() < limit) {
        let start = Instant::now();
        loss = step(&model, &batch, &params, &mut optimizer)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let quartile = |q: usize| seconds[(q * (seconds.len() - 1) + 2) / 4];
    let median = quartile(2);
    println!(
        "{{\"program\": \"candle 0.11.1\", \"model\": \"{name}\", \"precision\": \"f32\", \"tokens_per_second\": {}, \
         \"step_seconds\": {median}, \"step_seconds_quartiles\": [{}, {}], \"steps\": {}, \"peak_memory_bytes\": {}, \
         \"parameters\": {}, \"loss\": {loss}}}",
        (config.batch * config.seq) as f64 / median,
        quartile(1),
        quartile(3),
        seconds.len(),
        peak_memory(),
        params.iter().map(|var| var.elem_count()).sum::<usize>(),
    );
    Ok(())
}
