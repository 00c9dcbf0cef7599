//! Fusion: joins two neighbours of a recording into one operation that is faster or needs less memory, before planning.
//!
//! A rule looks at two operations of which the second reads the output of the first, and names the operation that does the
//! work of both ([`RULES`]). Everything else is the same for all rules and is decided here: whether the pair may be joined
//! at all, and where the new operation goes. Values keep their handles; a value between the two that no longer exists is one
//! that nobody else asked for. A recording that is not passed through [`fuse`] works as well (`train.fuse = false`).

use super::{Node, NodeOp, Tape, Var};
use kernels::Op;
use kernels::ops::activation::Activation;
use kernels::ops::activation_linear::ActivationLinear;
use kernels::ops::add::Add;
use kernels::ops::add_norm::{AddNorm, Norm};
use kernels::ops::gated::Gated;
use kernels::ops::layernorm::LayerNorm;
use kernels::ops::linear::Linear;
use kernels::ops::linear_rope::LinearRope;
use kernels::ops::rmsnorm::RmsNorm;
use kernels::ops::rope::Rope;
use std::any::Any;
use std::sync::Arc;

/// Two operations that become one. The new one's inputs are the first's and then the second's but for the value between;
/// its outputs are the value between, if it stays, and then the second's.
#[derive(Debug)]
pub struct Rule {
    /// The two operations.
    pub name: &'static str,
    /// What is gained.
    pub why: &'static str,
    /// Whether the value between stays readable: others may then read it too.
    pub keeps_middle: bool,
    join: Join,
}

/// Of the first and the second operation, the one that does the work of both, if the rule knows them.
type Join = fn(&dyn Any, &dyn Any) -> Option<Arc<dyn Op>>;

/// All rules, at most 12; the first that fits is taken.
pub static RULES: &[Rule] = &[
    Rule {
        name: "add + rmsnorm",
        why: "the residual stream is read once for the addition and the norm, and its gradients meet in one pass",
        keeps_middle: true,
        join: add_rmsnorm,
    },
    Rule {
        name: "add + layernorm",
        why: "as add + rmsnorm",
        keeps_middle: true,
        join: add_layernorm,
    },
    Rule {
        name: "gated + linear",
        why: "the gated value, the widest tensor but one of a block, is not kept for the backward but made again there",
        keeps_middle: false,
        join: gated_linear,
    },
    Rule {
        name: "activation + linear",
        why: "as gated + linear",
        keeps_middle: false,
        join: activation_linear,
    },
    Rule {
        name: "linear + rope",
        why: "queries and keys are turned where the product left them, so that they are in memory once",
        keeps_middle: false,
        join: linear_rope,
    },
];

