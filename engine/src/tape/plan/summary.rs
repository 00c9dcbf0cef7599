//! What each byte of a plan is alive for, small enough for an event.

use super::{Buffer, Kind, Phase, Plan};
use crate::link::{Planned, PlannedAt, PlannedBuffer};
use crate::tape::{NodeOp, Tape};

/// Most columns of the timeline.
const COLUMNS: usize = 160;
/// Most buffers that are listed.
const LARGEST: usize = 64;

/// All kinds, in the order of [`PlannedAt::bytes`].
const KINDS: [Kind; 6] = [
    Kind::Input,
    Kind::Value,
    Kind::Recomputed,
    Kind::Saved,
    Kind::Gradient,
    Kind::Workspace,
];

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Value => "value",
            Self::Recomputed => "recomputed",
            Self::Saved => "saved",
            Self::Gradient => "gradient",
            Self::Workspace => "workspace",
        }
    }
}

impl Plan {
    /// The plan for a screen: live bytes over the calls of a replay, and the largest buffers.
    pub fn summary(&self, tape: &Tape) -> Planned {
        let forward = |step: &&super::Step| step.phase == Phase::Forward;
        let live = self.live_bytes();
        let stride = live.len().div_ceil(COLUMNS).max(1);
        let timeline = live
            .chunks(stride)
            .enumerate()
            .filter_map(|(column, calls)| {
                let total = |bytes: &&[u64; KINDS.len()]| bytes.iter().sum::<u64>();
                let (at, bytes) = calls
                    .iter()
                    .enumerate()
                    .max_by_key(|(_, bytes)| total(bytes))?;
                let call = column * stride + at;
                Some(PlannedAt {
                    call,
                    name: self.call_name(tape, call),
                    bytes: bytes.to_vec(),
                })
            });
        let mut largest: Vec<&Buffer> = self.buffers.iter().filter(|b| b.len > 0).collect();
        largest.sort_by_key(|b| (std::cmp::Reverse(b.bytes()), b.first, b.offset));
        Planned {
            step: 0,
            rows: 0,
            arena_bytes: self.bytes() as u64,
            calls: self.steps.len(),
            forward_calls: self.steps.iter().take_while(forward).count(),
            kinds: KINDS.iter().map(|kind| kind.name().to_owned()).collect(),
            timeline: timeline.collect(),
            buffers: largest.into_iter().take(LARGEST).map(described).collect(),
            buffer_count: self.buffers.len(),
        }
    }

    /// Live bytes of each kind at each call.
    fn live_bytes(&self) -> Vec<[u64; KINDS.len()]> {
        let mut live = vec![[0; KINDS.len()]; self.steps.len()];
        for buffer in &self.buffers {
            let kind = KINDS.iter().position(|kind| *kind == buffer.kind);
            let kind = kind.expect("the list has every kind");
            let last = buffer.last.min(self.steps.len().saturating_sub(1));
            for bytes in live.get_mut(buffer.first..=last).into_iter().flatten() {
                bytes[kind] += buffer.bytes() as u64;
            }
        }
        live
    }

    fn call_name(&self, tape: &Tape, call: usize) -> String {
        let step = &self.steps[call];
        let node = &tape.nodes[step.node];
        let op = match (&step.instead, &node.op) {
            (Some(op), _) | (None, NodeOp::Op(op)) => op.name(),
            (None, NodeOp::Infer(op, _)) => op.name(),
        };
        let scope = if node.scope.is_empty() { "" } else { "." };
        let back = if step.phase == Phase::Backward {
            " backward"
        } else {
            ""
        };
        format!("{}{scope}{op}{back}", node.scope)
    }
}

fn described(buffer: &Buffer) -> PlannedBuffer {
    PlannedBuffer {
        kind: buffer.kind.name().to_owned(),
        name: buffer.name.clone(),
        dtype: format!("{:?}", buffer.dtype).to_lowercase(),
        bytes: buffer.bytes() as u64,
        first: buffer.first,
        last: buffer.last,
        offset: buffer.offset as u64,
    }
}
