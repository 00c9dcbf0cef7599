//! The device's side of a trainer: weights, gradients, optimizer state and arena in device memory, and the captured steps.
//!
//! The host's buffers stay what others read and write (checkpoints, statistics, chats). Whoever changes the host's
//! weights gives them another version ([`Params::version`]); the next step then takes weights and optimizer state from the
//! host. After an update on the device, [`Accelerator::fetch_model`] brings both back before anybody looks at them.
//! What a step does with them, micro-batch by micro-batch, is [`step`]'s.

mod step;

use crate::infer::session::{ReadError, Session};
use crate::model::TrainingVars;
use crate::optim::{Optimizer, SCALARS_STRIDE};
use crate::param::Params;
use crate::profile::{Level, Limits};
use crate::tape::run::{DeviceMemory, Program};
use kernels::gpu::fetch::{bytes_of_f32, bytes_of_f32_mut};
use kernels::gpu::slots::Slots;
use kernels::gpu::{Buffer, Gpu, GpuError, Graph, LIVE_BYTES, View, basic, peak};
use kernels::update::norm;
use kernels::{Dtype, Precision};
use std::collections::BTreeMap;
pub use step::{Then, Turn};

/// Which sequences were captured: of the program for a number of rows, adding to gradients or setting them, with the update
/// behind it or not.
type Key = (usize, bool, bool);

/// Calls that a limit is the mean of.
const LIMIT_CALLS: usize = 5;

/// A device with all that training has there.
#[derive(Debug)]
pub struct Accelerator {
    gpu: Gpu,
    values: Buffer,
    /// The values rounded to `bf16`, as factors of matrix products.
    rounded: Option<Buffer>,
    gradients: Buffer,
    state: Vec<Buffer>,
    arena: Buffer,
    /// Live scalars of sessions.
    live: Buffer,
    /// What micro-batches read from the host.
    slots: Slots,
    /// The ids that the slot whose turn it is has already.
    ahead_of_time: Option<Vec<i32>>,
    /// Partial sums of the squares of the gradients.
    sums: Buffer,
    /// Scalars of an update that the host asks for when it has seen the gradients' norm.
    scalars: Buffer,
    /// What a step comes to and the losses of its micro-batches, read back together at its end.
    told: Buffer,
    /// Whether the update of the last step was made behind its backward.
    made: bool,
    /// Version of the host's values that the device has.
    version: Option<u64>,
    /// Whether the device's values and state are newer than the host's.
    ahead: bool,
    /// Sequences that were launched once, which compiles what they need, and what was captured of each since, a slot each.
    graphs: BTreeMap<Key, [Option<Graph>; 2]>,
}

