//! The device's side of a trainer: weights, gradients, optimizer state and arena in device memory, and the captured steps.
//!
//! The host's buffers stay what others read and write (checkpoints, statistics, chats). Whoever changes the host's
//! weights gives them another version ([`Params::version`]); the next step then takes weights and optimizer state from the
//! host. After an update on the device, [`Accelerator::fetch_model`] brings both back before anybody looks at them.
//!
//! A micro-batch is one captured sequence: forward, backward, its loss put aside; the last one of a step also takes the norm,
//! decides ([`told`]) and updates, where the host has said beforehand what the update is. So a step of one micro-batch is one
//! sequence, and the host waits once, for what it tells. All that a micro-batch reads from the host lies in one of two
//! [`Slots`], filled beside the launches that read the other; each sequence is captured once a slot.

use crate::data::Batch;
use crate::infer::session::{ReadError, Session};
use crate::model::TrainingVars;
use crate::optim::{self, DeviceArrays, Optimizer, SCALARS_STRIDE, Update};
use crate::param::Params;
use crate::profile::{Level, Limits};
use crate::tape::Var;
use crate::tape::run::{DeviceMemory, DeviceReplay, Program};
use kernels::arena::ALIGN;
use kernels::gpu::fetch::{bytes_of_f32, bytes_of_f32_mut, bytes_of_i32};
use kernels::gpu::slots::Slots;
use kernels::gpu::{Buffer, Gpu, GpuError, Graph, LIVE_BYTES, View, basic, live_bytes, peak};
use kernels::update::norm;
use kernels::update::told::{self, Bounds, TOLD_BYTES, Told};
use kernels::{Dtype, Precision, Scalars};
use std::collections::BTreeMap;

/// Which sequences were captured: of the program for a number of rows, adding to gradients or setting them, with the update
/// behind it or not.
type Key = (usize, bool, bool);

/// Where the parts of a slot begin: live scalars, bounds, scalars of the update, inputs.
const BOUNDS: usize = LIVE_BYTES.next_multiple_of(ALIGN);
const SCALARS: usize = BOUNDS + ALIGN;
/// Calls that a limit is the mean of.
const LIMIT_CALLS: usize = 5;
/// Elements that each input's place is rounded up to.
const PAD: usize = ALIGN / size_of::<i32>();

/// A micro-batch of a step, and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Its number in the step, from 0.
    pub number: usize,
    /// Micro-batches of the step.
    pub count: usize,
    /// Behind the last micro-batch: the update that follows if nothing speaks against it, whose clip factor the device makes.
    pub then: Option<Then<'a>>,
}

