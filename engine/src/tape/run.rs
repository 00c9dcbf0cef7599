//! Replaying a plan: one loop over its steps, forward and then backward.

#![expect(
    unsafe_code,
    reason = "hands operations disjoint views of one arena, as the plan laid them out"
)]

mod gpu;

pub use gpu::{DeviceMemory, DeviceReplay, Stop};

use super::observe::Statistics;
use super::plan::{Delivery, Kind, On, Options, Phase, Place, Plan, Step, Target};
use super::{NodeOp, Tape, Var};
use crate::param::Params;
use crate::profile::{Part, Profile, Work};
use kernels::arena::Arena;
use kernels::op::State;
use kernels::{Backward, Cpu, Dtype, Forward, Grad, GradMode, Scalars, Slot, SlotMut};
use std::time::Instant;

/// A recording with its plan and its state, ready to be replayed.
#[derive(Debug)]
pub struct Program {
    tape: Tape,
    plan: Plan,
    loss: Option<Var>,
    states: Vec<Vec<State>>,
}

/// What varies from one replay to the next.
#[derive(Debug, Default)]
pub struct Replay<'a> {
    /// Live scalars.
    pub scalars: Scalars,
    /// Whether gradients of parameters are added to (later micro-batches of a step) or set (the first).
    pub accumulate: bool,
    /// Whether packed weights are kept for the next replay: for several micro-batches of a step.
    pub keep_packed: bool,
    /// Where to put the statistics of the observed values, if they are wanted.
    pub statistics: Option<&'a mut Statistics>,
    /// Where to add up the time of each operation, if it is wanted.
    pub profile: Option<&'a mut Profile>,
    /// Fills every byte whose life has ended with NaN: a test of the plan.
    pub poison: bool,
}

