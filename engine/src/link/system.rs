//! Events about the machine and about where time and memory of a step go.

use serde::{Deserialize, Serialize};

/// How the machine is doing. What it does not say is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Last step done.
    pub step: u64,
    /// Percent of all processors that were busy since the last sample.
    pub cpu_percent: Option<f64>,
    /// Percent of one processor that this process used since the last sample; 200 is two of them.
    pub process_cpu_percent: Option<f64>,
    /// Bytes of memory that this process holds.
    pub rss_bytes: u64,
    /// Bytes of memory that programs may still take.
    pub memory_available_bytes: Option<u64>,
    /// Bytes of memory in all.
    pub memory_total_bytes: Option<u64>,
    /// Bytes free on the disk of the run's folder.
    pub disk_free_bytes: Option<u64>,
    /// Seconds until the job's deadline, where a scheduler gives one.
    pub seconds_left: Option<u64>,
    /// All GPUs of the machine.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// As `--device` names it: `cuda:0`, `rocm:0`.
    pub device: String,
    /// Name.
    pub name: String,
    /// Percent of the time that a kernel ran.
    pub utilisation_percent: Option<f64>,
    /// Bytes of its memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of its memory.
    pub memory_total_bytes: Option<u64>,
    /// Power.
    pub power_watts: Option<f64>,
    /// Temperature.
    pub temperature_celsius: Option<f64>,
}

/// Where the time of some steps went, as `zerollm bench step --profile` shows it; seconds are of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profiled {
    /// Last step profiled.
    pub step: u64,
    /// Steps profiled.
    pub steps: u64,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Seconds that belong to no operation.
    pub rest_seconds: f64,
    /// Seconds that a step would take at the limits of the machine.
    pub roofline_seconds: f64,
    /// Measured peak of multiply-adds, in the precision of the run.
    pub peak_gflops: f64,
    /// Measured rate of reading the memory of the run's own plan.
    pub read_gbps: f64,
    /// A line an operation and part, the longest first.
    pub lines: Vec<ProfiledLine>,
}

/// One line of [`Profiled`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfiledLine {
    /// Operation, `clip norm` or `optimizer`.
    pub op: String,
    /// `forward`, `recompute`, `backward`, `update`.
    pub part: String,
    /// Calls a step.
    pub calls: u64,
    /// Seconds a step.
    pub seconds: f64,
    /// Share of the step.
    pub share: f64,
    /// Rate of floating-point operations.
    pub gflops: f64,
    /// Rate of bytes.
    pub gbps: f64,
    /// Share of the machine's peak, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// `operations` or `memory`: whose peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
}

/// What the memory of a training step is alive for: the plan of one micro-batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Last step done.
    pub step: u64,
    /// Rows of the micro-batch.
    pub rows: usize,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Calls of operations in one replay.
    pub calls: usize,
    /// Calls before the first backward.
    pub forward_calls: usize,
    /// Kinds of buffers, as `bytes` of [`PlannedAt`] counts them.
    pub kinds: Vec<String>,
    /// Live bytes at calls in even distances, the fullest call between two of them; in order.
    pub timeline: Vec<PlannedAt>,
    /// The largest buffers, the largest first.
    pub buffers: Vec<PlannedBuffer>,
    /// Buffers in all.
    pub buffer_count: usize,
}

/// Live bytes at one call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedAt {
    /// Number of the call, from 0.
    pub call: usize,
    /// Operation and part of the model.
    pub name: String,
    /// Bytes of each kind.
    pub bytes: Vec<u64>,
}

/// One buffer of the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedBuffer {
    /// `input`, `value`, `recomputed`, `saved`, `gradient`, `workspace`.
    pub kind: String,
    /// Part of the model.
    pub name: String,
    /// `f32`, `bf16`, `i32`.
    pub dtype: String,
    /// Bytes.
    pub bytes: u64,
    /// First call that touches it.
    pub first: usize,
    /// Last call that touches it.
    pub last: usize,
    /// Place in the arena.
    pub offset: u64,
}
