//! Runs one operation on a GPU, alone, and compares it with its scalar definition on the CPU.

use super::context::{LIVE_BYTES, live_bytes};
use super::{Buffer, Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, View};
use crate::check::{self, BASE, Case, Outcome, Role, Trial};
use crate::op::{GradMode, Meta};
use crate::{Bf16, Cpu, Dtype, Elem as _, Isa, Precision};

/// A tensor on the device with the memory that it owns.
#[derive(Debug)]
struct Tensor {
    memory: Buffer,
    _rounded: Option<Buffer>,
    view: View,
}

/// The bytes of `values`, rounded to `dtype`.
fn bytes(dtype: Dtype, values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * dtype.size());
    for x in values {
        match dtype {
            Dtype::F32 => bytes.extend_from_slice(&(*x as f32).to_le_bytes()),
            Dtype::Bf16 => {
                let upper = (Bf16::put(*x as f32).get().to_bits() >> 16) as u16;
                bytes.extend_from_slice(&upper.to_le_bytes());
            }
            Dtype::I32 => bytes.extend_from_slice(&(*x as i32).to_le_bytes()),
            Dtype::F64 => panic!("gradient checks in f64 are made on the CPU"),
        }
    }
    bytes
}

fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let word = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(word).collect(),
        Dtype::Bf16 => bytes
            .chunks_exact(2)
            .map(|b| word(&[0, 0, b[0], b[1]]))
            .collect(),
        Dtype::I32 | Dtype::F64 => panic!("operations write floats"),
    }
}

impl Tensor {
    fn new(gpu: &Gpu, meta: &Meta, values: &[f64], role: Option<Role>) -> Result<Self, GpuError> {
        let memory = gpu.alloc(meta.bytes())?;
        gpu.driver()
            .upload(memory.address(), &bytes(meta.dtype, values))?;
        let mut view = memory.view(0, meta.len(), meta.dtype);
        let mut rounded = None;
        if role == Some(Role::Param) {
            let beside = gpu.alloc(2 * meta.len())?;
            gpu.driver()
                .upload(beside.address(), &bytes(Dtype::Bf16, values))?;
            view.rounded = Some(beside.address());
            rounded = Some(beside);
        }
        Ok(Self {
            memory,
            _rounded: rounded,
            view,
        })
    }

    fn filled(gpu: &Gpu, meta: &Meta, value: f64) -> Result<Self, GpuError> {
        if !value.is_nan() {
            return Self::new(gpu, meta, &vec![value; meta.len()], None);
        }
        // Every bit set is a NaN of either type; made on the device, where tensors may be large.
        let memory = gpu.alloc(meta.bytes())?;
        if meta.bytes() > 0 {
            gpu.driver().fill(memory.address(), 0xff, meta.bytes())?;
        }
        let view = memory.view(0, meta.len(), meta.dtype);
        Ok(Self {
            memory,
            _rounded: None,
            view,
        })
    }

    fn values(&self, gpu: &Gpu) -> Result<Vec<f64>, GpuError> {
        let mut bytes = vec![0; self.memory.bytes()];
        gpu.driver().download(&mut bytes, self.memory.address())?;
        Ok(values(self.view.dtype, &bytes))
    }
}

fn views(tensors: &[Tensor]) -> Vec<View> {
    tensors.iter().map(|tensor| tensor.view).collect()
}

/// The views whose bits are set in `mask`.
fn kept(mask: u32, views: &[View]) -> Vec<Option<View>> {
    let bit = |i: usize| mask >> i & 1 == 1;
    let numbered = views.iter().enumerate();
    numbered.map(|(i, view)| bit(i).then_some(*view)).collect()
}

/// All that a trial has on the device.
struct Bench<'a> {
    trial: &'a Trial<'a>,
    gpu: &'a Gpu,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    saved: Vec<Tensor>,
    live: Buffer,
}