impl Program {
    /// Plans a recording: a training step for `loss`, or without it a forward of the kept values.
    pub fn new<'a>(tape: Tape, loss: Option<Var>, on: impl Into<On<'a>>, options: Options) -> Self {
        let on = on.into();
        let plan = Plan::new(&tape, loss, on, options);
        let compute = tape.precision().compute();
        let states = match on {
            On::Cpu(_) => tape
                .states()
                .iter()
                .map(|sizes| sizes.iter().map(|n| State::new(compute, *n)).collect())
                .collect(),
            // They lie in device memory, with whoever replays.
            On::Gpu(_) => Vec::new(),
        };
        Self {
            tape,
            plan,
            loss,
            states,
        }
    }

    /// The plan: schedule and memory.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The recording.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Bytes of state kept between replays (key-value caches).
    pub fn state_bytes(&self) -> usize {
        self.states.iter().flatten().map(State::bytes).sum()
    }

    /// Takes the state out (key-value caches), to be handed to another program of the same model.
    pub fn take_states(&mut self) -> Vec<Vec<State>> {
        std::mem::take(&mut self.states)
    }

    /// Puts in a state that [`Program::take_states`] gave.
    pub fn set_states(&mut self, states: Vec<Vec<State>>) {
        self.states = states;
    }

    /// Writes an input before a replay.
    pub fn write(&self, arena: &mut Arena, input: Var, values: &[i32]) {
        let buffer =
            &self.plan.buffers[self.plan.places[input.index()].expect("an input has a place")];
        assert!(
            buffer.kind == Kind::Input && buffer.len == values.len(),
            "an input of {} values",
            buffer.len
        );
        // SAFETY: the plan's offsets lie inside the arena (`replay` checks its size, `Arena::at` the offset), the buffer
        // holds `len` values of four bytes, and `&mut Arena` means that nobody else looks at it.
        unsafe {
            assert!(
                buffer.offset + buffer.bytes() <= arena.size(),
                "the arena is smaller than the plan"
            );
            std::ptr::copy_nonoverlapping(
                values.as_ptr(),
                arena.at(buffer.offset).cast(),
                values.len(),
            );
        }
    }

    /// A kept value, or the loss, after a replay.
    pub fn read<'a>(&self, arena: &'a Arena, var: Var) -> Slot<'a> {
        let buffer =
            &self.plan.buffers[self.plan.places[var.index()].expect("a kept value has a place")];
        assert!(
            buffer.last + 1 == self.plan.steps.len(),
            "only kept values can be read after a replay"
        );
        assert!(
            buffer.offset + buffer.bytes() <= arena.size(),
            "the arena is smaller than the plan"
        );
        // SAFETY: inside the arena, aligned by the plan, written by the replay, and borrowed from the arena.
        unsafe { Slot::from_raw(arena.at(buffer.offset), buffer.len, buffer.dtype) }
    }

    /// The loss after a replay: the sum over the valid targets of this micro-batch, in nats.
    pub fn loss(&self, arena: &Arena) -> f64 {
        self.read(arena, self.loss.expect("a training program has a loss"))
            .to_f64()[0]
    }

    /// Replays the plan on `arena`, which holds at least [`Plan::bytes`].
    pub fn replay(
        &mut self,
        arena: &mut Arena,
        params: &mut Params,
        cpu: &Cpu,
        replay: &mut Replay<'_>,
    ) {
        assert!(
            arena.size() >= self.plan.bytes(),
            "the arena is smaller than the plan"
        );
        cpu.packs.keep(replay.keep_packed.then(|| {
            let start = params.value_arena().at(0) as usize;
            (start..start + params.bytes(), params.version())
        }));
        if let Some(statistics) = &mut replay.statistics {
            statistics.clear(&self.tape.observed);
        }
        if let Some(seed) = self.plan.seed {
            let memory = Memory {
                plan: &self.plan,
                arena,
                params,
            };
            // SAFETY: nothing else is borrowed from the arena here.
            let slot = unsafe { memory.write(seed) };
            match slot.dtype() {
                Dtype::F64 => slot.into_slice::<f64>().fill(1.0),
                _ => slot.into_slice::<f32>().fill(1.0),
            }
        }
        let mut poisoner = replay.poison.then(|| Poisoner::new(&self.plan));
        for (at, step) in self.plan.steps.iter().enumerate() {
            let memory = Memory {
                plan: &self.plan,
                arena,
                params,
            };
            let start = replay.profile.is_some().then(Instant::now);
            match step.phase {
                Phase::Forward | Phase::Recompute => {
                    forward(
                        &self.tape,
                        step,
                        &memory,
                        cpu,
                        replay,
                        &mut self.states,
                        self.loss.is_some(),
                    );
                }
                Phase::Backward => backward(&self.tape, step, &memory, cpu, replay),
            }
            if let Some(start) = start {
                let seconds = start.elapsed().as_secs_f64();
                if let Some(profile) = &mut replay.profile {
                    self.record(step, seconds, params, replay.accumulate, profile);
                }
            }
            if let Some(statistics) = &mut replay.statistics {
                for (number, buffer) in &step.observed {
                    let width = self.tape.meta(self.tape.observed[*number].var).cols();
                    // SAFETY: written by this step; nothing writes it until the next.
                    let slot = unsafe { memory.read(*buffer) };
                    statistics.take(&self.tape.observed, *number, &slot, width);
                }
            }
            if let Some(poisoner) = &mut poisoner {
                poisoner.poison(&self.plan, arena, at);
            }
        }
    }

    fn record(
        &self,
        step: &Step,
        seconds: f64,
        params: &Params,
        accumulate: bool,
        profile: &mut Profile,
    ) {
        let bytes = self.bytes(step, params, accumulate);
        let node = &self.tape.nodes[step.node];
        let metas = &step.metas;
        let (name, part, flops) = match (&step.instead, &node.op) {
            (Some(op), _) => (op.name(), Part::Recompute, op.flops(metas)),
            (None, NodeOp::Infer(op, _)) => (op.name(), Part::Forward, op.flops(metas)),
            (None, NodeOp::Op(op)) => match step.phase {
                Phase::Forward => (op.name(), Part::Forward, op.flops(metas)),
                Phase::Recompute => (op.name(), Part::Recompute, op.flops(metas)),
                Phase::Backward => (op.name(), Part::Backward, op.backward_flops(metas)),
            },
        };
        let work = Work {
            seconds,
            calls: 1,
            flops,
            bytes,
        };
        profile.add(name, part, &work);
    }

    /// Bytes that a step has to read and write: each tensor once, a gradient that is added to or made in place twice.
    /// Scratch is not counted: it can be avoided.
    fn bytes(&self, step: &Step, params: &Params, accumulate: bool) -> u64 {
        let buffer = |id: usize| self.plan.buffers[id].bytes();
        let param = |id| params.range(id).len() * params.slot(id).dtype().size();
        let inputs = step.inputs.iter().map(|place| match *place {
            Place::Buffer(id) => buffer(id),
            Place::Param(id) => param(id),
            Place::Absent => 0,
        });
        let deliveries = step.d_inputs.iter().flatten().map(|delivery| {
            let (size, added) = match delivery.to {
                Target::Buffer(id) => (buffer(id), false),
                Target::Param(id) => (param(id), accumulate),
            };
            if added || delivery.mode != GradMode::Set {
                2 * size
            } else {
                size
            }
        });
        let outputs = step.outputs.iter().chain(&step.d_outputs).flatten();
        let others = outputs.chain(&step.late_outputs).chain(&step.saved);
        let total = inputs.sum::<usize>()
            + deliveries.sum::<usize>()
            + others.map(|id| buffer(*id)).sum::<usize>();
        total as u64
    }
}