/// An update that follows a backward at once.
#[derive(Clone, Copy, Debug)]
pub struct Then<'a> {
    /// Its scalars.
    pub update: &'a Update,
    /// Largest norm of the gradient; 0: no limit.
    pub clip_norm: f64,
    /// Largest loss whose update is made.
    pub most_loss: f64,
}

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

    /// Writes a micro-batch and its scalars into the slot whose turn it is, beside what is computed, and replays a program on
    /// it: a captured sequence where nothing is looked at on the way and the same was launched before. `turn` is its place in
    /// a step of training; without it nothing is captured and no loss is put aside.
    ///
    /// # Errors
    /// If the device refuses; [`GpuError::Stopped`] where [`DeviceReplay::stop`] says so.
    pub fn replay(
        &mut self,
        (program, vars): (&Program, &TrainingVars),
        host: (&Params, &dyn Optimizer),
        (batch, scalars): (&Batch, &Scalars),
        turn: Option<Turn<'_>>,
        replay: &mut DeviceReplay<'_>,
    ) -> Result<(), GpuError> {
        self.follow(host.0, host.1)?;
        self.fill(host, batch, scalars, turn.as_ref())?;
        self.slots.begin()?;
        let done = self.launch((program, vars), host, batch, turn, replay);
        self.slots.end()?;
        done
    }

    /// Where inputs begin in a slot.
    fn inputs_at(&self) -> usize {
        SCALARS + self.scalars.bytes()
    }

    /// Makes sure that a slot has room for `inputs` bytes of ids.
    fn make_slots(&mut self, inputs: usize) -> Result<(), GpuError> {
        let bytes = self.inputs_at() + inputs;
        if self.slots.bytes() < bytes {
            // What was captured names addresses of the old slots.
            self.forget_graphs();
            self.ahead_of_time = None;
            self.slots = Slots::new(&self.gpu, bytes)?;
        }
        Ok(())
    }

    /// Fills the slot whose turn it is.
    fn fill(
        &mut self,
        (params, optimizer): (&Params, &dyn Optimizer),
        batch: &Batch,
        scalars: &Scalars,
        turn: Option<&Turn<'_>>,
    ) -> Result<(), GpuError> {
        let ids = packed(batch);
        self.make_slots(size_of_val(ids.as_slice()))?;
        let inputs_at = self.inputs_at();
        let mut head = vec![0; BOUNDS];
        head[..LIVE_BYTES].copy_from_slice(&live_bytes(scalars));
        if let Some(turn) = turn {
            let bounds = Bounds {
                clip_norm: turn.then.map_or(0.0, |then| then.clip_norm),
                most_loss: turn.then.map_or(f64::INFINITY, |then| then.most_loss),
                number: turn.number,
                count: turn.count,
            };
            head.extend(bounds.bytes());
            head.resize(SCALARS, 0);
            if let Some(then) = turn.then {
                head.extend(optim::scalars_gpu(optimizer, params.groups(), then.update));
            }
        }
        self.slots.write(0, &head)?;
        if self.ahead_of_time.take().as_ref() != Some(&ids) {
            self.slots.write(inputs_at, bytes_of_i32(&ids))?;
        }
        Ok(())
    }

    /// Writes the ids of the micro-batch that is likely the next, while the device computes. A batch that comes instead is
    /// written over it.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn prefetch(&mut self, batch: &Batch) -> Result<(), GpuError> {
        let ids = packed(batch);
        let at = self.inputs_at();
        // New slots would have to wait for what reads the old.
        if self.slots.bytes() >= at + size_of_val(ids.as_slice()) {
            self.slots.write(at, bytes_of_i32(&ids))?;
            self.ahead_of_time = Some(ids);
        }
        Ok(())
    }

    /// Launches what reads the slot whose turn it is.
    fn launch(
        &mut self,
        (program, vars): (&Program, &TrainingVars),
        (params, optimizer): (&Params, &dyn Optimizer),
        batch: &Batch,
        turn: Option<Turn<'_>>,
        replay: &mut DeviceReplay<'_>,
    ) -> Result<(), GpuError> {
        let slot = self.slots.address();
        let inputs = self.inputs(vars, batch);
        let memory = DeviceMemory {
            live: slot,
            inputs: &inputs,
            ..self.memory()
        };
        let driver = self.gpu.driver();
        let Some(turn) = turn else {
            return program.replay_gpu(&memory, params, replay);
        };
        let plain = replay.statistics.is_none() && replay.profile.is_none() && !replay.poison;
        let key = (batch.height, replay.accumulate, turn.then.is_some());
        let told = flat(&self.told);
        let state: Vec<View> = self.state.iter().map(flat).collect();
        let bounds = slot + BOUNDS as u64;
        let mut all = || {
            program.replay_gpu(&memory, params, replay)?;
            told::keep_loss_gpu(&self.gpu, told, program.loss_view(&memory), bounds)?;
            if turn.then.is_none() {
                return Ok(());
            }
            self.take_norm()?;
            told::judge_gpu(&self.gpu, told, bounds)?;
            let scalars = slot + SCALARS as u64;
            optim::step_gpu(optimizer, &self.arrays(&state, scalars), params.groups())
        };
        let known = self.graphs.get(&key).copied().filter(|_| plain);
        let number = self.slots.turn();
        let graphs = match known {
            None => {
                all()?;
                [None; 2]
            }
            Some(mut graphs) => {
                let graph = match graphs[number] {
                    Some(graph) => graph,
                    None => driver.capture(&mut all)?,
                };
                driver.replay(graph)?;
                graphs[number] = Some(graph);
                graphs
            }
        };
        if plain {
            self.graphs.insert(key, graphs);
        }
        Ok(())
    }

    /// Where the inputs of a program lie in the slot whose turn it is, as [`packed`] lays them out.
    fn inputs(&self, vars: &TrainingVars, batch: &Batch) -> [(Var, View); 4] {
        let len = batch.tokens.len();
        let stride = (len.next_multiple_of(PAD) * size_of::<i32>()) as u64;
        let mut at = self.slots.address() + self.inputs_at() as u64;
        [vars.tokens, vars.targets, vars.positions, vars.doc_start].map(|var| {
            let view = View::new(at, len, Dtype::I32);
            at += stride;
            (var, view)
        })
    }

    /// What updates work on, with their scalars at an address.
    fn arrays<'a>(&'a self, state: &'a [View], scalars: u64) -> DeviceArrays<'a> {
        DeviceArrays {
            gpu: &self.gpu,
            values: self.weights(),
            gradients: flat(&self.gradients),
            state,
            scalars,
            told: self.told.address(),
        }
    }

    /// Leaves the sum of the squares of the gradients at the front of what is told.
    fn take_norm(&self) -> Result<(), GpuError> {
        let partial = self.sums.view(0, self.sums.bytes() / 8, Dtype::F64);
        let squares = self.told.view(0, 1, Dtype::F64);
        norm::sum_of_squares_gpu(&self.gpu, flat(&self.gradients), partial, squares)
    }

    /// Makes room for what a step of `count` micro-batches tells.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn begin_step(&mut self, count: usize) -> Result<(), GpuError> {
        self.made = false;
        let bytes = TOLD_BYTES + count * size_of::<f32>();
        if self.told.bytes() < bytes {
            // What was captured names addresses of the old.
            self.forget_graphs();
            self.told = self.gpu.alloc(bytes)?;
        }
        Ok(())
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
    /// gradients. The only wait of a step. `followed` says whether an update followed the last of them, as it was its turn.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn end_step(&mut self, count: usize, followed: bool) -> Result<(f64, f64), GpuError> {
        if !followed {
            self.take_norm()?;
        }
        let mut bytes = vec![0; TOLD_BYTES + count * size_of::<f32>()];
        self.gpu
            .driver()
            .download(&mut bytes, self.told.address())?;
        let told = Told::read(&bytes);
        self.made = followed && told.go;
        self.ahead |= self.made;
        Ok((told.loss, told.squares))
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

    /// Whether the update of the last step was made behind its backward.
    pub fn made(&self) -> bool {
        self.made
    }

    /// Updates the weights from the gradients of the last step, all on the device.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn update(
        &mut self,
        params: &Params,
        optimizer: &dyn Optimizer,
        update: &Update,
    ) -> Result<(), GpuError> {
        let driver = self.gpu.driver();
        let (groups, scalars) = (params.groups(), self.scalars.address());
        driver.upload(scalars, &optim::scalars_gpu(optimizer, groups, update))?;
        let order = Told::order(update.grad_scale);
        driver.upload(self.told.address(), &order)?;
        let state: Vec<_> = self.state.iter().map(flat).collect();
        optim::step_gpu(optimizer, &self.arrays(&state, scalars), groups)?;
        self.ahead = true;
        Ok(())
    }
}

/// The ids of a batch as they lie in a slot: tokens, targets, positions, document starts, each padded.
fn packed(batch: &Batch) -> Vec<i32> {
    let inputs = [
        &batch.tokens,
        &batch.targets,
        &batch.positions,
        &batch.doc_start,
    ];
    let mut ids = Vec::with_capacity(4 * batch.tokens.len().next_multiple_of(PAD));
    for input in inputs {
        ids.extend(input);
        ids.resize(ids.len().next_multiple_of(PAD), 0);
    }
    ids
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