fn add_rmsnorm(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op>> {
    first.downcast_ref::<Add>()?;
    let &RmsNorm {
        eps,
        zero_centered,
        wide: false,
    } = second.downcast_ref()?
    else {
        return None;
    };
    let norm = Norm::Rms { eps, zero_centered };
    Some(Arc::new(AddNorm { norm }))
}

fn add_layernorm(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op>> {
    first.downcast_ref::<Add>()?;
    let &LayerNorm {
        eps,
        bias,
        wide: false,
    } = second.downcast_ref()?
    else {
        return None;
    };
    let norm = Norm::Layer { eps, bias };
    Some(Arc::new(AddNorm { norm }))
}

fn gated_linear(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op>> {
    let &Gated { act } = first.downcast_ref()?;
    narrow(second)?;
    Some(Arc::new(ActivationLinear { act, gated: true }))
}

fn activation_linear(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op>> {
    let &Activation { act } = first.downcast_ref()?;
    narrow(second)?;
    Some(Arc::new(ActivationLinear { act, gated: false }))
}

fn linear_rope(first: &dyn Any, second: &dyn Any) -> Option<Arc<dyn Op>> {
    narrow(first)?;
    let rope: &Rope = second.downcast_ref()?;
    Some(Arc::new(LinearRope { rope: rope.clone() }))
}

/// A linear map into the compute type.
fn narrow(op: &dyn Any) -> Option<&Linear> {
    op.downcast_ref::<Linear>().filter(|linear| !linear.wide)
}

/// Joins all that the rules join.
pub fn fuse(mut tape: Tape) -> Tape {
    while let Some(found) = find(&tape) {
        tape.nodes[found.first] = found.node;
        tape.nodes.remove(found.second);
    }
    tape
}

/// A pair and what it becomes. The new operation takes the first's place.
struct Found {
    first: usize,
    second: usize,
    node: Node,
}

fn find(tape: &Tape) -> Option<Found> {
    let uses = Uses::new(tape);
    (0..tape.nodes.len()).find_map(|second| {
        let middle = *tape.nodes[second].inputs.first()?;
        let first = uses.producer[middle.index()]?;
        RULES
            .iter()
            .find_map(|rule| join(tape, &uses, rule, first, second))
    })
}

/// Who makes and reads each value.
struct Uses {
    producer: Vec<Option<usize>>,
    readers: Vec<usize>,
    /// Whether somebody outside the recording reads it: it must stay.
    outside: Vec<bool>,
    /// Whether a loss depends on it; where the recording has no loss, a kept value.
    needed: Vec<bool>,
}

impl Uses {
    fn new(tape: &Tape) -> Self {
        let len = tape.values.len();
        let (mut producer, mut readers) = (vec![None; len], vec![0; len]);
        let (mut outside, mut needed) = (vec![false; len], vec![false; len]);
        let observed = tape.observed.iter().map(|seen| &seen.var);
        for var in tape.kept.iter().chain(observed) {
            outside[var.index()] = true;
        }
        let mut roots: Vec<Var> = tape.nodes.iter().flat_map(losses).collect();
        if roots.is_empty() {
            roots.clone_from(&tape.kept);
        }
        for var in &roots {
            needed[var.index()] = true;
        }
        for (i, node) in tape.nodes.iter().enumerate().rev() {
            let is_needed = node.outputs.iter().any(|var| needed[var.index()]);
            for var in &node.inputs {
                readers[var.index()] += 1;
                needed[var.index()] |= is_needed;
            }
            node.outputs
                .iter()
                .for_each(|var| producer[var.index()] = Some(i));
        }
        Self {
            producer,
            readers,
            outside,
            needed,
        }
    }
}

/// The outputs of a loss, which is known by its forward running with its backward.
fn losses(node: &Node) -> impl Iterator<Item = Var> {
    let is_loss = matches!(&node.op, NodeOp::Op(op) if op.keeps().forward_in_backward);
    node.outputs.iter().copied().filter(move |_| is_loss)
}

/// The operation that `rule` makes of nodes `first` and `second`, if it may:
///
/// - both are in the same recompute region, or in none, so that the same things are computed again;
/// - what else the second reads is made before the first, so that the new operation can take the first's place and all
///   readers still come after it;
/// - the value between is read by the second alone, unless it stays an output;
/// - the second's output is needed, so that no work is added and its gradient exists;
/// - the new operation makes the same shapes and types.
fn join(tape: &Tape, uses: &Uses, rule: &Rule, first: usize, second: usize) -> Option<Found> {
    let (a, b) = (&tape.nodes[first], &tape.nodes[second]);
    let (NodeOp::Op(op_a), NodeOp::Op(op_b)) = (&a.op, &b.op) else {
        return None;
    };
    let op = (rule.join)(op_a.as_ref() as &dyn Any, op_b.as_ref() as &dyn Any)?;
    let ([middle], [output]) = (&a.outputs[..], &b.outputs[..]) else {
        return None;
    };
    let alone = uses.readers[middle.index()] == 1 && !uses.outside[middle.index()];
    let in_order = |var: &Var| uses.producer[var.index()].is_none_or(|made| made < first);
    if a.region != b.region
        || !b.inputs[1..].iter().all(in_order)
        || !(alone || rule.keeps_middle)
        || !uses.needed[output.index()]
    {
        return None;
    }
    let inputs = [&a.inputs[..], &b.inputs[1..]].concat();
    let mut outputs = vec![*output];
    if rule.keeps_middle {
        outputs.insert(0, *middle);
    }
    let metas = |vars: &[Var]| -> Vec<_> { vars.iter().map(|v| tape.meta(*v).clone()).collect() };
    let made = op.outputs(&metas(&inputs), tape.precision).ok()?;
    (made == metas(&outputs)).then(|| Found {
        first,
        second,
        node: Node {
            op: NodeOp::Op(op),
            inputs,
            outputs,
            ..a.clone()
        },
    })
}
