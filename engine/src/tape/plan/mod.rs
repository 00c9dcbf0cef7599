//! Planning: in which order everything runs, how long each buffer is needed, and where it lies in the arena.
//!
//! The schedule lists the forwards, then the backwards in reverse; a recompute region runs its forwards once more just
//! before its backwards. Each buffer lives from the first step that touches it to the last; two buffers may share bytes
//! when their lives do not meet. Gradients are made in place where the operation allows it ([`kernels::GradSharing`]) and nobody
//! else still reads the memory.

mod gradients;
mod place;
mod planner;
mod schedule;
mod summary;

use super::{Tape, Var};
use crate::param::ParamId;
use kernels::gpu::Info;
use kernels::op::InferOp;
use kernels::{Cpu, Dtype, GradMode, Meta, Op};
use planner::Planner;
use std::sync::Arc;

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
    /// A forward of a recompute region, for its backward; or one that makes a value again.
    Recompute,
    /// A backward.
    Backward,
}

/// One call of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub phase: Phase,
    pub node: usize,
    /// The operation to run instead of the node's: it makes a value again.
    pub instead: Option<Arc<dyn Op>>,
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

/// What a plan is made for: how much scratch an operation takes depends on it.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    /// Threads and instruction set.
    Cpu(&'a Cpu),
    /// A device.
    Gpu(&'a Info),
}

impl<'a> From<&'a Cpu> for On<'a> {
    fn from(cpu: &'a Cpu) -> Self {
        Self::Cpu(cpu)
    }
}

impl<'a> From<&'a Info> for On<'a> {
    fn from(info: &'a Info) -> Self {
        Self::Gpu(info)
    }
}

impl On<'_> {
    /// Scratch of one call of `op`, in bytes.
    pub(crate) fn workspace(self, op: &dyn Op, metas: &[Meta], backward: bool) -> usize {
        match self {
            Self::Cpu(cpu) => op.workspace(metas, cpu, backward),
            Self::Gpu(info) => op.workspace_gpu(metas, info, backward),
        }
    }

    /// The same for an operation without a gradient.
    pub(crate) fn infer_workspace(self, op: &dyn InferOp, metas: &[Meta]) -> usize {
        match self {
            Self::Cpu(cpu) => op.workspace(metas, cpu),
            Self::Gpu(info) => op.workspace_gpu(metas, info),
        }
    }
}

/// How to plan. The defaults are what training uses; tests switch parts off.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether buffers whose lives do not meet may share bytes.
    pub reuse: bool,
    /// Whether gradients may be made in place.
    pub share_gradients: bool,
    /// Whether values that are cheap to make again are not kept for the backward ([`super::remake`]).
    pub remake: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reuse: true,
            share_gradients: true,
            remake: true,
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
    pub fn new<'a>(
        tape: &'a Tape,
        loss: Option<Var>,
        on: impl Into<On<'a>>,
        options: Options,
    ) -> Self {
        Planner::new(tape, loss, on.into(), options).plan()
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
