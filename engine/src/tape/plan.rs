//! Planning: in which order everything runs, how long each buffer is needed, and where it lies in the arena.
//!
//! The schedule lists the forwards, then the backwards in reverse; a recompute region runs its forwards once more just
//! before its backwards. Each buffer lives from the first step that touches it to the last; two buffers may share bytes
//! when their lives do not meet. Gradients are made in place where the operation allows it ([`GradSharing`]) and nobody
//! else still reads the memory.

use super::{Node, NodeOp, Source, Tape, Var};
use crate::param::ParamId;
use kernels::arena::ALIGN;
use kernels::{Cpu, Dtype, GradMode, GradSharing, Meta};

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An index tensor that is written before the replay.
    Input,
    /// An output of an operation.
    Value,
    /// The same, computed again for the backward.
    Recomputed,
    /// Statistics that a forward leaves for its backward.
    Saved,
    /// A gradient of a value.
    Gradient,
    /// Scratch of one call.
    Workspace,
}

/// A piece of the arena with a life.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// What it holds.
    pub kind: Kind,
    /// Which part of the model it belongs to.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Number of elements.
    pub len: usize,
    /// First step that touches it.
    pub first: usize,
    /// Last step that touches it.
    pub last: usize,
    /// Place in the arena, in bytes.
    pub offset: usize,
}

impl Buffer {
    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.size()
    }
}

/// Where an operation finds an input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Buffer(usize),
    Param(ParamId),
    /// Not kept: the operation said that it does not read it.
    Absent,
}

/// Where an operation delivers a gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    pub to: Target,
    pub mode: GradMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Buffer(usize),
    /// A parameter's gradient. `Set` then means: set in the first micro-batch of a step, added in the others.
    Param(ParamId),
}

/// What a step of the schedule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A forward.
    Forward,
    /// A forward of a recompute region, for its backward.
    Recompute,
    /// A backward.
    Backward,
}

/// One call of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub phase: Phase,
    pub node: usize,
    pub metas: Vec<Meta>,
    pub inputs: Vec<Place>,
    /// To write (forward), or kept to be read (backward; `None` where not kept).
    pub outputs: Vec<Option<usize>>,
    /// Written by a backward that is also the forward.
    pub late_outputs: Vec<usize>,
    pub saved: Vec<usize>,
    pub workspace: Option<usize>,
    pub d_outputs: Vec<Option<usize>>,
    pub d_inputs: Vec<Option<Delivery>>,
    /// Gradients of a value that is twice an input of this operation: added to the first one's afterwards.
    pub after: Vec<(usize, Delivery)>,
    /// Statistics to take after this forward: their numbers and buffers.
    pub observed: Vec<(usize, usize)>,
}

/// How to plan. The defaults are what training uses; tests switch parts off.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether buffers whose lives do not meet may share bytes.
    pub reuse: bool,
    /// Whether gradients may be made in place.
    pub share_gradients: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse: true,
            share_gradients: true,
        }
    }
}

/// The schedule and the arena's layout.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) buffers: Vec<Buffer>,
    /// Buffer of each value, where it has one.
    pub(crate) places: Vec<Option<usize>>,
    /// Gradient of the loss: one number, 1.
    pub(crate) seed: Option<usize>,
    bytes: usize,
}

impl Plan {
    /// Plans a training step for `loss`, or without it a plain forward of all kept values.
    ///
    /// Panics when an operation without a gradient lies between a parameter and the loss: a bug in the model.
    pub fn new(tape: &Tape, loss: Option<Var>, cpu: &Cpu, options: Options) -> Self {
        Planner::new(tape, loss, cpu, options).plan()
    }

    /// Bytes of arena that a replay needs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the largest scratch of one call.
    pub fn workspace_bytes(&self) -> usize {
        self.buffers
            .iter()
            .filter(|b| b.kind == Kind::Workspace)
            .map(Buffer::bytes)
            .max()
            .unwrap_or(0)
    }

