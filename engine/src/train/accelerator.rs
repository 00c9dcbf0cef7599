//! The device's side of a trainer: weights, gradients, optimizer state and arena in device memory, and the captured steps.
//!
//! The host's buffers stay what others read and write (checkpoints, statistics, chats). Whoever changes the host's
//! weights gives them another version ([`Params::version`]); the next step then takes weights and optimizer state from the
//! host. After an update on the device, [`Accelerator::fetch_model`] brings both back before anybody looks at them.

use crate::data::Batch;
use crate::infer::session::{ReadError, Session};
use crate::model::TrainingVars;
use crate::optim::{DeviceArrays, Optimizer, SCALARS_STRIDE, Update};
use crate::param::Params;
use crate::tape::run::{DeviceMemory, DeviceReplay, Program};
use kernels::gpu::fetch::{bytes_of_f32, bytes_of_f32_mut};
use kernels::gpu::{Buffer, Gpu, GpuError, Graph, LIVE_BYTES, View, basic, live_bytes};
use kernels::update::norm;
use kernels::{Dtype, Precision, Scalars};
use std::collections::BTreeMap;

/// Which steps were captured: of the program for a number of rows, adding to gradients or setting them.
type Key = (usize, bool);

/// Where the losses begin in what a step tells.
const LOSSES: usize = 8;

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
    live: Buffer,
    /// Partial sums of the squares of the gradients.
    sums: Buffer,
    scalars: Buffer,
    /// Sum of the squares of the gradients (`f64`) and losses of the micro-batches of a step, read back together at its end.
    told: Buffer,
    /// Version of the host's values that the device has.
    version: Option<u64>,
    /// Whether the device's values and state are newer than the host's.
    ahead: bool,
    /// Launches of a replay, captured at its second time: the first compiles what it needs.
    graphs: BTreeMap<Key, Option<Graph>>,
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
            scalars: gpu.alloc(params.groups().len().max(1) * SCALARS_STRIDE)?,
            told: gpu.alloc(0)?,
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
        for graph in std::mem::take(&mut self.graphs).into_values().flatten() {
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

    /// Writes a micro-batch and its scalars, and replays a program on it: captured launches where nothing is looked at on the
    /// way and the same was replayed before. `key` names the program; without it nothing is captured.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn replay(
        &mut self,
        (program, vars): (&Program, &TrainingVars),
        host: (&Params, &dyn Optimizer),
        (batch, scalars): (&Batch, &Scalars),
        key: Option<usize>,
        replay: &mut DeviceReplay<'_>,
    ) -> Result<(), GpuError> {
        self.follow(host.0, host.1)?;
        let memory = self.memory();
        let driver = self.gpu.driver();
        driver.upload(memory.live, &live_bytes(scalars))?;
        program.write_gpu(&memory, vars.tokens, &batch.tokens)?;
        program.write_gpu(&memory, vars.targets, &batch.targets)?;
        program.write_gpu(&memory, vars.positions, &batch.positions)?;
        program.write_gpu(&memory, vars.doc_start, &batch.doc_start)?;
        let plain = replay.statistics.is_none() && replay.profile.is_none() && !replay.poison;
        let Some(key) = key.filter(|_| plain).map(|rows| (rows, replay.accumulate)) else {
            return program.replay_gpu(&memory, host.0, replay);
        };
        match self.graphs.get(&key).copied() {
            None => {
                program.replay_gpu(&memory, host.0, replay)?;
                self.graphs.insert(key, None);
            }
            Some(None) => {
                let graph = driver.capture(&mut || program.replay_gpu(&memory, host.0, replay))?;
                driver.replay(graph)?;
                self.graphs.insert(key, Some(graph));
            }
            Some(Some(graph)) => driver.replay(graph)?,
        }
        Ok(())
    }

    /// Makes room for what a step of `count` micro-batches tells.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn begin_step(&mut self, count: usize) -> Result<(), GpuError> {
        let bytes = LOSSES + count * size_of::<f32>();
        if self.told.bytes() < bytes {
            self.told = self.gpu.alloc(bytes)?;
        }
        Ok(())
    }

    /// Puts aside the loss of the program that was replayed last, as that of micro-batch `number`. Nothing is waited for.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn keep_loss(&self, program: &Program, number: usize) -> Result<(), GpuError> {
        let loss = program.loss_view(&self.memory());
        let at = LOSSES + number * size_of::<f32>();
        let to = self.told.view(at, 1, Dtype::F32);
        self.gpu.driver().copy(to.ptr, loss.ptr, size_of::<f32>())
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

    /// What a step of `count` micro-batches tells: the sum of its losses, in their order, and the sum of the squares of its
    /// gradients. The only wait of a step.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn end_step(&self, count: usize) -> Result<(f64, f64), GpuError> {
        let partial = self.sums.view(0, self.sums.bytes() / 8, Dtype::F64);
        let squares = self.told.view(0, 1, Dtype::F64);
        norm::sum_of_squares_gpu(&self.gpu, flat(&self.gradients), partial, squares)?;
        let mut bytes = vec![0; LOSSES + count * size_of::<f32>()];
        self.gpu
            .driver()
            .download(&mut bytes, self.told.address())?;
        let (squares, losses) = bytes.split_at(LOSSES);
        let losses = losses
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut word = [0; LOSSES];
        word.copy_from_slice(squares);
        Ok((losses.map(f64::from).sum(), f64::from_le_bytes(word)))
    }

    /// Updates the weights from the gradients, all on the device.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn update(
        &mut self,
        params: &Params,
        optimizer: &dyn Optimizer,
        update: &Update,
    ) -> Result<(), GpuError> {
        let state: Vec<_> = self.state.iter().map(flat).collect();
        let arrays = DeviceArrays {
            gpu: &self.gpu,
            values: self.weights(),
            gradients: flat(&self.gradients),
            state: &state,
            scalars: &self.scalars,
        };
        optimizer.step_gpu(&arrays, params.groups(), update)?;
        self.ahead = true;
        Ok(())
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