impl<'a> Bench<'a> {
    fn new(trial: &'a Trial<'a>, gpu: &'a Gpu, training: bool) -> Result<Self, GpuError> {
        let bf16 = trial.precision == Precision::Bf16;
        let role = |i: usize| bf16.then_some(trial.roles[i]);
        let mut inputs = Vec::new();
        for (i, (meta, values)) in trial.metas.iter().zip(&trial.inputs).enumerate() {
            inputs.push(Tensor::new(gpu, meta, values, role(i))?);
        }
        let nan = |meta: &Meta| Tensor::filled(gpu, meta, f64::NAN);
        let outputs = trial.outputs.iter().map(nan).collect::<Result<_, _>>()?;
        let saved = if training {
            trial.op.saved(&trial.metas, trial.precision)
        } else {
            Vec::new()
        };
        let live = gpu.alloc(LIVE_BYTES)?;
        gpu.driver()
            .upload(live.address(), &live_bytes(&trial.scalars))?;
        Ok(Self {
            trial,
            gpu,
            inputs,
            outputs,
            saved: saved.iter().map(nan).collect::<Result<_, _>>()?,
            live,
        })
    }

    /// Scratch full of NaN.
    fn scratch(&self, backward: bool) -> Result<(Buffer, View), GpuError> {
        let op = self.trial.op;
        let bytes = op.workspace_gpu(&self.trial.metas, self.gpu.info(), backward);
        let words = bytes.div_ceil(4);
        let memory = self.gpu.alloc(words * 4)?;
        if words > 0 {
            self.gpu.driver().fill(memory.address(), 0xff, words * 4)?;
        }
        let view = memory.view(0, words, Dtype::I32);
        Ok((memory, view))
    }

    fn forward(&self, training: bool) -> Result<(), GpuError> {
        let (_memory, workspace) = self.scratch(false)?;
        self.forward_in(training, workspace)
    }

    fn forward_in(&self, training: bool, workspace: View) -> Result<(), GpuError> {
        self.trial.op.forward_gpu(&GpuForward {
            gpu: self.gpu,
            training,
            metas: &self.trial.metas,
            inputs: &views(&self.inputs),
            outputs: &views(&self.outputs),
            saved: &views(&self.saved),
            workspace,
            live: self.live.address(),
        })
    }

    /// Memory for the gradients, delivered in `mode`.
    fn gradients(&self, mode: GradMode) -> Result<Gradients, GpuError> {
        let (trial, gpu) = (self.trial, self.gpu);
        let sharing = trial.op.grad_sharing().in_place;
        let in_place = sharing.filter(|_| mode == GradMode::InPlace);
        let mut d_outputs = Vec::new();
        for (meta, values) in trial.outputs.iter().zip(&trial.d_outputs) {
            d_outputs.push(Some(Tensor::new(gpu, meta, values, None)?));
        }
        let mut d_inputs = Vec::new();
        let mut modes = Vec::new();
        for (i, meta) in trial.metas.iter().enumerate() {
            let (tensor, how) = match in_place {
                _ if !meta.dtype.is_float() => (None, mode),
                Some((input, output)) if input == i => {
                    (d_outputs[output].take(), GradMode::InPlace)
                }
                _ if mode == GradMode::Add => (Some(Tensor::filled(gpu, meta, BASE)?), mode),
                _ => (Some(Tensor::filled(gpu, meta, f64::NAN)?), GradMode::Set),
            };
            d_inputs.push(tensor);
            modes.push(how);
        }
        let (scratch, workspace) = self.scratch(true)?;
        Ok(Gradients {
            d_outputs,
            d_inputs,
            modes,
            workspace,
            _scratch: scratch,
        })
    }

