//! The planner: walks the schedule once and gives every step its buffers.

use super::place::place;
use super::{Buffer, Kind, On, Options, Phase, Place, Plan, Step};
use crate::tape::remake::remake;
use crate::tape::{Node, NodeOp, Source, Tape, Var};
use kernels::{Dtype, Meta};

pub(super) struct Planner<'a> {
    pub(super) tape: &'a Tape,
    pub(super) loss: Option<Var>,
    pub(super) on: On<'a>,
    pub(super) options: Options,
    pub(super) steps: Vec<Step>,
    pub(super) buffers: Vec<Buffer>,
    /// Node that makes each value.
    pub(super) producer: Vec<Option<usize>>,
    pub(super) places: Vec<Option<usize>>,
    pub(super) recomputed: Vec<Option<usize>>,
    pub(super) saved: Vec<Vec<usize>>,
    pub(super) gradients: Vec<Option<usize>>,
    /// Steps of the backwards that contribute to each value's gradient, in order.
    pub(super) contributions: Vec<Vec<usize>>,
    pub(super) contributed: Vec<usize>,
    /// Step of each node's backward.
    pub(super) backward_step: Vec<Option<usize>>,
    /// Values whose gradients lie in each buffer.
    pub(super) sharers: Vec<(usize, usize)>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(tape: &'a Tape, loss: Option<Var>, on: On<'a>, options: Options) -> Self {
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
            on,
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

    pub(super) fn plan(mut self) -> Plan {
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
                Phase::Recompute if self.node(*node).region.is_none() => self.remake_step(*node),
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

    pub(super) fn node(&self, index: usize) -> &'a Node {
        &self.tape.nodes[index]
    }

    pub(super) fn metas(&self, node: usize) -> Vec<Meta> {
        self.node(node)
            .inputs
            .iter()
            .map(|var| self.tape.meta(*var).clone())
            .collect()
    }

    pub(super) fn buffer(&mut self, kind: Kind, value: usize, step: usize) -> usize {
        let value = &self.tape.values[value];
        self.add(
            kind,
            value.name.clone(),
            value.meta.dtype,
            value.meta.len(),
            step,
        )
    }

    pub(super) fn add(
        &mut self,
        kind: Kind,
        name: String,
        dtype: Dtype,
        len: usize,
        step: usize,
    ) -> usize {
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

    pub(super) fn touch(&mut self, buffer: usize) {
        let step = self.steps.len();
        self.buffers[buffer].last = self.buffers[buffer].last.max(step);
    }

    /// The node that makes `value`, if one does.
    fn node_of(&self, value: Var) -> Option<&'a Node> {
        self.producer[value.index()].map(|node| self.node(node))
    }

    /// The instance of `value` that `node` reads in `phase`: once there is a backward, the one that was made again, if it is
    /// of the same region or of none.
    pub(super) fn place_of(&mut self, value: Var, node: usize, phase: Phase) -> Place {
        if let Source::Param(id) = self.tape.values[value.index()].source {
            return Place::Param(id);
        }
        let region = self.node(node).region;
        let same = region.is_some()
            && self.producer[value.index()].is_some_and(|p| self.node(p).region == region);
        let remade =
            phase == Phase::Backward && self.node_of(value).is_none_or(|n| n.region.is_none());
        let again = if (same || remade) && phase != Phase::Forward {
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

    pub(super) fn forward_step(&mut self, phase: Phase, index: usize) -> Step {
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
                (metas_saved, self.on.workspace(&**op, &metas, false))
            }
            NodeOp::Infer(op, _) => (Vec::new(), self.on.infer_workspace(&**op, &metas)),
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
                .filter(|(_, seen)| self.producer[seen.var.index()] == Some(index))
                .filter_map(|(i, seen)| self.places[seen.var.index()].map(|id| (i, id)))
                .collect()
        } else {
            Vec::new()
        };
        Step {
            phase,
            node: index,
            instead: None,
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

    /// Makes the last output of a node again. Statistics are not: those of the first time are kept.
    fn remake_step(&mut self, index: usize) -> Step {
        let at = self.steps.len();
        let node = self.node(index);
        let again = remake(self.tape, index).expect("scheduled because there is a way");
        let metas: Vec<Meta> = again
            .inputs
            .iter()
            .map(|v| self.tape.meta(*v).clone())
            .collect();
        let inputs = again
            .inputs
            .iter()
            .map(|v| self.place_of(*v, index, Phase::Recompute))
            .collect();
        let value = node.outputs.last().expect("a node has an output").index();
        let id = self.buffer(Kind::Recomputed, value, at);
        self.recomputed[value] = Some(id);
        let workspace = self.on.workspace(&*again.op, &metas, false);
        let workspace = self.workspace(format!("{}.{}", node.scope, again.op.name()), workspace);
        Step {
            phase: Phase::Recompute,
            node: index,
            instead: Some(again.op),
            metas,
            inputs,
            outputs: vec![Some(id)],
            late_outputs: Vec::new(),
            saved: Vec::new(),
            workspace,
            d_outputs: Vec::new(),
            d_inputs: Vec::new(),
            after: Vec::new(),
            observed: Vec::new(),
        }
    }

    pub(super) fn workspace(&mut self, name: String, bytes: usize) -> Option<usize> {
        let at = self.steps.len();
        // Scratch is counted in f32 words, so that its place is aligned like any other.
        (bytes > 0).then(|| self.add(Kind::Workspace, name, Dtype::F32, bytes.div_ceil(4), at))
    }

    pub(super) fn backward_step(&mut self, index: usize, wants: &[bool]) -> Step {
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
        for id in &saved {
            self.touch(*id);
        }
        let workspace = self.on.workspace(op.as_ref(), &metas, true);
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
            instead: None,
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
}
