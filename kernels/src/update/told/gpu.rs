//! What a step comes to, on a GPU: two launches of one thread's work, and the places of its numbers.

use super::{BOUNDS_BYTES, Bounds, TOLD, TOLD_BYTES, Told};
use crate::gpu::{Arg, Gpu, GpuError, Grid, Unit, View};

static UNIT: Unit = Unit {
    name: "update/told/gpu.cu",
    text: include_str!("gpu.cu"),
    pieces: &[TOLD],
};

/// `struct Bounds`.
pub(super) fn bounds_bytes(bounds: &Bounds) -> [u8; BOUNDS_BYTES] {
    let mut bytes = [0; BOUNDS_BYTES];
    bytes[..8].copy_from_slice(&bounds.clip_norm.to_le_bytes());
    bytes[8..16].copy_from_slice(&bounds.most_loss.to_le_bytes());
    bytes[16..20].copy_from_slice(&(bounds.number as u32).to_le_bytes());
    bytes[20..].copy_from_slice(&(bounds.count as u32).to_le_bytes());
    bytes
}

/// `struct Told` for an update that the host wants.
pub(super) fn order(scale: f64) -> [u8; TOLD_BYTES] {
    let mut bytes = [0; TOLD_BYTES];
    bytes[8..12].copy_from_slice(&(scale as f32).to_le_bytes());
    bytes[12..].copy_from_slice(&1u32.to_le_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> [u8; 4] {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
}

pub(super) fn read(bytes: &[u8]) -> Told {
    let (head, losses) = bytes.split_at(TOLD_BYTES);
    let mut squares = [0; 8];
    squares.copy_from_slice(&head[..8]);
    let losses = losses
        .chunks_exact(4)
        .map(|loss| f32::from_le_bytes(word(loss, 0)));
    Told {
        squares: f64::from_le_bytes(squares),
        scale: f32::from_le_bytes(word(head, 8)),
        go: u32::from_le_bytes(word(head, 12)) != 0,
        loss: losses.map(f64::from).sum(),
    }
}

/// The losses behind a told, whose bytes `told` counts as `f32`.
fn losses(told: View) -> View {
    told.from(TOLD_BYTES / size_of::<f32>())
}

pub(super) fn keep_loss(gpu: &Gpu, told: View, loss: View, bounds: u64) -> Result<(), GpuError> {
    let args = [losses(told).into(), loss.into(), Arg::Ptr(bounds)];
    gpu.launch(&UNIT.kernel("keep_loss"), Grid::new(1, 64), &args)
}

pub(super) fn judge(gpu: &Gpu, told: View, bounds: u64) -> Result<(), GpuError> {
    let args = [told.into(), losses(told).into(), Arg::Ptr(bounds)];
    gpu.launch(&UNIT.kernel("judge"), Grid::new(1, 64), &args)
}