    fn backward(&self, gradients: &Gradients) -> Result<(), GpuError> {
        let trial = self.trial;
        let keeps = trial.op.keeps();
        let views_of = |tensors: &[Option<Tensor>]| -> Vec<Option<View>> {
            let views = tensors.iter();
            views.map(|tensor| Some(tensor.as_ref()?.view)).collect()
        };
        let grads: Vec<_> = views_of(&gradients.d_inputs)
            .into_iter()
            .zip(&gradients.modes)
            .map(|(view, mode)| {
                Some(GpuGrad {
                    view: view?,
                    mode: *mode,
                })
            })
            .collect();
        let late = if keeps.forward_in_backward {
            views(&self.outputs)
        } else {
            Vec::new()
        };
        trial.op.backward_gpu(&GpuBackward {
            gpu: self.gpu,
            metas: &trial.metas,
            inputs: &kept(keeps.inputs, &views(&self.inputs)),
            outputs: &kept(keeps.outputs, &views(&self.outputs)),
            late_outputs: &late,
            d_outputs: &views_of(&gradients.d_outputs),
            d_inputs: &grads,
            saved: &views(&self.saved),
            workspace: gradients.workspace,
            live: self.live.address(),
        })
    }
}

/// What a backward reads and writes beside what the forward has.
struct Gradients {
    d_outputs: Vec<Option<Tensor>>,
    d_inputs: Vec<Option<Tensor>>,
    modes: Vec<GradMode>,
    workspace: View,
    _scratch: Buffer,
}

/// One forward and one backward, as [`Trial::run`] does it on the CPU: all outputs and scratch are NaN beforehand.
///
/// # Errors
/// If the device refuses, or the emulation finds a fault.
pub fn run(trial: &Trial<'_>, gpu: &Gpu, mode: GradMode) -> Result<Outcome, GpuError> {
    let bench = Bench::new(trial, gpu, true)?;
    if !trial.op.keeps().forward_in_backward {
        bench.forward(true)?;
    }
    let gradients = bench.gradients(mode)?;
    bench.backward(&gradients)?;
    gpu.driver().synchronize()?;
    let base = if mode == GradMode::Add { BASE } else { 0.0 };
    let gradient = |tensor: &Option<Tensor>| -> Result<Vec<f64>, GpuError> {
        let Some(tensor) = tensor else {
            return Ok(Vec::new());
        };
        let values = tensor.values(gpu)?;
        Ok(values.iter().map(|x| x - base).collect())
    };
    Ok(Outcome {
        outputs: outputs(&bench, gpu)?,
        d_inputs: gradients
            .d_inputs
            .iter()
            .map(gradient)
            .collect::<Result<_, _>>()?,
    })
}

/// Seconds of one forward and of one backward by the device's clock, each the mean of `calls` behind one another after a
/// first that compiles what they need. An operation whose forward runs with its backward has a forward of no time.
///
/// # Errors
/// As for [`run`].
pub fn time(trial: &Trial<'_>, gpu: &Gpu, calls: usize) -> Result<[f64; 2], GpuError> {
    let bench = Bench::new(trial, gpu, true)?;
    let repeated = |work: &dyn Fn() -> Result<(), GpuError>| {
        work()?;
        let seconds = gpu
            .driver()
            .time(&mut || (0..calls).try_for_each(|_| work()))?;
        Ok(seconds / calls as f64)
    };
    let forward = if trial.op.keeps().forward_in_backward {
        0.0
    } else {
        let (_memory, workspace) = bench.scratch(false)?;
        repeated(&|| bench.forward_in(true, workspace))?
    };
    let gradients = bench.gradients(GradMode::Set)?;
    Ok([forward, repeated(&|| bench.backward(&gradients))?])
}

/// Only a forward, as in evaluation.
///
/// # Errors
/// As for [`run`].
pub fn infer(trial: &Trial<'_>, gpu: &Gpu) -> Result<Vec<Vec<f64>>, GpuError> {
    let bench = Bench::new(trial, gpu, false)?;
    bench.forward(false)?;
    outputs(&bench, gpu)
}