    /// All buffers: what each byte is alive for.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Two buffers that live at once and overlap, if there are any: a bug of the planner.
    pub fn overlap(&self) -> Option<(&Buffer, &Buffer)> {
        let mut order: Vec<&Buffer> = self.buffers.iter().filter(|b| b.len > 0).collect();
        order.sort_by_key(|b| b.offset);
        for (i, a) in order.iter().enumerate() {
            for b in &order[i + 1..] {
                if b.offset >= a.offset + a.bytes() {
                    break;
                }
                if a.first <= b.last && b.first <= a.last {
                    return Some((a, b));
                }
            }
        }
        None
    }
}

struct Planner<'a> {
    tape: &'a Tape,
    loss: Option<Var>,
    cpu: &'a Cpu,
    options: Options,
    steps: Vec<Step>,
    buffers: Vec<Buffer>,
    /// Node that makes each value.
    producer: Vec<Option<usize>>,
    places: Vec<Option<usize>>,
    recomputed: Vec<Option<usize>>,
    saved: Vec<Vec<usize>>,
    gradients: Vec<Option<usize>>,
    /// Steps of the backwards that contribute to each value's gradient, in order.
    contributions: Vec<Vec<usize>>,
    contributed: Vec<usize>,
    /// Step of each node's backward.
    backward_step: Vec<Option<usize>>,
    /// Values whose gradients lie in each buffer.
    sharers: Vec<(usize, usize)>,
}

impl<'a> Planner<'a> {
    fn new(tape: &'a Tape, loss: Option<Var>, cpu: &'a Cpu, options: Options) -> Self {
        let values = tape.values.len();
        let mut producer = vec![None; values];
        for (i, node) in tape.nodes.iter().enumerate() {
            for output in &node.outputs {
                producer[output.index()] = Some(i);
            }
        }
        Self {
            tape,
            loss,
            cpu,
            options,
            steps: Vec::new(),
            buffers: Vec::new(),
            producer,
            places: vec![None; values],
            recomputed: vec![None; values],
            saved: vec![Vec::new(); tape.nodes.len()],
            gradients: vec![None; values],
            contributions: vec![Vec::new(); values],
            contributed: vec![0; values],
            backward_step: vec![None; tape.nodes.len()],
            sharers: Vec::new(),
        }
    }

    fn plan(mut self) -> Plan {
        let live = self.live_nodes();
        let wants = self.values_that_want_gradients(&live);
        let schedule = self.schedule(&live, &wants);
        self.count_contributions(&schedule, &wants);
        for index in 0..self.tape.values.len() {
            if self.tape.values[index].source == Source::Input {
                let id = self.buffer(Kind::Input, index, 0);
                self.places[index] = Some(id);
                self.buffers[id].last = schedule.len().saturating_sub(1);
            }
        }
        let seed = self.loss.map(|loss| {
            // Written before the replay, like the inputs: no forward may use its bytes.
            let id = self.buffer(Kind::Gradient, loss.index(), 0);
            self.gradients[loss.index()] = Some(id);
            self.sharers.push((id, loss.index()));
            id
        });
        for (phase, node) in &schedule {
            let step = match phase {
                Phase::Forward | Phase::Recompute => self.forward_step(*phase, *node),
                Phase::Backward => self.backward_step(*node, &wants),
            };
            self.steps.push(step);
        }
        let end = self.steps.len().saturating_sub(1);
        let kept: Vec<Var> = self.tape.kept.iter().chain(&self.loss).copied().collect();
        for var in kept {
            if let Some(id) = self.places[var.index()] {
                self.buffers[id].last = end;
            }
        }
        let bytes = place(&mut self.buffers, self.options.reuse);
        let plan = Plan {
            steps: self.steps,
            buffers: self.buffers,
            places: self.places,
            seed,
            bytes,
        };
        debug_assert!(
            plan.overlap().is_none(),
            "live buffers overlap: {:?}",
            plan.overlap()
        );
        plan
    }

