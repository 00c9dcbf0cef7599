//! What runs, and in which order: live operations, values that want gradients, forwards, recomputations, backwards.

use super::Phase;
use super::planner::Planner;
use crate::tape::remake::remake;
use crate::tape::{NodeOp, Source, Var};
use kernels::Keeps;

impl Planner<'_> {
    /// Nodes that the loss or a kept value depends on.
    pub(super) fn live_nodes(&self) -> Vec<bool> {
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
    pub(super) fn values_that_want_gradients(&self, live: &[bool]) -> Vec<bool> {
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

    pub(super) fn reaches(&self, node: usize, loss: Var) -> bool {
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

    pub(super) fn schedule(&self, live: &[bool], wants: &[bool]) -> Vec<(Phase, usize)> {
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
        let (mut previous, mut remade) = (None, self.values_to_remake(&backward));
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
            for value in self.read_backward(node) {
                if let Some(producer) = remade[value.index()].take() {
                    schedule.push((Phase::Recompute, producer));
                }
            }
            schedule.push((Phase::Backward, node));
        }
        schedule
    }

    /// Values that the backward of a node reads.
    fn read_backward(&self, node: usize) -> impl Iterator<Item = Var> {
        let node = self.node(node);
        let keeps = match &node.op {
            NodeOp::Op(op) => op.keeps(),
            NodeOp::Infer(..) => Keeps::NOTHING,
        };
        let kept = |vars: &'_ [Var], mask: u32| {
            let kept = |(k, var): (usize, &Var)| (mask >> k & 1 == 1).then_some(*var);
            vars.iter().enumerate().filter_map(kept).collect::<Vec<_>>()
        };
        let inputs = kept(&node.inputs, keeps.inputs);
        inputs.into_iter().chain(kept(&node.outputs, keeps.outputs))
    }

    /// For each value that is made again, the node that makes it. Not those that a recompute region has to do with, that are
    /// read after the replay, or that a loss reads, whose backward follows at once.
    fn values_to_remake(&self, backward: &[usize]) -> Vec<Option<usize>> {
        let mut remade = vec![None; self.tape.values.len()];
        if !self.options.remake {
            return remade;
        }
        for &node in backward {
            if self.node(node).region.is_none() && remake(self.tape, node).is_some() {
                let value = self
                    .node(node)
                    .outputs
                    .last()
                    .expect("a node has an output");
                remade[value.index()] = Some(node);
            }
        }
        for var in self.tape.kept.iter().chain(&self.loss) {
            remade[var.index()] = None;
        }
        for node in &self.tape.nodes {
            let is_loss = matches!(&node.op, NodeOp::Op(op) if op.keeps().forward_in_backward);
            if is_loss || node.region.is_some() {
                node.inputs
                    .iter()
                    .for_each(|var| remade[var.index()] = None);
            }
        }
        remade
    }

    /// Nodes of a region whose outputs or statistics its backwards read, and what those need.
    pub(super) fn nodes_to_recompute(&self, region: Option<u32>, backward: &[usize]) -> Vec<usize> {
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

    pub(super) fn count_contributions(&mut self, schedule: &[(Phase, usize)], wants: &[bool]) {
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
}
