//! Speed of attention, as a share of the peak measured beside each sample.
//!
//! `cargo run --release -p kernels --example attention_speed [B HEADS KV_HEADS T HEAD_DIM]`
//!
//! Without arguments it measures a table of shapes. GFLOP/s count the causal half only (forward 2 B H d T^2, backward
//! 2.5 times that); the peak is that of fused multiply-adds in `f32`, and of `vdpbf16ps` for bf16 where the machine has it.

#![expect(
    unsafe_code,
    reason = "the peak of an instruction is measured with the instruction itself"
)]

use kernels::arena::Arena;
use kernels::cpu::simd::{self, Kernel, Simd};
use kernels::op::{Backward, Forward, Grad, InferOp as _};
use kernels::ops::attention::Attention;
use kernels::ops::attention_cached::AttentionCached;
use kernels::philox::Stream;
use kernels::{
    Bf16, Cpu, Dtype, Elem as _, GradMode, Isa, Meta, Op as _, Precision, Scalars, Slot, SlotMut,
};
use std::time::Instant;

const SAMPLES: usize = 7;

fn main() {
    let given: Vec<usize> = std::env::args()
        .skip(1)
        .map(|word| word.parse().expect("sizes are numbers"))
        .collect();
    let shapes: Vec<[usize; 5]> = match given[..] {
        [b, h, k, t, d] => vec![[b, h, k, t, d]],
        _ => vec![
            [16, 8, 8, 512, 64],
            [16, 8, 2, 512, 64],
            [4, 8, 8, 2048, 64],
            [16, 4, 4, 512, 128],
            [16, 16, 16, 512, 32],
        ],
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, threads] {
        let cpu = Cpu::new(threads);
        for precision in [Precision::F32, Precision::Bf16] {
            for shape in &shapes {
                measure(&cpu, precision, *shape);
            }
        }
        decode(&cpu, 8, 64, 8192);
    }
}

/// Seconds of one run.
fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// Median GFLOP/s and share of the peak, which is measured before every sample.
fn rate(cpu: &Cpu, precision: Precision, flops: f64, mut run: impl FnMut()) -> (f64, f64) {
    run();
    let mut samples: Vec<(f64, f64)> = (0..SAMPLES)
        .map(|_| {
            let peak = peak(cpu, precision);
            let rate = flops / seconds(&mut run) / 1e9;
            (rate, rate / peak)
        })
        .collect();
    samples.sort_by(|a, b| a.1.total_cmp(&b.1));
    samples[SAMPLES / 2]
}

/// A tensor in huge pages, as in a run.
struct Tensor {
    memory: Arena,
    meta: Meta,
}

impl Tensor {
    /// Uniform values in [-1, 1), zeros for indices.
    fn new(meta: Meta) -> Self {
        let memory = Arena::new(meta.bytes());
        let mut stream = Stream::new(1, 1);
        let mut tensor = Self { memory, meta };
        match tensor.meta.dtype {
            Dtype::Bf16 => {
                for x in tensor.slot_mut().into_slice::<Bf16>() {
                    *x = Bf16::put(stream.uniform() as f32 * 2.0 - 1.0);
                }
            }
            Dtype::F32 => {
                for x in tensor.slot_mut().into_slice::<f32>() {
                    *x = stream.uniform() as f32 * 2.0 - 1.0;
                }
            }
            _ => {}
        }
        tensor
    }

    fn slot(&self) -> Slot<'_> {
        // SAFETY: the memory is as large as the tensor, zeroed at least, and borrowed.
        unsafe { Slot::from_raw(self.memory.at(0), self.meta.len(), self.meta.dtype) }
    }

    fn slot_mut(&mut self) -> SlotMut<'_> {
        // SAFETY: as above, and borrowed mutably.
        unsafe { SlotMut::from_raw(self.memory.at(0), self.meta.len(), self.meta.dtype) }
    }
}

/// All bytes of scratch memory.
fn bytes(memory: &mut Arena) -> &mut [u8] {
    // SAFETY: the block is that large, initialised, and borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(memory.at(0), memory.size()) }
}

fn measure(cpu: &Cpu, precision: Precision, [b, h, hk, t, d]: [usize; 5]) {
    let op = Attention::new(h, hk, d);
    let dtype = precision.compute();
    let metas = [
        Meta::new([b, t, op.qkv_cols()], dtype),
        Meta::new([b, t], Dtype::I32),
    ];
    let of_out = Meta::new([b, t, h * d], dtype);
    let [qkv, starts] = metas.clone().map(Tensor::new);
    let mut d_qkv = Tensor::new(metas[0].clone());
    let d_out = Tensor::new(of_out.clone());
    let mut out = Tensor::new(of_out);
    let mut lse = Tensor::new(Meta::new([b, h, t], precision.wide()));
    let scalars = Scalars::default();
    let mut scratch = Arena::new(
        op.workspace(&metas, cpu, true)
            .max(op.workspace(&metas, cpu, false)),
    );
    let inputs = [qkv.slot(), starts.slot()];
    let flops = 2.0 * (b * h * d) as f64 * (t * t) as f64;
    let forward = rate(cpu, precision, flops, || {
        op.forward_cpu(&mut Forward {
            cpu,
            scalars: &scalars,
            training: true,
            metas: &metas,
            inputs: &inputs,
            outputs: vec![Some(out.slot_mut())],
            saved: vec![Some(lse.slot_mut())],
            workspace: bytes(&mut scratch),
        });
    });
    let backward = rate(cpu, precision, 2.5 * flops, || {
        op.backward_cpu(&mut Backward {
            cpu,
            scalars: &scalars,
            metas: &metas,
            inputs: &inputs.map(Some),
            outputs: &[Some(out.slot())],
            late_outputs: Vec::new(),
            d_outputs: &[Some(d_out.slot())],
            d_inputs: vec![
                Some(Grad {
                    slot: d_qkv.slot_mut(),
                    mode: GradMode::Set,
                }),
                None,
            ],
            saved: &[lse.slot()],
            workspace: bytes(&mut scratch),
        });
    });
    let both = 3.5 / (1.0 / forward.0 + 2.5 / backward.0);
    println!(
        "{:4} {} threads, B{b} H{h}/{hk} T{t} D{d}: forward {:.0} GFLOP/s ({:.0} %), backward {:.0} ({:.0} %), both {both:.0}",
        precision.name(),
        cpu.pool.threads(),
        forward.0,
        100.0 * forward.1,
        backward.0,
        100.0 * backward.1,
    );
}

