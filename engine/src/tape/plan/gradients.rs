//! Where each gradient goes: memory of its own, the memory of the gradient that it is made from, or that of an equal one.

use super::planner::Planner;
use super::{Delivery, Kind, Target};
use crate::tape::{Source, Var};
use kernels::{GradMode, GradSharing};

impl Planner<'_> {
    /// Decides where each gradient goes and how.
    pub(super) fn deliveries(
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
    pub(super) fn or_aside(
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
    pub(super) fn may_take_over(&self, id: usize, output: Var, input: Var, at: usize) -> bool {
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
    pub(super) fn may_share(&self, a: Var, b: Var, wants: &[bool], at: usize) -> bool {
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