/// The memory of a replay, and the plan that divides it.
struct Memory<'a> {
    plan: &'a Plan,
    arena: &'a Arena,
    params: &'a Params,
}

impl<'a> Memory<'a> {
    /// # Safety
    /// The buffer is live at the current step and nothing writes it meanwhile.
    unsafe fn read(&self, buffer: usize) -> Slot<'a> {
        let buffer = &self.plan.buffers[buffer];
        // SAFETY: inside the arena by the check in `replay`; the caller vouches for the rest.
        unsafe { Slot::from_raw(self.arena.at(buffer.offset), buffer.len, buffer.dtype) }
    }

    /// # Safety
    /// The buffer is live at the current step and nothing else reads or writes it meanwhile.
    unsafe fn write(&self, buffer: usize) -> SlotMut<'a> {
        let buffer = &self.plan.buffers[buffer];
        // SAFETY: as in `read`.
        unsafe { SlotMut::from_raw(self.arena.at(buffer.offset), buffer.len, buffer.dtype) }
    }

    /// # Safety
    /// As for `read`.
    unsafe fn input(&self, place: Place) -> Option<Slot<'a>> {
        match place {
            // SAFETY: passed on.
            Place::Buffer(id) => Some(unsafe { self.read(id) }),
            Place::Param(id) => Some(self.params.slot(id)),
            Place::Absent => None,
        }
    }

    /// # Safety
    /// As for `write`; a parameter's gradient is delivered once a step of the plan.
    unsafe fn target(&self, target: Target) -> SlotMut<'a> {
        match target {
            // SAFETY: passed on.
            Target::Buffer(id) => unsafe { self.write(id) },
            Target::Param(id) => {
                let (offset, len) = (self.params.offset(id), self.params.range(id).len());
                let arena = self.params.gradient_arena();
                assert!(
                    arena.size() >= self.params.bytes(),
                    "training needs parameters with gradients"
                );
                // SAFETY: inside the gradients' arena, checked above; the caller vouches for the rest.
                unsafe { SlotMut::from_raw(arena.at(offset), len, self.params.dtype()) }
            }
        }
    }

    /// # Safety
    /// As for `write`.
    unsafe fn workspace(&self, buffer: Option<usize>) -> &'a mut [u8] {
        let Some(buffer) = buffer else { return &mut [] };
        let buffer = &self.plan.buffers[buffer];
        // SAFETY: inside the arena; only this step uses it.
        unsafe { std::slice::from_raw_parts_mut(self.arena.at(buffer.offset), buffer.bytes()) }
    }
}

