//! Record once, plan, replay.
//!
//! A model is ordinary Rust that records operations on a [`Tape`] through copyable handles ([`Var`]); recording checks
//! every shape. [`fuse`] joins neighbours that are faster together. [`plan`] gives every value, gradient and scratch buffer
//! a place in one arena. [`run`] replays the plan: one loop forward, one loop backward, no allocation.

pub mod fuse;
pub mod observe;
mod ops;
pub mod plan;
mod remake;
pub mod run;
#[cfg(test)]
mod tests;

use crate::param::{ParamId, ParamSpecs};
use kernels::op::InferOp;
use kernels::{Dtype, Meta, Op, Precision};
use observe::{Hidden, Observed};
use std::panic::Location;
use std::sync::Arc;

/// A recorded value. Cheap to copy; means nothing outside its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var {
    index: u32,
    #[cfg(debug_assertions)]
    tape: u32,
}

impl Var {
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// Token ids and their kin, written before a replay.
    Input,
    /// A parameter.
    Param(ParamId),
    /// An output of a node.
    Node,
}

/// A recorded value's description.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub meta: Meta,
    pub source: Source,
    /// Shown in profiles, errors and the memory screen.
    pub name: String,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub(crate) enum NodeOp {
    /// An operation with a gradient.
    Op(Arc<dyn Op>),
    /// One without, and the number of its state.
    Infer(Arc<dyn InferOp>, usize),
}

impl NodeOp {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Op(op) => op.name(),
            Self::Infer(op, _) => op.name(),
        }
    }
}

/// One recorded operation.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub op: NodeOp,
    pub inputs: Vec<Var>,
    pub outputs: Vec<Var>,
    /// Dotted name of the part of the model that recorded it.
    pub scope: String,
    /// Recompute region.
    pub region: Option<u32>,
    /// Who recorded it.
    pub at: &'static Location<'static>,
}

#[cfg(debug_assertions)]
fn next_id() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Tells values of another tape from its own.
    #[cfg(debug_assertions)]
    id: u32,
    precision: Precision,
    pub(crate) nodes: Vec<Node>,
    pub(crate) values: Vec<Value>,
    scopes: Vec<String>,
    region: Option<u32>,
    regions: u32,
    states: Vec<Vec<usize>>,
    /// Values to be read after a replay.
    pub(crate) kept: Vec<Var>,
    /// Values that are looked at when a replay asks for statistics.
    pub(crate) observed: Vec<Observed>,
}

impl Tape {
    /// An empty recording.
    pub fn new(precision: Precision) -> Self {
        Self {
            #[cfg(debug_assertions)]
            id: next_id(),
            precision,
            nodes: Vec::new(),
            values: Vec::new(),
            scopes: Vec::new(),
            region: None,
            regions: 0,
            states: Vec::new(),
            kept: Vec::new(),
            observed: Vec::new(),
        }
    }

    /// The precision that values get their types from.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Shape and type of a value.
    pub fn meta(&self, var: Var) -> &Meta {
        &self.value(var).meta
    }

    pub(crate) fn value(&self, var: Var) -> &Value {
        #[cfg(debug_assertions)]
        assert_eq!(var.tape, self.id, "a value of another tape");
        &self.values[var.index()]
    }

    fn add_value(&mut self, meta: Meta, source: Source, name: String) -> Var {
        self.values.push(Value { meta, source, name });
        Var {
            index: self.values.len() as u32 - 1,
            #[cfg(debug_assertions)]
            tape: self.id,
        }
    }

