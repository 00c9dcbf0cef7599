//! Replaying a plan on a GPU: the same loop over the same steps, on device memory named by addresses.

use super::{Kind, NodeOp, Params, Phase, Place, Plan, Profile, Program, Statistics, Step, Target};
use crate::tape::Var;
use kernels::gpu::fetch::{Fetched, bytes_of_i32, fetch};
use kernels::gpu::{Buffer, Gpu, GpuBackward, GpuError, GpuForward, GpuGrad, View, basic};
use kernels::{Dtype, GradMode};

/// Device memory that a replay works on.
#[derive(Clone, Copy, Debug)]
pub struct DeviceMemory<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// At least [`Plan::bytes`].
    pub arena: &'a Buffer,
    /// All values, as [`Params`] lays them out; with their rounded copies where the run is in `bf16`.
    pub values: View,
    /// All gradients; not needed for a plain forward.
    pub gradients: Option<View>,
    /// Address of the live scalars.
    pub live: u64,
    /// Inputs that lie elsewhere than in the arena.
    pub inputs: &'a [(Var, View)],
}

/// Asked on the way whether to go on.
#[derive(Clone, Copy)]
pub struct Stop<'a>(pub &'a dyn Fn() -> bool);

impl std::fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

/// What varies from one replay on a device to the next.
#[derive(Debug, Default)]
pub struct DeviceReplay<'a> {
    /// Whether gradients of parameters are added to (later micro-batches of a step) or set (the first).
    pub accumulate: bool,
    /// Where to put the statistics of the observed values, if they are wanted: each is then copied to the host.
    pub statistics: Option<&'a mut Statistics>,
    /// Where to add up the time of each operation, if it is wanted: the device is then waited for after each.
    pub profile: Option<&'a mut Profile>,
    /// Memory that outlives the replay, for operations without a gradient (key-value caches), in the order of their states.
    pub states: &'a [Vec<View>],
    /// Fills every byte whose life has ended with NaN: a test of the plan.
    pub poison: bool,
    /// Asked after every operation whose kernels had to be compiled, which takes seconds.
    pub stop: Option<Stop<'a>>,
}

impl DeviceMemory<'_> {
    fn buffer(&self, plan: &Plan, id: usize) -> View {
        let buffer = &plan.buffers[id];
        if buffer.kind == Kind::Input {
            let mut elsewhere = self.inputs.iter();
            let is = |var: &Var| plan.places[var.index()] == Some(id);
            if let Some((_, view)) = elsewhere.find(|(var, _)| is(var)) {
                assert_eq!(view.len, buffer.len, "an input of another size");
                return *view;
            }
        }
        self.arena.view(buffer.offset, buffer.len, buffer.dtype)
    }

    fn input(&self, plan: &Plan, params: &Params, place: Place) -> Option<View> {
        match place {
            Place::Buffer(id) => Some(self.buffer(plan, id)),
            Place::Param(id) => {
                let range = params.range(id);
                Some(self.values.slice(range.start, range.len()))
            }
            Place::Absent => None,
        }
    }

    fn target(&self, plan: &Plan, params: &Params, target: Target) -> View {
        match target {
            Target::Buffer(id) => self.buffer(plan, id),
            Target::Param(id) => {
                let range = params.range(id);
                let gradients = self.gradients.expect("training needs memory for gradients");
                gradients.slice(range.start, range.len())
            }
        }
    }

    /// Scratch, as the operations count it: in words.
    fn workspace(&self, plan: &Plan, id: Option<usize>) -> View {
        match id {
            Some(id) => View {
                dtype: Dtype::I32,
                ..self.buffer(plan, id)
            },
            None => View::new(0, 0, Dtype::I32),
        }
    }
}

