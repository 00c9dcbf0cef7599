//! How the machine is doing: processor, memory, disk, GPUs, and the job's deadline. What is absent is left out without fuss.
//!
//! The engine takes a [`Sampler::sample`] every `telemetry.system_interval` seconds, between two steps. Nothing here can
//! change a loss.

mod amd;
mod host;
mod nvidia;

use crate::link::System;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Takes samples, and keeps what rates are made from.
#[derive(Debug)]
pub struct Sampler {
    host: host::Host,
    nvidia: nvidia::Nvidia,
    deadline: Option<u64>,
}

impl Default for Sampler {
    fn default() -> Self {
        // Slurm says when it will end the job, in seconds since 1970.
        let deadline = std::env::var("SLURM_JOB_END_TIME").ok();
        Self {
            host: host::Host::default(),
            nvidia: nvidia::Nvidia::open(),
            deadline: deadline.and_then(|seconds| seconds.trim().parse().ok()),
        }
    }
}

impl Sampler {
    /// The machine now; `folder` is on the disk whose free space counts. Shares of processors are means since the last
    /// sample, or since the start.
    pub fn sample(&mut self, step: u64, folder: &Path) -> System {
        let mut gpus = self.nvidia.gpus();
        gpus.extend(amd::gpus(Path::new("/sys/class/drm")));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        System {
            step,
            seconds_left: self.deadline.map(|end| end.saturating_sub(now)),
            gpus,
            ..self.host.sample(folder)
        }
    }
}