impl Accelerator {
    /// Memory for `params` and the state of `optimizer` on a device.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn new(
        gpu: Gpu,
        params: &Params,
        optimizer: &dyn Optimizer,
        precision: Precision,
    ) -> Result<Self, GpuError> {
        let bytes = params.bytes();
        let rounded = match precision {
            Precision::Bf16 => Some(gpu.alloc(2 * params.len())?),
            _ => None,
        };
        let mut state = Vec::new();
        for _ in optimizer.state() {
            state.push(gpu.alloc(bytes)?);
        }
        Ok(Self {
            values: gpu.alloc(bytes)?,
            gradients: gpu.alloc(bytes)?,
            arena: gpu.alloc(0)?,
            live: gpu.alloc(LIVE_BYTES)?,
            sums: gpu.alloc(8 * norm::partial_sums(params.len()))?,
            slots: Slots::new(&gpu, 0)?,
            ahead_of_time: None,
            scalars: gpu.alloc(params.groups().len().max(1) * SCALARS_STRIDE)?,
            told: gpu.alloc(0)?,
            made: false,
            rounded,
            state,
            version: None,
            ahead: false,
            graphs: BTreeMap::new(),
            gpu,
        })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Makes sure that the arena has `bytes` bytes.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), GpuError> {
        if self.arena.bytes() < bytes {
            // What was captured names addresses of the old arena, which is given back before the new is taken.
            self.forget_graphs();
            let before = self.arena.bytes();
            self.arena = self.gpu.alloc(0)?;
            match self.gpu.alloc(bytes) {
                Ok(arena) => self.arena = arena,
                Err(error) => {
                    // Whoever can do without goes on with what there was.
                    self.arena = self.gpu.alloc(before)?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Forgets what was captured: programs are planned anew.
    pub fn forget_graphs(&mut self) {
        let graphs = std::mem::take(&mut self.graphs).into_values();
        for graph in graphs.flatten().flatten() {
            self.gpu.driver().forget(graph);
        }
    }

    fn weights(&self) -> View {
        View {
            rounded: self.rounded.as_ref().map(Buffer::address),
            ..flat(&self.values)
        }
    }

    fn memory(&self) -> DeviceMemory<'_> {
        DeviceMemory {
            gpu: &self.gpu,
            arena: &self.arena,
            values: self.weights(),
            gradients: Some(flat(&self.gradients)),
            live: self.live.address(),
            inputs: &[],
        }
    }

    /// Takes weights and optimizer state from the host where the host has others.
    fn follow(&mut self, params: &Params, optimizer: &dyn Optimizer) -> Result<(), GpuError> {
        if self.version == Some(params.version()) {
            return Ok(());
        }
        let driver = self.gpu.driver();
        driver.upload(self.values.address(), bytes_of_f32(params.values()))?;
        for (buffer, (_, host)) in self.state.iter().zip(optimizer.state()) {
            driver.upload(buffer.address(), bytes_of_f32(host))?;
        }
        if let Some(rounded) = &self.rounded {
            let to = rounded.view(0, params.len(), Dtype::Bf16);
            basic::convert(&self.gpu, flat(&self.values), to)?;
        }
        self.version = Some(params.version());
        self.ahead = false;
        Ok(())
    }

    /// Brings weights and optimizer state to the host, where the device has newer ones.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn fetch_model(
        &mut self,
        params: &mut Params,
        optimizer: &mut dyn Optimizer,
    ) -> Result<(), GpuError> {
        if !self.ahead {
            return Ok(());
        }
        let driver = self.gpu.driver();
        driver.download(bytes_of_f32_mut(params.values_mut()), self.values.address())?;
        for (buffer, (_, host)) in self.state.iter().zip(optimizer.state_mut()) {
            driver.download(bytes_of_f32_mut(host), buffer.address())?;
        }
        self.version = Some(params.version());
        self.ahead = false;
        Ok(())
    }

    /// Brings the gradients to the host.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn fetch_gradients(&self, params: &mut Params) -> Result<(), GpuError> {
        let host = bytes_of_f32_mut(params.gradients_mut());
        self.gpu.driver().download(host, self.gradients.address())
    }

    /// A kept value of the program that was replayed last, one number: waits for it.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn number(&self, program: &Program, vars: &TrainingVars) -> Result<f64, GpuError> {
        Ok(program.read_gpu(&self.memory(), vars.loss)?.slot().to_f64()[0])
    }

    /// Lets a session on this device read `tokens`; the logits (V) for the one that follows.
    ///
    /// # Errors
    /// If the text becomes too long, or the device fails.
    pub fn read<'a>(
        &mut self,
        session: &'a mut Session,
        tokens: &[i32],
        params: &Params,
        optimizer: &dyn Optimizer,
    ) -> Result<&'a [f32], ReadError> {
        self.follow(params, optimizer)?;
        session.read_gpu(tokens, &self.memory(), params)
    }

    /// The device's limits as the run meets them, measured in the arena between two steps, whose contents nobody needs then.
    /// None on the emulated device, and where the arena is too small to say.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn limits(&self, precision: Precision) -> Result<Option<Limits>, GpuError> {
        let words = self.arena.view(0, self.arena.bytes() / 4, Dtype::I32);
        let measured = peak::within(&self.gpu, precision, words, LIMIT_CALLS)?;
        Ok(measured.map(|(gbps, tflops)| Limits {
            gflops: 1e3 * tflops,
            levels: vec![Level {
                bytes: u64::MAX,
                gbps,
            }],
        }))
    }
}

/// The whole of a buffer, as `f32`.
fn flat(buffer: &Buffer) -> View {
    buffer.view(0, buffer.bytes() / size_of::<f32>(), Dtype::F32)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Model;
    use crate::optim;
    use kernels::gpu::{Kind, devices};

    #[test]
    fn memory_that_cannot_be_had_leaves_what_there_was() {
        let text = "data.sequence_length = 8\nmodel = { layers = 1, dim = 8, heads = 1 }\n\
                    train = { batch_size = 1, max_steps = 1 }\noptimizer.lr = 1e-3\n";
        let config = Config::parse(None, text, &[]).unwrap();
        let gpu = match devices::open(Kind::Emulated, 0, None) {
            Ok(gpu) => gpu,
            Err(GpuError::Missing(why)) => {
                eprintln!("skipped: memory of the emulated device: {why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let params = Model::new(&config.model, 16).init(0, Precision::F32, true);
        let optimizer = optim::build(&config.optimizer, params.len());
        let mut accelerator = Accelerator::new(gpu, &params, &*optimizer, Precision::F32).unwrap();
        accelerator.reserve(1000).unwrap();
        let error = accelerator.reserve(1 << 40).unwrap_err();
        assert!(matches!(error, GpuError::OutOfMemory { .. }), "{error}");
        assert_eq!(accelerator.arena.bytes(), 1000);
    }
}
