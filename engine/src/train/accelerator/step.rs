//! A training step on a device: its micro-batches in turn, what they tell, and the update.
//!
//! A micro-batch is one captured sequence: forward, backward, its loss put aside; the last one of a step also takes the norm,
//! decides ([`told`]) and updates, where the host has said beforehand what the update is. So a step of one micro-batch is one
//! sequence, and the host waits once, for what it tells. All that a micro-batch reads from the host lies in one of two
//! [`Slots`], filled beside the launches that read the other; each sequence is captured once a slot.

use super::{Accelerator, flat};
use crate::data::Batch;
use crate::model::TrainingVars;
use crate::optim::{self, DeviceArrays, Optimizer, Update};
use crate::param::Params;
use crate::tape::Var;
use crate::tape::run::{DeviceMemory, DeviceReplay, Program};
use kernels::arena::ALIGN;
use kernels::gpu::fetch::bytes_of_i32;
use kernels::gpu::slots::Slots;
use kernels::gpu::{GpuError, LIVE_BYTES, View, live_bytes};
use kernels::update::norm;
use kernels::update::told::{self, Bounds, TOLD_BYTES, Told};
use kernels::{Dtype, Scalars};

/// Where the parts of a slot begin: live scalars, bounds, scalars of the update, inputs.
const BOUNDS: usize = LIVE_BYTES.next_multiple_of(ALIGN);
const SCALARS: usize = BOUNDS + ALIGN;
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

impl Accelerator {
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
