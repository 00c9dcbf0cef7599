use super::*;
use crate::arena::bytes_of;
use crate::check::{Buffer, Case, Fill, Input, Role, normalised_error};
use crate::op::State;
use crate::{Isa, Scalars, with_elem};

/// Outputs of new tokens `from..to` of `qkv` (row after row), which are appended to the state.
fn step(
    op: &AttentionCached,
    cpu: &Cpu,
    precision: Precision,
    qkv: &[f64],
    (from, to): (usize, usize),
    state: &mut [State],
) -> Vec<f64> {
    let cols = (op.heads + 2 * op.kv_heads) * op.head_dim;
    let metas = [Meta::new([1, to - from, cols], precision.compute())];
    let input = Buffer::new(precision.compute(), &qkv[from * cols..to * cols]);
    let outputs = op.outputs(&metas, precision).unwrap();
    let mut out = Buffer::new(outputs[0].dtype, &vec![f64::NAN; outputs[0].len()]);
    let mut memory = vec![u64::MAX; op.workspace(&metas, cpu).div_ceil(8) + 8];
    let skip = memory.as_ptr().align_offset(crate::arena::ALIGN);
    op.forward_cpu(
        &mut Forward {
            cpu,
            scalars: &Scalars {
                cache_len: from,
                ..Scalars::default()
            },
            training: false,
            metas: &metas,
            inputs: &[input.slot()],
            outputs: vec![Some(out.slot_mut())],
            saved: Vec::new(),
            workspace: bytes_of(&mut memory[skip..]),
        },
        state,
    );
    out.values()
}

/// A cache full of NaN: nothing may be read before it is written.
fn empty(op: &AttentionCached, precision: Precision) -> Vec<State> {
    let dtype = precision.compute();
    let nan = |len: &usize| {
        let mut state = State::new(dtype, *len);
        with_elem!(dtype, T => state.values_mut::<T>().fill(crate::Elem::put(crate::Float::from_f64(f64::NAN))));
        state
    };
    op.state().iter().map(nan).collect()
}