    fn node(&self, index: usize) -> &'a Node {
        &self.tape.nodes[index]
    }

    /// Nodes that the loss or a kept value depends on.
    fn live_nodes(&self) -> Vec<bool> {
        let mut live = vec![false; self.tape.nodes.len()];
        let mut stack: Vec<usize> = self
            .tape
            .kept
            .iter()
            .chain(&self.loss)
            .filter_map(|v| self.producer[v.index()])
            .collect();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut live[node], true) {
                stack.extend(
                    self.node(node)
                        .inputs
                        .iter()
                        .filter_map(|v| self.producer[v.index()]),
                );
            }
        }
        live
    }

    /// Values between a parameter and the loss.
    fn values_that_want_gradients(&self, live: &[bool]) -> Vec<bool> {
        let Some(loss) = self.loss else {
            return vec![false; self.tape.values.len()];
        };
        let mut wants: Vec<bool> = self
            .tape
            .values
            .iter()
            .map(|value| matches!(value.source, Source::Param(_)))
            .collect();
        for (i, node) in self.tape.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
            if node.inputs.iter().any(|v| wants[v.index()]) {
                assert!(
                    matches!(node.op, NodeOp::Op(_)) || !self.reaches(i, loss),
                    "{} (recorded at {}) has no gradient and lies between a parameter and the loss",
                    node.op.name(),
                    node.at
                );
                for output in &node.outputs {
                    wants[output.index()] = self.tape.meta(*output).dtype.is_float();
                }
            }
        }
        let mut reaches = vec![false; self.tape.values.len()];
        reaches[loss.index()] = true;
        for (i, node) in self.tape.nodes.iter().enumerate().rev() {
            if live[i] && node.outputs.iter().any(|v| reaches[v.index()]) {
                node.inputs.iter().for_each(|v| reaches[v.index()] = true);
            }
        }
        wants
            .iter()
            .zip(reaches)
            .map(|(wants, reaches)| *wants && reaches)
            .collect()
    }

    fn reaches(&self, node: usize, loss: Var) -> bool {
        let mut reached = vec![false; self.tape.values.len()];
        self.node(node)
            .outputs
            .iter()
            .for_each(|v| reached[v.index()] = true);
        for later in &self.tape.nodes[node + 1..] {
            if later.inputs.iter().any(|v| reached[v.index()]) {
                later.outputs.iter().for_each(|v| reached[v.index()] = true);
            }
        }
        reached[loss.index()]
    }

    fn schedule(&self, live: &[bool], wants: &[bool]) -> Vec<(Phase, usize)> {
        let training = self.loss.is_some();
        let late = |node: usize| match &self.node(node).op {
            NodeOp::Op(op) => training && op.keeps().forward_in_backward,
            NodeOp::Infer(..) => false,
        };
        let nodes = || (0..self.tape.nodes.len()).filter(|&i| live[i]);
        let mut schedule: Vec<_> = nodes()
            .filter(|&i| !late(i))
            .map(|i| (Phase::Forward, i))
            .collect();
        if !training {
            return schedule;
        }
        let backward: Vec<usize> = nodes()
            .rev()
            .filter(|&i| self.node(i).outputs.iter().any(|v| wants[v.index()]))
            .collect();
        let mut previous = None;
        for &node in &backward {
            let region = self.node(node).region;
            if region.is_some() && region != previous {
                let again = self.nodes_to_recompute(region, &backward);
                schedule.extend(
                    again
                        .into_iter()
                        .filter(|&i| !late(i))
                        .map(|i| (Phase::Recompute, i)),
                );
            }
            previous = region;
            schedule.push((Phase::Backward, node));
        }
        schedule
    }

    /// Nodes of a region whose outputs or statistics its backwards read, and what those need.
    fn nodes_to_recompute(&self, region: Option<u32>, backward: &[usize]) -> Vec<usize> {
        let inside = |i: usize| self.node(i).region == region;
        let mut needed = vec![false; self.tape.values.len()];
        let mut again = vec![false; self.tape.nodes.len()];
        for &i in backward.iter().filter(|&&i| inside(i)) {
            let NodeOp::Op(op) = &self.node(i).op else {
                continue;
            };
            let keeps = op.keeps();
            again[i] = !op.saved(&self.metas(i), self.tape.precision).is_empty();
            let kept = |mask: u32, vars: &[Var]| -> Vec<usize> {
                vars.iter()
                    .enumerate()
                    .filter(|(k, _)| mask >> k & 1 == 1)
                    .map(|(_, v)| v.index())
                    .collect()
            };
            for value in kept(keeps.inputs, &self.node(i).inputs) {
                needed[value] = true;
            }
            for value in kept(keeps.outputs, &self.node(i).outputs) {
                needed[value] = true;
            }
        }
        for i in (0..self.tape.nodes.len()).rev().filter(|&i| inside(i)) {
            again[i] |= self.node(i).outputs.iter().any(|v| needed[v.index()]);
            if again[i] {
                self.node(i)
                    .inputs
                    .iter()
                    .for_each(|v| needed[v.index()] = true);
            }
        }
        (0..again.len()).filter(|&i| again[i]).collect()
    }

    fn count_contributions(&mut self, schedule: &[(Phase, usize)], wants: &[bool]) {
        for (step, (phase, node)) in schedule.iter().enumerate() {
            if *phase == Phase::Backward {
                self.backward_step[*node] = Some(step);
                for var in &self.node(*node).inputs {
                    if wants[var.index()] {
                        self.contributions[var.index()].push(step);
                    }
                }
            }
        }
    }

    fn metas(&self, node: usize) -> Vec<Meta> {
        self.node(node)
            .inputs
            .iter()
            .map(|var| self.tape.meta(*var).clone())
            .collect()
    }

    fn buffer(&mut self, kind: Kind, value: usize, step: usize) -> usize {
        let value = &self.tape.values[value];
        self.add(
            kind,
            value.name.clone(),
            value.meta.dtype,
            value.meta.len(),
            step,
        )
    }

    fn add(&mut self, kind: Kind, name: String, dtype: Dtype, len: usize, step: usize) -> usize {
        self.buffers.push(Buffer {
            kind,
            name,
            dtype,
            len,
            first: step,
            last: step,
            offset: 0,
        });
        self.buffers.len() - 1
    }

    fn touch(&mut self, buffer: usize) {
        let step = self.steps.len();
        self.buffers[buffer].last = self.buffers[buffer].last.max(step);
    }

    /// The instance of `value` that `node` reads in `phase`: inside a region the recomputed one, once there is a backward.
    fn place_of(&mut self, value: Var, node: usize, phase: Phase) -> Place {
        if let Source::Param(id) = self.tape.values[value.index()].source {
            return Place::Param(id);
        }
        let region = self.node(node).region;
        let same = region.is_some()
            && self.producer[value.index()].is_some_and(|p| self.node(p).region == region);
        let again = if same && phase != Phase::Forward {
            self.recomputed[value.index()]
        } else {
            None
        };
        let id = again
            .or(self.places[value.index()])
            .expect("a value is made before it is read");
        self.touch(id);
        Place::Buffer(id)
    }

    fn forward_step(&mut self, phase: Phase, index: usize) -> Step {
        let at = self.steps.len();
        let node = self.node(index);
        let metas = self.metas(index);
        let inputs = node
            .inputs
            .iter()
            .map(|v| self.place_of(*v, index, phase))
            .collect();
        let mut outputs = Vec::new();
        for output in &node.outputs {
            let kind = if phase == Phase::Recompute {
                Kind::Recomputed
            } else {
                Kind::Value
            };
            let id = self.buffer(kind, output.index(), at);
            let place = if phase == Phase::Recompute {
                &mut self.recomputed
            } else {
                &mut self.places
            };
            place[output.index()] = Some(id);
            outputs.push(Some(id));
        }
        let (saved, workspace) = match &node.op {
            NodeOp::Op(op) => {
                // In a region the statistics are those of the second forward.
                let first_of_two = phase == Phase::Forward && node.region.is_some();
                let metas_saved = if self.loss.is_some() && !first_of_two {
                    op.saved(&metas, self.tape.precision)
                } else {
                    Vec::new()
                };
                (metas_saved, op.workspace(&metas, self.cpu, false))
            }
            NodeOp::Infer(op, _) => (Vec::new(), op.workspace(&metas, self.cpu)),
        };
        let name = format!("{}.{}", node.scope, node.op.name());
        let saved: Vec<_> = saved
            .iter()
            .map(|meta| self.add(Kind::Saved, name.clone(), meta.dtype, meta.len(), at))
            .collect();
        self.saved[index].clone_from(&saved);
        let workspace = self.workspace(name, workspace);
        let observed = if phase == Phase::Forward {
            self.tape
                .observed
                .iter()
                .enumerate()
                .filter(|(_, (_, var))| self.producer[var.index()] == Some(index))
                .filter_map(|(i, (_, var))| self.places[var.index()].map(|id| (i, id)))
                .collect()
        } else {
            Vec::new()
        };
        Step {
            phase,
            node: index,
            metas,
            inputs,
            outputs,
            late_outputs: Vec::new(),
            saved,
            workspace,
            d_outputs: Vec::new(),
            d_inputs: Vec::new(),
            after: Vec::new(),
            observed,
        }
    }

    fn workspace(&mut self, name: String, bytes: usize) -> Option<usize> {
        let at = self.steps.len();
        // Scratch is counted in f32 words, so that its place is aligned like any other.
        (bytes > 0).then(|| self.add(Kind::Workspace, name, Dtype::F32, bytes.div_ceil(4), at))
    }

    fn backward_step(&mut self, index: usize, wants: &[bool]) -> Step {
        let at = self.steps.len();
        let node = self.node(index);
        let NodeOp::Op(op) = &node.op else {
            unreachable!("refused when gradients were assigned")
        };
        let metas = self.metas(index);
        let keeps = op.keeps();
        let inputs = node
            .inputs
            .iter()
            .enumerate()
            .map(|(k, v)| {
                if keeps.inputs >> k & 1 == 1 {
                    self.place_of(*v, index, Phase::Backward)
                } else {
                    Place::Absent
                }
            })
            .collect();
        let outputs = node
            .outputs
            .iter()
            .enumerate()
            .map(|(k, v)| {
                let kept = keeps.outputs >> k & 1 == 1;
                match kept.then(|| self.place_of(*v, index, Phase::Backward)) {
                    Some(Place::Buffer(id)) => Some(id),
                    _ => None,
                }
            })
            .collect();
        let mut late_outputs = Vec::new();
        if keeps.forward_in_backward {
            for output in &node.outputs {
                let id = self.buffer(Kind::Value, output.index(), at);
                self.places[output.index()] = Some(id);
                late_outputs.push(id);
            }
        }
        let saved = self.saved[index].clone();
        saved.iter().for_each(|id| self.touch(*id));
        let workspace = op.workspace(&metas, self.cpu, true);
        let workspace = self.workspace(format!("{}.{}", node.scope, op.name()), workspace);
        let mut d_outputs: Vec<_> = node
            .outputs
            .iter()
            .map(|v| self.gradients[v.index()])
            .collect();
        for id in d_outputs.iter().flatten() {
            self.buffers[*id].last = self.buffers[*id].last.max(at);
        }
        let (d_inputs, after) = self.deliveries(index, op.grad_sharing(), wants, &mut d_outputs);
        Step {
            phase: Phase::Backward,
            node: index,
            metas,
            inputs,
            outputs,
            late_outputs,
            saved,
            workspace,
            d_outputs,
            d_inputs,
            after,
            observed: Vec::new(),
        }
    }

    /// Decides where each gradient goes and how.
    fn deliveries(
        &mut self,
        index: usize,
        sharing: GradSharing,
        wants: &[bool],
        d_outputs: &mut [Option<usize>],
    ) -> (Vec<Option<Delivery>>, Vec<(usize, Delivery)>) {
        let at = self.steps.len();
        let node = self.node(index);
        let mut d_inputs: Vec<Option<Delivery>> = vec![None; node.inputs.len()];
        let mut after = Vec::new();
        let mut left_out = None;
        for (k, var) in node.inputs.iter().enumerate() {
            let value = var.index();
            if !wants[value] || left_out == Some(k) {
                continue;
            }
            let twice = node.inputs[..k].contains(var);
            let first = self.contributed[value] == 0;
            self.contributed[value] += 1;
            let mode = if first { GradMode::Set } else { GradMode::Add };
            if let Source::Param(id) = self.tape.values[value].source {
                let delivery = Delivery {
                    to: Target::Param(id),
                    mode,
                };
                d_inputs[k] = Some(self.or_aside(delivery, value, twice, &mut after));
                continue;
            }
            if first {
                let in_place =
                    sharing
                        .in_place
                        .filter(|(input, _)| *input == k)
                        .and_then(|(_, output)| {
                            let id = d_outputs[output]?;
                            self.may_take_over(id, node.outputs[output], *var, at)
                                .then_some((output, id))
                        });
                if let Some((output, id)) = in_place {
                    d_outputs[output] = None;
                    self.gradients[value] = Some(id);
                    self.sharers.push((id, value));
                    d_inputs[k] = Some(Delivery {
                        to: Target::Buffer(id),
                        mode: GradMode::InPlace,
                    });
                } else {
                    let id = self.buffer(Kind::Gradient, value, at);
                    self.gradients[value] = Some(id);
                    self.sharers.push((id, value));
                    d_inputs[k] = Some(Delivery {
                        to: Target::Buffer(id),
                        mode,
                    });
                }
                if let Some((a, b)) = sharing.equal
                    && a == k
                    && self.may_share(*var, node.inputs[b], wants, at)
                {
                    let id = self.gradients[value].expect("just assigned");
                    let other = node.inputs[b].index();
                    self.gradients[other] = Some(id);
                    self.contributed[other] += 1;
                    self.sharers.push((id, other));
                    left_out = Some(b);
                }
            } else {
                let id =
                    self.gradients[value].expect("a gradient that was contributed to has a place");
                self.touch(id);
                let delivery = Delivery {
                    to: Target::Buffer(id),
                    mode,
                };
                d_inputs[k] = Some(self.or_aside(delivery, value, twice, &mut after));
            }
        }
        (d_inputs, after)
    }

    /// A value that is twice an input gets its second gradient in a buffer aside, which is added afterwards.
    fn or_aside(
        &mut self,
        delivery: Delivery,
        value: usize,
        twice: bool,
        after: &mut Vec<(usize, Delivery)>,
    ) -> Delivery {
        if !twice {
            return delivery;
        }
        let at = self.steps.len();
        let aside = self.buffer(Kind::Gradient, value, at);
        after.push((aside, delivery));
        Delivery {
            to: Target::Buffer(aside),
            mode: GradMode::Set,
        }
    }

    /// Whether the gradient of `input` may be made inside `id`, the gradient of `output`.
    fn may_take_over(&self, id: usize, output: Var, input: Var, at: usize) -> bool {
        let others_are_done = self
            .sharers
            .iter()
            .filter(|(buffer, value)| *buffer == id && *value != output.index())
            .all(|(_, value)| {
                self.producer[*value]
                    .and_then(|p| self.backward_step[p])
                    .is_none_or(|step| step < at)
            });
        self.options.share_gradients
            && others_are_done
            && self.tape.meta(output) == self.tape.meta(input)
    }

    /// Whether the gradient of `b` may be read from that of `a`, which the backward at step `at` makes equal.
    fn may_share(&self, a: Var, b: Var, wants: &[bool], at: usize) -> bool {
        let read = self.producer[b.index()].and_then(|p| self.backward_step[p]);
        let next_write = self.contributions[a.index()]
            .iter()
            .find(|step| **step > at);
        self.options.share_gradients
            && a != b
            && wants[b.index()]
            && !matches!(self.tape.values[b.index()].source, Source::Param(_))
            && self.contributions[b.index()].len() == 1
            && self.tape.meta(a) == self.tape.meta(b)
            && read.is_some_and(|read| next_write.is_none_or(|write| read < *write))
    }
}

/// Gives each buffer an offset: largest first, at the lowest place that is free during its life. Returns the arena's size.
fn place(buffers: &mut [Buffer], reuse: bool) -> usize {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes()), i));
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let size = buffers[i].bytes().next_multiple_of(ALIGN);
        let mut offset = 0;
        if reuse {
            // `placed` is kept in the order of offsets.
            for &j in &placed {
                let other = &buffers[j];
                if other.first > buffers[i].last || buffers[i].first > other.last {
                    continue;
                }
                if offset + size <= other.offset {
                    break;
                }
                offset = offset.max(other.offset + other.bytes().next_multiple_of(ALIGN));
            }
        } else {
            offset = total;
        }
        buffers[i].offset = offset;
        total = total.max(offset + size);
        let at = placed.partition_point(|&j| buffers[j].offset <= offset);
        placed.insert(at, i);
    }
    total
}