fn forward(
    tape: &Tape,
    step: &Step,
    memory: &Memory<'_>,
    cpu: &Cpu,
    replay: &Replay<'_>,
    states: &mut [Vec<State>],
    training: bool,
) {
    // SAFETY: the plan gives every buffer that a step touches bytes of its own (`Plan::overlap` is empty), so inputs,
    // outputs, saved tensors and scratch are disjoint; an output is never an input of the same step.
    unsafe {
        let inputs: Vec<_> = step
            .inputs
            .iter()
            .map(|place| memory.input(*place).expect("a forward reads all inputs"))
            .collect();
        let mut cx = Forward {
            cpu,
            scalars: &replay.scalars,
            training,
            metas: &step.metas,
            inputs: &inputs,
            outputs: step
                .outputs
                .iter()
                .map(|id| id.map(|id| memory.write(id)))
                .collect(),
            saved: step
                .saved
                .iter()
                .map(|id| Some(memory.write(*id)))
                .collect(),
            workspace: memory.workspace(step.workspace),
        };
        match (&step.instead, &tape.nodes[step.node].op) {
            (Some(op), _) | (None, NodeOp::Op(op)) => op.forward_cpu(&mut cx),
            (None, NodeOp::Infer(op, state)) => op.forward_cpu(&mut cx, &mut states[*state]),
        }
    }
}

fn backward(tape: &Tape, step: &Step, memory: &Memory<'_>, cpu: &Cpu, replay: &Replay<'_>) {
    let NodeOp::Op(op) = &tape.nodes[step.node].op else {
        unreachable!("the planner refuses it")
    };
    // SAFETY: as in `forward`. A gradient that is made in place is given out once, for writing (`d_outputs` is `None`
    // there); a value that is twice an input has its second gradient in a buffer aside; a parameter's gradient is given
    // out once, for the same reason.
    unsafe {
        let inputs: Vec<_> = step
            .inputs
            .iter()
            .map(|place| memory.input(*place))
            .collect();
        let outputs: Vec<_> = step
            .outputs
            .iter()
            .map(|id| id.map(|id| memory.read(id)))
            .collect();
        let d_outputs: Vec<_> = step
            .d_outputs
            .iter()
            .map(|id| id.map(|id| memory.read(id)))
            .collect();
        let saved: Vec<_> = step.saved.iter().map(|id| memory.read(*id)).collect();
        let d_inputs = step
            .d_inputs
            .iter()
            .map(|d| {
                d.map(|d| Grad {
                    slot: memory.target(d.to),
                    mode: mode(d, replay.accumulate),
                })
            })
            .collect();
        op.backward_cpu(&mut Backward {
            cpu,
            scalars: &replay.scalars,
            metas: &step.metas,
            inputs: &inputs,
            outputs: &outputs,
            late_outputs: step
                .late_outputs
                .iter()
                .map(|id| Some(memory.write(*id)))
                .collect(),
            d_outputs: &d_outputs,
            d_inputs,
            saved: &saved,
            workspace: memory.workspace(step.workspace),
        });
        for (aside, delivery) in &step.after {
            add(memory.target(delivery.to), memory.read(*aside));
        }
    }
}

/// How a gradient is delivered in this replay: a parameter's is added to after the first micro-batch of a step.
fn mode(delivery: Delivery, accumulate: bool) -> GradMode {
    match delivery {
        Delivery {
            to: Target::Param(_),
            mode: GradMode::Set,
        } if accumulate => GradMode::Add,
        delivery => delivery.mode,
    }
}

/// `to += from`, for the rare value that is twice an input of one operation.
fn add(to: SlotMut<'_>, from: Slot<'_>) {
    use kernels::Elem as _;
    kernels::with_elem!(from.dtype(), T => {
        for (to, from) in to.into_slice::<T>().iter_mut().zip(from.as_slice::<T>()) {
            *to = T::put(to.get() + from.get());
        }
    });
}

/// Knows which bytes belong to nobody after each step.
struct Poisoner {
    /// Buffers by the last step of their life.
    dying: Vec<(usize, usize)>,
    next: usize,
}

impl Poisoner {
    fn new(plan: &Plan) -> Self {
        let mut dying: Vec<_> = plan
            .buffers
            .iter()
            .enumerate()
            .map(|(i, b)| (b.last, i))
            .collect();
        dying.sort_unstable();
        Self { dying, next: 0 }
    }

    fn poison(&mut self, plan: &Plan, arena: &mut Arena, at: usize) {
        while let Some((last, id)) = self.dying.get(self.next).copied() {
            if last > at || at + 1 == plan.steps.len() {
                return;
            }
            let buffer = &plan.buffers[id];
            // All ones is a NaN in every float type.
            arena.fill(buffer.offset..buffer.offset + buffer.bytes(), 0xff);
            self.next += 1;
        }
    }
}