impl Program {
    /// Writes an input before a replay on a device.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn write_gpu(
        &self,
        memory: &DeviceMemory<'_>,
        input: Var,
        values: &[i32],
    ) -> Result<(), GpuError> {
        let id = self.plan.places[input.index()].expect("an input has a place");
        let buffer = &self.plan.buffers[id];
        assert!(
            buffer.kind == Kind::Input && buffer.len == values.len(),
            "an input of {} values",
            buffer.len
        );
        let to = memory.buffer(&self.plan, id);
        memory.gpu.driver().upload(to.ptr, bytes_of_i32(values))
    }

    /// A kept value, or the loss, after a replay on a device: waits for it.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn read_gpu(&self, memory: &DeviceMemory<'_>, var: Var) -> Result<Fetched, GpuError> {
        let id = self.plan.places[var.index()].expect("a kept value has a place");
        assert!(
            self.plan.buffers[id].last + 1 == self.plan.steps.len(),
            "only kept values can be read after a replay"
        );
        fetch(memory.gpu, memory.buffer(&self.plan, id))
    }

    /// Where the loss lies after a replay on a device (see [`Program::loss`]): one `f32`.
    pub fn loss_view(&self, memory: &DeviceMemory<'_>) -> View {
        let loss = self.loss.expect("a training program has a loss");
        let id = self.plan.places[loss.index()].expect("a loss has a place");
        let view = memory.buffer(&self.plan, id);
        assert_eq!(view.dtype, Dtype::F32, "gradient checks run on the CPU");
        view
    }

    /// Puts the whole plan on the device's stream. Without statistics and profile nothing is waited for, and the calls can
    /// be captured.
    ///
    /// # Errors
    /// If the device refuses, or has not the memory that compiling takes; [`GpuError::Stopped`] where
    /// [`DeviceReplay::stop`] says so.
    pub fn replay_gpu(
        &self,
        memory: &DeviceMemory<'_>,
        params: &Params,
        replay: &mut DeviceReplay<'_>,
    ) -> Result<(), GpuError> {
        assert!(
            memory.arena.bytes() >= self.plan.bytes(),
            "the arena is smaller than the plan"
        );
        if let Some(statistics) = &mut replay.statistics {
            statistics.clear(&self.tape.observed);
        }
        if let Some(seed) = self.plan.seed {
            basic::set(memory.gpu, memory.buffer(&self.plan, seed), 1.0)?;
        }
        let mut loaded = memory.gpu.loaded();
        for (at, step) in self.plan.steps.iter().enumerate() {
            let accumulate = replay.accumulate;
            let mut run = || match step.phase {
                Phase::Forward | Phase::Recompute => {
                    self.forward_gpu(step, memory, params, replay.states)
                }
                Phase::Backward => self.backward_gpu(step, memory, params, accumulate),
            };
            match &mut replay.profile {
                Some(profile) => {
                    let seconds = memory.gpu.driver().time(&mut run)?;
                    self.record(step, seconds, params, accumulate, profile);
                }
                None => run()?,
            }
            if let Some(Stop(stop)) = replay.stop
                && memory.gpu.loaded() > loaded
            {
                loaded = memory.gpu.loaded();
                if stop() {
                    return Err(GpuError::Stopped);
                }
            }
            if let Some(statistics) = &mut replay.statistics {
                for (number, buffer) in &step.observed {
                    let width = self.tape.meta(self.tape.observed[*number].var).cols();
                    let fetched = fetch(memory.gpu, memory.buffer(&self.plan, *buffer))?;
                    statistics.take(&self.tape.observed, *number, &fetched.slot(), width);
                }
            }
            if replay.poison && at + 1 < self.plan.steps.len() {
                self.poison_gpu(memory, at)?;
            }
        }
        Ok(())
    }

    fn poison_gpu(&self, memory: &DeviceMemory<'_>, at: usize) -> Result<(), GpuError> {
        for (id, buffer) in self.plan.buffers.iter().enumerate() {
            if buffer.last == at && buffer.len > 0 {
                let to = memory.buffer(&self.plan, id).ptr;
                memory.gpu.driver().fill(to, 0xff, buffer.bytes())?;
            }
        }
        Ok(())
    }

    fn forward_gpu(
        &self,
        step: &Step,
        memory: &DeviceMemory<'_>,
        params: &Params,
        states: &[Vec<View>],
    ) -> Result<(), GpuError> {
        let plan = &self.plan;
        let inputs: Vec<_> = step
            .inputs
            .iter()
            .map(|place| {
                let input = memory.input(plan, params, *place);
                input.expect("a forward reads all inputs")
            })
            .collect();
        let outputs: Vec<_> = step
            .outputs
            .iter()
            .map(|id| memory.buffer(plan, id.expect("a forward writes all outputs")))
            .collect();
        let saved: Vec<_> = step
            .saved
            .iter()
            .map(|id| memory.buffer(plan, *id))
            .collect();
        let cx = GpuForward {
            gpu: memory.gpu,
            training: self.loss.is_some(),
            metas: &step.metas,
            inputs: &inputs,
            outputs: &outputs,
            saved: &saved,
            workspace: memory.workspace(plan, step.workspace),
            live: memory.live,
        };
        match (&step.instead, &self.tape.nodes[step.node].op) {
            (Some(op), _) | (None, NodeOp::Op(op)) => op.forward_gpu(&cx),
            (None, NodeOp::Infer(op, state)) => op.forward_gpu(&cx, &states[*state]),
        }
    }

    fn backward_gpu(
        &self,
        step: &Step,
        memory: &DeviceMemory<'_>,
        params: &Params,
        accumulate: bool,
    ) -> Result<(), GpuError> {
        let NodeOp::Op(op) = &self.tape.nodes[step.node].op else {
            unreachable!("the planner refuses it")
        };
        let plan = &self.plan;
        let buffers = |ids: &[Option<usize>]| -> Vec<Option<View>> {
            ids.iter()
                .map(|id| id.map(|id| memory.buffer(plan, id)))
                .collect()
        };
        let all = |ids: &[usize]| -> Vec<View> {
            ids.iter().map(|id| memory.buffer(plan, *id)).collect()
        };
        let inputs: Vec<_> = step
            .inputs
            .iter()
            .map(|place| memory.input(plan, params, *place))
            .collect();
        let d_inputs: Vec<_> = step
            .d_inputs
            .iter()
            .map(|delivery| {
                delivery.map(|delivery| GpuGrad {
                    view: memory.target(plan, params, delivery.to),
                    mode: super::mode(delivery, accumulate),
                })
            })
            .collect();
        op.backward_gpu(&GpuBackward {
            gpu: memory.gpu,
            metas: &step.metas,
            inputs: &inputs,
            outputs: &buffers(&step.outputs),
            late_outputs: &all(&step.late_outputs),
            d_outputs: &buffers(&step.d_outputs),
            d_inputs: &d_inputs,
            saved: &all(&step.saved),
            workspace: memory.workspace(plan, step.workspace),
            live: memory.live,
        })?;
        for (aside, delivery) in &step.after {
            let to = GpuGrad {
                view: memory.target(plan, params, delivery.to),
                mode: GradMode::Add,
            };
            basic::deliver(memory.gpu, memory.buffer(plan, *aside), to)?;
        }
        Ok(())
    }
}
