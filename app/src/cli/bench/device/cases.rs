//! The limits of a device, and the operations that are measured against them.

use super::{Peak, passes};
use kernels::check::{Case, Fill, Input, Role};
use kernels::gpu::{Buffer, Gpu, GpuError, check, peak};
use kernels::op::Meta;
use kernels::ops::act::Act;
use kernels::ops::add_norm::{AddNorm, Norm};
use kernels::ops::attention::Attention;
use kernels::ops::classifier::Classifier;
use kernels::ops::embedding::Embedding;
use kernels::ops::gated::Gated;
use kernels::ops::layernorm::LayerNorm;
use kernels::ops::linear::Linear;
use kernels::ops::rmsnorm::RmsNorm;
use kernels::{Dtype, Precision};
use serde_json::{Value, json};

/// Calls that one time is the mean of.
pub(super) const CALLS: usize = 20;

/// One operation in one direction.
#[derive(Debug)]
pub(super) struct Measured {
    pub name: &'static str,
    pub shape: String,
    pub phase: &'static str,
    pub seconds: f64,
    pub flops: u64,
    pub bytes: u64,
}

impl Measured {
    pub fn tflops(&self) -> f64 {
        self.flops as f64 / self.seconds.max(1e-12) / 1e12
    }

    pub fn gbps(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-12) / 1e9
    }

    pub fn json(&self, peak: &Peak) -> Value {
        json!({
            "op": self.name,
            "shape": self.shape,
            "phase": self.phase,
            "seconds": self.seconds,
            "tflops": self.tflops(),
            "gbps": self.gbps(),
            "copy_share": self.gbps() / peak.copy_gbps,
            "product_share": self.tflops() / peak.product_tflops,
        })
    }
}

/// The limits: a copy that no cache holds, a product large enough to fill the device.
pub(in crate::cli::bench) fn peak(gpu: &Gpu, quick: bool) -> Result<Peak, GpuError> {
    let (bytes, size, calls) = if quick {
        (1 << 16, 64, 2)
    } else {
        (1 << 30, 8192, CALLS)
    };
    let words = |memory: &Buffer| memory.view(0, memory.bytes() / 4, Dtype::I32);
    let memory = gpu.alloc(2 * bytes)?;
    gpu.driver().fill(memory.address(), 0, 2 * bytes)?;
    let copy_gbps = peak::copy_gbps(gpu, words(&memory), calls)?;
    drop(memory);
    let memory = gpu.alloc(peak::product_bytes(Precision::Bf16, size))?;
    let product_tflops = peak::product_tflops(gpu, Precision::Bf16, words(&memory), size, calls)?;
    Ok(Peak {
        copy_gbps,
        product_tflops,
    })
}

/// All operations in bf16, then what passes over flat memory.
pub(super) fn measure(gpu: &Gpu, quick: bool) -> Result<Vec<Measured>, GpuError> {
    let sizes = if quick { &QUICK } else { &FULL };
    let mut all = Vec::new();
    let mut attentions = sizes.attentions.iter();
    for case in cases(sizes) {
        let trial = case.trial(Precision::Bf16, 1);
        let calls = if quick { 1 } else { CALLS };
        let [forward, backward] = check::time(&trial, gpu, calls)?;
        let metas: Vec<Meta> = case.inputs.iter().map(meta).collect();
        let outputs = case
            .op
            .outputs(&metas, Precision::Bf16)
            .expect("a case has shapes that fit");
        let floats = metas.iter().filter(|meta| meta.dtype.is_float());
        let read: usize = metas.iter().map(Meta::bytes).sum();
        let written: usize = outputs.iter().map(Meta::bytes).sum();
        let gradients: usize = floats.map(Meta::bytes).sum();
        let kept: usize = kept_bytes(&case, &metas, &outputs);
        // Of attention the causal half counts; its heads do not show in the shapes of its inputs.
        let (half, shape) = match case.op.name() {
            "attention" => {
                let (b, h, t, d) = attentions.next().expect("as many as `cases` makes");
                (2, format!("{b}x{h}x{t}x{d}"))
            }
            _ => (1, shape(&metas)),
        };
        let both = case.op.keeps().forward_in_backward;
        if !both {
            all.push(Measured {
                name: case.op.name(),
                shape: shape.clone(),
                phase: "forward",
                seconds: forward,
                flops: case.op.flops(&metas) / half,
                bytes: (read + written) as u64,
            });
        }
        all.push(Measured {
            name: case.op.name(),
            shape,
            phase: if both { "both" } else { "backward" },
            seconds: backward,
            flops: case.op.backward_flops(&metas) / half,
            bytes: (kept + written + gradients) as u64,
        });
    }
    all.extend(passes::measure(gpu, quick, sizes.vocab)?);
    Ok(all)
}

fn meta(input: &Input) -> Meta {
    let dtype = match input.role {
        Role::Wide | Role::Param => Dtype::F32,
        Role::Compute => Dtype::Bf16,
        Role::Index => Dtype::I32,
    };
    Meta::new(input.shape.clone(), dtype)
}

