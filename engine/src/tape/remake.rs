//! Values that are cheap to make again: their first copy is freed once the forwards have read it, and a second one is made
//! just before the first backward that reads it.
//!
//! The output of a norm is such a value. The linear maps behind it need it again for the gradients of their weights, and
//! what it is made from, the residual stream, is kept for the norm's own backward anyway. So each norm costs one more pass
//! over memory and saves a tensor of the width of the model for the time between: a twelfth of what a step of `nano` needs.

use super::{NodeOp, Tape, Var};
use kernels::Op;
use kernels::ops::add_norm::AddNorm;
use kernels::ops::layernorm::LayerNorm;
use kernels::ops::rmsnorm::RmsNorm;
use std::any::Any;
use std::sync::Arc;

/// How a value is made again.
#[derive(Clone, Debug)]
pub(super) struct Remake {
    /// The operation; it makes the same bits as the first one did.
    pub op: Arc<dyn Op>,
    /// What it reads: values that the backward of the node that made the value keeps.
    pub inputs: Vec<Var>,
}

/// How the last output of node `node` is made again, if it is cheap.
pub(super) fn remake(tape: &Tape, node: usize) -> Option<Remake> {
    let node = &tape.nodes[node];
    let NodeOp::Op(op) = &node.op else {
        return None;
    };
    let any = op.as_ref() as &dyn Any;
    if any.is::<RmsNorm>() || any.is::<LayerNorm>() {
        return Some(Remake {
            op: Arc::clone(op),
            inputs: node.inputs.clone(),
        });
    }
    let AddNorm { norm } = any.downcast_ref()?;
    Some(Remake {
        op: Arc::from(norm.op()),
        inputs: [&node.outputs[..1], &node.inputs[2..]].concat(),
    })
}