/// One token against a full cache: bytes of keys and values per second, beside those of a plain sum over the same memory.
fn decode(cpu: &Cpu, heads: usize, d: usize, capacity: usize) {
    let op = AttentionCached::new(heads, heads, d, capacity);
    let metas = [Meta::new([1, 1, 3 * heads * d], Dtype::F32)];
    let qkv = Tensor::new(metas[0].clone());
    let mut out = Tensor::new(Meta::new([1, 1, heads * d], Dtype::F32));
    let mut state: Vec<Vec<f32>> = op.state().iter().map(|len| vec![0.25; *len]).collect();
    let mut scratch = Arena::new(op.workspace(&metas, cpu));
    let scalars = Scalars {
        cache_len: capacity - 1,
        ..Scalars::default()
    };
    let size = 2.0 * (heads * d * capacity * 4) as f64;
    let mut samples: Vec<(f64, f64)> = (0..SAMPLES)
        .map(|_| {
            let (keys, values) = (&state[0], &state[1]);
            let read = seconds(|| {
                cpu.pool.run(64, |i| {
                    let part = keys.len() / 64;
                    for tensor in [keys, values] {
                        let sum = Sum(&tensor[i * part..(i + 1) * part]);
                        std::hint::black_box(simd::run(cpu.isa, sum));
                    }
                });
            });
            let step = seconds(|| {
                op.forward_cpu(
                    &mut Forward {
                        cpu,
                        scalars: &scalars,
                        training: false,
                        metas: &metas,
                        inputs: &[qkv.slot()],
                        outputs: vec![Some(out.slot_mut())],
                        saved: Vec::new(),
                        workspace: bytes(&mut scratch),
                    },
                    &mut state,
                );
            });
            (size / step / 1e9, size / read / 1e9)
        })
        .collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, memory) = samples[SAMPLES / 2];
    println!(
        "decode {} threads, H{heads} D{d} cache {capacity}: {rate:.1} GB/s, where a sum reads {memory:.1} GB/s",
        cpu.pool.threads()
    );
}

struct Sum<'a>(&'a [f32]);

impl Kernel<f32> for Sum<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f32 {
        let mut sums = [S::zero(); 8];
        for chunk in self.0.chunks_exact(8 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has eight vectors.
                *sum = S::add(*sum, unsafe { S::load(chunk.as_ptr().add(i * S::LANES)) });
            }
        }
        sums.iter().map(|sum| S::sum(*sum)).sum()
    }
}

/// Steps of a peak measurement: about half a millisecond.
const STEPS: usize = 50_000;

/// Peak GFLOP/s of all threads.
fn peak(cpu: &Cpu, precision: Precision) -> f64 {
    let threads = cpu.pool.threads();
    let mut flops = 0.0;
    let spent = (0..3)
        .map(|_| {
            seconds(|| {
                cpu.pool.run(threads, |_| {
                    std::hint::black_box(match (precision, cpu.isa) {
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: the instruction set was detected.
                        (Precision::Bf16, Isa::Avx512Bf16) => unsafe { bf16_sums() },
                        _ => simd::run(cpu.isa, Sums),
                    });
                });
            })
        })
        .fold(f64::INFINITY, f64::min);
    let lanes = match cpu.isa {
        Isa::Scalar => 1,
        Isa::Neon => 4,
        Isa::Avx2 => 8,
        Isa::Avx512Bf16 if precision == Precision::Bf16 => 32,
        Isa::Avx512 | Isa::Avx512Bf16 => 16,
    };
    flops += (threads * STEPS * 16 * 2 * lanes) as f64;
    flops / spent / 1e9
}

struct Sums;

impl Kernel<f32> for Sums {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> f32 {
        let x = S::splat(std::hint::black_box(0.5));
        let mut sums = [S::zero(); 16];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = S::fma(*sum, x, x);
            }
        }
        sums.iter().map(|sum| S::sum(*sum)).sum()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_sums() -> f32 {
    use std::arch::x86_64::*;
    let one: __m512bh = {
        let bits = std::hint::black_box([0x3f80_3f80u32; 16]);
        // SAFETY: sixteen pairs of bf16.
        unsafe { std::mem::transmute(bits) }
    };
    let mut sums = [_mm512_setzero_ps(); 16];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, one, one);
        }
    }
    sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
}
