//! Optimizer updates: one fused pass over flat buffers each, one folder each. All buffers are `f32`.

pub mod adamw;
pub mod norm;
pub mod sgd;

/// Elements of one task: the flat buffers are cut at multiples of it, whatever the number of threads.
pub(crate) const CHUNK: usize = 1 << 16;