    /// An index tensor that is written before each replay.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Var {
        self.add_value(Meta::new(shape, Dtype::I32), Source::Input, name.to_owned())
    }

    /// A parameter. The same parameter may be asked for again (tied weights).
    pub fn param(&mut self, specs: &ParamSpecs, id: ParamId) -> Var {
        let known = self
            .values
            .iter()
            .position(|value| value.source == Source::Param(id));
        if let Some(index) = known {
            return Var {
                index: index as u32,
                #[cfg(debug_assertions)]
                tape: self.id,
            };
        }
        let spec = specs.get(id);
        let meta = Meta::new(spec.shape.clone(), self.precision.wide());
        self.add_value(meta, Source::Param(id), spec.name.clone())
    }

    /// Records an operation. Inputs that do not fit are a bug in the model: the panic names the operation, the shapes and
    /// the caller's line.
    #[track_caller]
    pub fn push(&mut self, op: impl Op, inputs: &[Var]) -> Vec<Var> {
        self.push_node(NodeOp::Op(Arc::new(op)), inputs)
    }

    /// Records an operation with one output.
    #[track_caller]
    pub fn one(&mut self, op: impl Op, inputs: &[Var]) -> Var {
        self.push(op, inputs)[0]
    }

    /// Records an operation without a gradient, which keeps state between replays.
    #[track_caller]
    pub fn infer(&mut self, op: impl InferOp, inputs: &[Var]) -> Var {
        self.states.push(op.state());
        let state = self.states.len() - 1;
        self.push_node(NodeOp::Infer(Arc::new(op), state), inputs)[0]
    }

    #[track_caller]
    fn push_node(&mut self, op: NodeOp, inputs: &[Var]) -> Vec<Var> {
        let at = Location::caller();
        let metas: Vec<_> = inputs.iter().map(|var| self.meta(*var).clone()).collect();
        let outputs = match &op {
            NodeOp::Op(op) => op.outputs(&metas, self.precision),
            NodeOp::Infer(op, _) => op.outputs(&metas, self.precision),
        };
        let scope = self.scopes.join(".");
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => panic!(
                "{}: {error} (inputs {metas:?}, in {scope:?}, recorded at {at})",
                op.name()
            ),
        };
        let name = if scope.is_empty() {
            op.name().to_owned()
        } else {
            format!("{scope}.{}", op.name())
        };
        let outputs: Vec<_> = outputs
            .into_iter()
            .map(|meta| self.add_value(meta, Source::Node, name.clone()))
            .collect();
        let node = Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            scope,
            region: self.region,
            at,
        };
        self.nodes.push(node);
        outputs
    }

    /// Records a part of the model under a name.
    pub fn scope<R>(&mut self, name: &str, record: impl FnOnce(&mut Self) -> R) -> R {
        self.scopes.push(name.to_owned());
        let result = record(self);
        self.scopes.pop();
        result
    }

    /// Records a part whose values are not kept for the backward but computed again there (activation checkpointing,
    /// Chen et al. 2016, arXiv:1604.06174). Regions do not nest: an inner one is part of the outer.
    pub fn recompute<R>(&mut self, record: impl FnOnce(&mut Self) -> R) -> R {
        if self.region.is_some() {
            return record(self);
        }
        self.region = Some(self.regions);
        self.regions += 1;
        let result = record(self);
        self.region = None;
        result
    }

    /// Keeps a value readable after a replay.
    pub fn keep(&mut self, var: Var) {
        self.kept.push(var);
    }

    /// Takes the root mean square of a layer's output, and the share of its channels that are dead, whenever a replay asks
    /// for statistics.
    pub fn observe(&mut self, name: &str, var: Var) {
        self.observed.push(Observed {
            name: name.to_owned(),
            var,
            hidden: None,
        });
    }

    /// Counts the dead units of the layer called `name` among its hidden units, not the channels of its output. `var` is what
    /// their activation is made from, as that itself may never be whole in memory.
    pub fn observe_hidden(&mut self, name: &str, var: Var, hidden: Hidden) {
        self.observed.push(Observed {
            name: name.to_owned(),
            var,
            hidden: Some(hidden),
        });
    }

    /// Sizes of the state that operations without a gradient keep, in `f32` values.
    pub fn states(&self) -> &[Vec<usize>] {
        &self.states
    }

    /// Floating-point operations of one forward.
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| {
                let metas: Vec<_> = node
                    .inputs
                    .iter()
                    .map(|var| self.meta(*var).clone())
                    .collect();
                match &node.op {
                    NodeOp::Op(op) => op.flops(&metas),
                    NodeOp::Infer(op, _) => op.flops(&metas),
                }
            })
            .sum()
    }
}