fn outputs(bench: &Bench<'_>, gpu: &Gpu) -> Result<Vec<Vec<f64>>, GpuError> {
    let tensors = bench.outputs.iter();
    tensors.map(|tensor| tensor.values(gpu)).collect()
}

/// The largest normalised error of any output or gradient against the scalar definition in the same precision, over all ways
/// to deliver gradients and over evaluation.
///
/// # Errors
/// As for [`run`].
pub fn error(case: &Case, gpu: &Gpu, precision: Precision) -> Result<f64, GpuError> {
    error_against(case, gpu, precision, &Cpu::with_isa(1, Isa::Scalar))
}

/// The same against another instruction set's kernels, which are checked against the definition themselves: for shapes at
/// which plain code takes minutes.
///
/// # Errors
/// As for [`run`].
pub fn error_against(
    case: &Case,
    gpu: &Gpu,
    precision: Precision,
    cpu: &Cpu,
) -> Result<f64, GpuError> {
    let trial = case.trial(precision, 12);
    let mut worst: f64 = 0.0;
    for mode in [GradMode::Set, GradMode::Add, GradMode::InPlace] {
        let want = trial.run(cpu, mode);
        worst = worst.max(check::outcome_error(&run(&trial, gpu, mode)?, &want));
    }
    let want = trial.infer(cpu);
    for (got, want) in infer(&trial, gpu)?.iter().zip(&want) {
        worst = worst.max(check::normalised_error(got, want));
    }
    Ok(worst)
}

/// What every operation must fulfil on the emulated device, watched, with warps of 32 and of 64 and threads in several orders:
/// no fault, the definition's values within `limit` in `f32` and `bf16_limit` in `bf16`, the same bits in every order. Panics
/// with the case on the first failure; says so and returns where there is no C++ compiler.
#[cfg(all(test, unix))]
pub(crate) fn all(case: &Case, limit: f64, bf16_limit: f64) {
    use super::emulator;
    for warp in [32, 64] {
        let Some(gpu) = emulated(emulator::Options {
            warp,
            checked: true,
            order: 0,
        }) else {
            return;
        };
        for (precision, bound) in [(Precision::F32, limit), (Precision::Bf16, bf16_limit)] {
            match error(case, &gpu, precision) {
                Ok(error) => assert!(
                    error < bound,
                    "{case:?}: warps of {warp} in {precision:?} differ from the definition by {error:e}"
                ),
                Err(error) => panic!("{case:?}: warps of {warp} in {precision:?}: {error}"),
            }
        }
        let other = emulated(emulator::Options {
            warp,
            checked: true,
            order: 3,
        })
        .expect("there is a compiler");
        let trial = case.trial(Precision::Bf16, 13);
        let [one, two] = [&gpu, &other].map(|gpu| run(&trial, gpu, GradMode::Set));
        assert!(one == two, "{case:?}: the order of threads changes bits");
    }
}

/// An emulated device, or none with a word to stderr where there is no C++ compiler. Devices are kept: kernels are compiled
/// once in a process.
#[cfg(all(test, unix))]
pub(crate) fn emulated(options: super::emulator::Options) -> Option<Gpu> {
    use super::emulator::Emulator;
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};
    type Key = (u32, bool, u32);
    static DEVICES: LazyLock<Mutex<HashMap<Key, Option<Gpu>>>> = LazyLock::new(Mutex::default);
    let mut devices = super::lock(&DEVICES);
    let key = (options.warp, options.checked, options.order);
    devices
        .entry(key)
        .or_insert_with(|| {
            let program = std::env::current_exe().expect("a test knows its file");
            let cache = super::compiled::Cache::new(program.with_file_name("emulated"));
            match Emulator::new(options, Some(&cache)) {
                Ok(emulator) => Some(Gpu::new(Box::new(emulator), Some(cache))),
                Err(GpuError::Missing(why)) => {
                    eprintln!("skipped: kernels on the emulated device: {why}");
                    None
                }
                Err(error) => panic!("{error}"),
            }
        })
        .clone()
}