#[test]
fn decoding_equals_the_whole_forward() {
    for (heads, kv_heads, dim, t) in [(4, 2, 32, 300), (3, 1, 20, 150), (2, 2, 64, 139)] {
        let whole = Attention::new(heads, kv_heads, dim);
        let op = whole.cached(t + 3);
        let case = Case::new(
            whole.clone(),
            vec![
                Input::new([1, t, whole.qkv_cols()], Role::Compute, Fill::Normal(1.0)),
                Input::new([1, t], Role::Index, Fill::Documents(t, t)),
            ],
        );
        for (precision, limit) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
            let trial = case.trial(precision, 6);
            for isa in Isa::available() {
                let cpu = Cpu::with_isa(2, isa);
                let want = trial.infer(&cpu).remove(0);
                // Prefill in parts (of which one ends within a block), then token by token.
                for parts in [vec![0, 1], vec![0, 77, 133]] {
                    let mut state = empty(&op, precision);
                    let mut ends = parts.clone();
                    ends.extend(parts[parts.len() - 1] + 1..=t);
                    let mut got = Vec::new();
                    for pair in ends.windows(2) {
                        let part = (pair[0], pair[1]);
                        let out = step(&op, &cpu, precision, &trial.inputs[0], part, &mut state);
                        got.extend(out);
                    }
                    let error = normalised_error(&got, &want);
                    assert!(error < limit, "{op:?} {isa:?} {precision:?}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let op = AttentionCached::new(6, 2, 32, 700);
    let cols = 10 * 32;
    let mut stream = crate::philox::Stream::new(1, 1);
    let qkv: Vec<f64> = (0..700 * cols).map(|_| stream.normal()).collect();
    let run = |threads: usize| {
        let cpu = Cpu::new(threads);
        let mut state = empty(&op, Precision::F32);
        let mut got = step(&op, &cpu, Precision::F32, &qkv, (0, 690), &mut state);
        for i in 690..700 {
            got.extend(step(
                &op,
                &cpu,
                Precision::F32,
                &qkv,
                (i, i + 1),
                &mut state,
            ));
        }
        got
    };
    let one = run(1);
    assert!(one.iter().all(|x| x.is_finite()));
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn what_does_not_fit_is_refused() {
    let op = AttentionCached::new(2, 1, 4, 8);
    let error = |shape: [usize; 3], dtype, precision| {
        let outcome = op.outputs(&[Meta::new(shape, dtype)], precision);
        outcome.unwrap_err().to_string()
    };
    assert!(error([1, 9, 16], Dtype::F32, Precision::F32).contains("at most 8"));
    assert!(error([2, 1, 16], Dtype::F32, Precision::F32).contains("one sequence"));
    assert!(error([1, 1, 15], Dtype::F32, Precision::F32).contains("16"));
    assert!(error([1, 1, 16], Dtype::F64, Precision::F64).contains("f64"));
}

#[cfg(unix)]
mod gpu {
    use super::*;
    use crate::gpu::emulator::{Emulator, Options};
    use crate::gpu::{Gpu, GpuError, GpuForward, LIVE_BYTES, View, compiled::Cache, live_bytes};

    fn bytes(buffer: &Buffer) -> Vec<u8> {
        match buffer {
            Buffer::F32(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Buffer::Bf16(x) => {
                let half = |x: &Bf16| ((crate::Elem::get(*x).to_bits() >> 16) as u16).to_le_bytes();
                x.iter().flat_map(half).collect()
            }
            Buffer::F64(_) | Buffer::I32(_) => panic!("caches and activations are f32 or bf16"),
        }
    }

    fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
        let word = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        match dtype {
            Dtype::Bf16 => bytes.chunks(2).map(|b| word(&[0, 0, b[0], b[1]])).collect(),
            _ => bytes.chunks(4).map(word).collect(),
        }
    }

    /// As `step`, on a device.
    fn step_gpu(
        op: &AttentionCached,
        gpu: &Gpu,
        precision: Precision,
        qkv: &[f64],
        (from, to): (usize, usize),
        state: &[View],
    ) -> Result<Vec<f64>, GpuError> {
        let cols = (op.heads + 2 * op.kv_heads) * op.head_dim;
        let dtype = precision.compute();
        let metas = [Meta::new([1, to - from, cols], dtype)];
        let driver = gpu.driver();
        let input = gpu.alloc(metas[0].bytes())?;
        let rows = Buffer::new(dtype, &qkv[from * cols..to * cols]);
        driver.upload(input.address(), &bytes(&rows))?;
        let out_len = (to - from) * op.heads * op.head_dim;
        let output = gpu.alloc(out_len * dtype.size())?;
        let scratch = gpu.alloc(op.workspace_gpu(&metas, gpu.info()).max(4))?;
        for memory in [&output, &scratch] {
            driver.fill(memory.address(), 0xff, memory.bytes())?;
        }
        let live = gpu.alloc(LIVE_BYTES)?;
        let scalars = Scalars {
            cache_len: from,
            ..Scalars::default()
        };
        driver.upload(live.address(), &live_bytes(&scalars))?;
        let given = GpuForward {
            gpu,
            training: false,
            metas: &metas,
            inputs: &[input.view(0, metas[0].len(), dtype)],
            outputs: &[output.view(0, out_len, dtype)],
            saved: &[],
            workspace: scratch.view(0, scratch.bytes() / 4, Dtype::I32),
            live: live.address(),
        };
        op.forward_gpu(&given, state)?;
        let mut got = vec![0; output.bytes()];
        driver.download(&mut got, output.address())?;
        Ok(values(dtype, &got))
    }

    fn device(warp: u32) -> Option<Gpu> {
        let program = std::env::current_exe().expect("a test knows its file");
        let cache = Cache::new(program.with_file_name("emulated"));
        let options = Options {
            warp,
            checked: true,
            order: 0,
        };
        match Emulator::new(options, Some(&cache)) {
            Ok(emulator) => Some(Gpu::new(Box::new(emulator), Some(cache))),
            Err(GpuError::Missing(why)) => {
                eprintln!("skipped: attention over a cache on the emulated device: {why}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn decoding_on_a_gpu_equals_the_cpu() {
        let (even, odd) = (
            AttentionCached::new(4, 2, 32, 153),
            AttentionCached::new(3, 1, 5, 51),
        );
        let cpu = Cpu::with_isa(1, Isa::Scalar);
        for (warp, op, precision, held, limit) in [
            (32, &even, Precision::F32, Dtype::F32, 1e-5),
            (32, &even, Precision::Bf16, Dtype::F32, 1e-2),
            (64, &even, Precision::Bf16, Dtype::Bf16, 1e-2),
            (64, &odd, Precision::F32, Dtype::F32, 1e-5),
            (32, &odd, Precision::Bf16, Dtype::Bf16, 1e-2),
        ] {
            let Some(gpu) = device(warp) else { return };
            let cols = (op.heads + 2 * op.kv_heads) * op.head_dim;
            let mut stream = crate::philox::Stream::new(2, 3);
            let qkv: Vec<f64> = (0..op.capacity * cols).map(|_| stream.normal()).collect();
            let mut state = empty(op, precision);
            let (len, bytes) = (op.state()[0], op.state()[0] * held.size());
            let tensor = gpu.alloc(2 * bytes).expect("memory");
            gpu.driver()
                .fill(tensor.address(), 0xff, 2 * bytes)
                .expect("memory");
            let views = [0, 1].map(|i| tensor.view(i * bytes, len, held));
            // Two parts of a prompt, then tokens on both sides of the end of a chunk of keys where there is one.
            let t = op.capacity - 3;
            for pair in [0, 19, t - 24, t - 23, t - 22, t - 21].windows(2) {
                let part = (pair[0], pair[1]);
                let want = step(op, &cpu, precision, &qkv, part, &mut state);
                let got = step_gpu(op, &gpu, precision, &qkv, part, &views)
                    .unwrap_or_else(|error| panic!("{op:?} {part:?}: {error}"));
                let error = normalised_error(&got, &want);
                assert!(
                    error < limit,
                    "{op:?} {precision:?} {held:?} {part:?}: {error:e}"
                );
            }
        }
    }
}