/// Bytes that a backward reads again, beside the gradients.
fn kept_bytes(case: &Case, metas: &[Meta], outputs: &[Meta]) -> usize {
    let keeps = case.op.keeps();
    let named = |mask: u32, tensors: &[Meta]| -> usize {
        let numbered = tensors.iter().enumerate();
        numbered
            .filter(|(i, _)| mask >> i & 1 == 1)
            .map(|(_, meta)| meta.bytes())
            .sum()
    };
    named(keeps.inputs, metas) + named(keeps.outputs, outputs)
}

fn shape(metas: &[Meta]) -> String {
    let sizes = |meta: &Meta| {
        let sizes: Vec<String> = meta.shape.iter().map(ToString::to_string).collect();
        sizes.join("x")
    };
    metas.iter().map(sizes).collect::<Vec<_>>().join(" ")
}

/// How large the operations are that [`cases`] makes.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Sizes {
    rows: usize,
    dim: usize,
    /// Channels of other models whose products are made.
    others: &'static [usize],
    /// Rows and columns of norms.
    norms: [(usize, usize); 2],
    hidden: usize,
    vocab: usize,
    /// Batch, heads, tokens, size of a head.
    attentions: [(usize, usize, usize, usize); 3],
}

/// GPT-2 124M, 350M and 1558M at 16,384 tokens, and what the literature quotes for attention and norms. Norms have so many rows
/// that no cache holds them.
const FULL: Sizes = Sizes {
    rows: 16_384,
    dim: 768,
    others: &[1024, 1600],
    norms: [(65_536, 768), (16_384, 4096)],
    hidden: 2048,
    vocab: 50_304,
    attentions: [(16, 12, 1024, 64), (4, 16, 2048, 64), (4, 16, 2048, 128)],
};

/// Large and awkward: no tile divides them, and the CPU makes them in seconds.
pub(in crate::cli) const AWKWARD: Sizes = Sizes {
    rows: 2049,
    dim: 776,
    others: &[],
    norms: [(2049, 776), (2049, 4104)],
    hidden: 1000,
    vocab: 8011,
    attentions: [(2, 6, 1025, 64), (1, 4, 2047, 64), (1, 3, 1025, 128)],
};

/// Only so large that every kernel has something to do.
const QUICK: Sizes = Sizes {
    rows: 48,
    dim: 32,
    others: &[],
    norms: [(48, 32), (48, 64)],
    hidden: 40,
    vocab: 96,
    attentions: [(1, 2, 70, 64), (1, 2, 70, 64), (1, 2, 70, 128)],
};

/// The operations that most of a step's time goes to.
pub(in crate::cli) fn cases(sizes: &Sizes) -> Vec<Case> {
    let Sizes {
        rows, dim, vocab, ..
    } = *sizes;
    let normal = Fill::Normal(1.0);
    let compute = |shape: &[usize]| Input::new(shape, Role::Compute, normal);
    let wide = |shape: &[usize]| Input::new(shape, Role::Wide, normal);
    let param = |shape: &[usize]| Input::new(shape, Role::Param, Fill::Normal(0.02));
    let gain = |n: usize| Input::new([n], Role::Param, Fill::NearOne);
    let mut all = Vec::new();
    for c in std::iter::once(dim).chain(sizes.others.iter().copied()) {
        for (k, n) in [(c, 3 * c), (c, c), (c, 4 * c), (4 * c, c)] {
            let linear = Linear { wide: false };
            all.push(Case::new(linear, vec![compute(&[rows, k]), param(&[n, k])]));
        }
    }
    for (batch, heads, time, head_dim) in sizes.attentions {
        let op = Attention::new(heads, heads, head_dim);
        let inputs = vec![
            compute(&[batch, time, op.qkv_cols()]),
            Input::new([batch, time], Role::Index, Fill::Documents(time, time)),
        ];
        all.push(Case::new(op, inputs));
    }
    for (rows, cols) in sizes.norms {
        let rms = RmsNorm {
            eps: 1e-5,
            zero_centered: false,
            wide: false,
        };
        all.push(Case::new(rms, vec![wide(&[rows, cols]), gain(cols)]));
    }
    let layer = LayerNorm {
        eps: 1e-5,
        bias: true,
        wide: false,
    };
    let (many, cols) = sizes.norms[0];
    all.push(Case::new(
        layer,
        vec![wide(&[many, cols]), gain(cols), param(&[cols])],
    ));
    let add_norm = AddNorm {
        norm: Norm::Rms {
            eps: 1e-5,
            zero_centered: false,
        },
    };
    let inputs = vec![wide(&[many, cols]), compute(&[many, cols]), gain(cols)];
    all.push(Case::new(add_norm, inputs));
    let gated = Gated { act: Act::Silu };
    all.push(Case::new(gated, vec![compute(&[rows, 2 * sizes.hidden])]));
    let ids = Input::new([rows], Role::Index, Fill::Ids(vocab as i32));
    all.push(Case::new(
        Embedding { vocab },
        vec![ids, param(&[vocab, dim])],
    ));
    let inputs = vec![
        compute(&[rows, dim]),
        param(&[vocab, dim]),
        Input::new([rows], Role::Index, Fill::Targets(vocab as i32)),
    ];
    all.push(Case::new(Classifier, inputs));
    all
}
