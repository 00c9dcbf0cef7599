//! What is measured besides the training itself: the machine, and where the time and memory of a step go.

use super::run::Engine;
use super::step::Trainer;
use crate::link::{Body, Profiled, ProfiledLine};
use crate::profile::{Breakdown, Level, Limits, Profile};
use crate::telemetry::Sampler;
use kernels::cpu::peak;
use std::time::{Duration, Instant};

/// Steps of one profile.
const PROFILED: u64 = 5;
/// Steps of an attempt before its first profile: the first ones touch memory for the first time.
const WARM_UP: u64 = 2;
/// Tries of each limit: the best counts.
const TRIES: usize = 3;

/// What an engine keeps for its measurements.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    sampler: Sampler,
    sampled: Option<Instant>,
    /// Steps of this attempt.
    steps: u64,
    profiling: Option<Profiling>,
}

/// A profile under way.
#[derive(Debug)]
struct Profiling {
    /// Steps done of it.
    steps: u64,
    /// What they took.
    seconds: f64,
}

impl Engine {
    /// Says what the memory of a step is alive for: at the start, and after planning anew.
    pub(super) fn tell_plan(&mut self) {
        let program = self.trainer.program();
        let mut planned = program.plan().summary(program.tape());
        planned.step = self.step;
        planned.rows = self.config().train.micro_batch;
        self.emit(Body::Plan(Box::new(planned)));
    }

    /// Begins a profile with the next step; false where one is under way.
    pub(super) fn begin_profile(&mut self) -> bool {
        let free = self.telemetry.profiling.is_none();
        if free {
            self.trainer.profile = Some(Profile::default());
            self.telemetry.profiling = Some(Profiling {
                steps: 0,
                seconds: 0.0,
            });
        }
        free
    }

    /// Begins a profile that is under way once more: a part of a step was timed that is made again.
    pub(super) fn time_anew(&mut self) {
        if self.telemetry.profiling.take().is_some() {
            self.begin_profile();
        }
    }

    /// After a step that took `seconds`: the profile and the state of the machine, where they are due.
    pub(super) fn measure(&mut self, seconds: f64) {
        if let Some(profiling) = &mut self.telemetry.profiling {
            profiling.steps += 1;
            profiling.seconds += seconds;
            if profiling.steps == PROFILED {
                self.end_profile();
            }
        }
        self.telemetry.steps += 1;
        if self.telemetry.steps == WARM_UP {
            self.begin_profile();
        }
        let interval = Duration::from_secs(self.config().telemetry.system_interval);
        let since = self.telemetry.sampled.map(|at| at.elapsed());
        if !interval.is_zero() && since.is_none_or(|since| since >= interval) {
            self.telemetry.sampled = Some(Instant::now());
            let system = self.telemetry.sampler.sample(self.step, self.folder.path());
            self.emit(Body::System(Box::new(system)));
        }
    }

    fn end_profile(&mut self) {
        let profile = self.trainer.profile.take();
        let profiling = self.telemetry.profiling.take();
        let (Some(profile), Some(profiling)) = (profile, profiling) else {
            return;
        };
        let limits = limits(&self.trainer);
        let known = limits.gflops.is_finite();
        let steps = usize::try_from(profiling.steps).unwrap_or(usize::MAX);
        let told = Breakdown::new(&profile, steps, profiling.seconds, &limits);
        let lines = told.lines.iter().map(|line| ProfiledLine {
            op: line.name.to_owned(),
            part: line.part.name().to_owned(),
            calls: line.calls,
            seconds: line.seconds,
            share: line.share,
            gflops: line.gflops,
            gbps: line.gbps,
            peak: line.peak.map(|peak| peak.of_peak),
            bound: line.peak.map(|peak| peak.bound.name().to_owned()),
        });
        let profiled = Profiled {
            step: self.step,
            steps: profiling.steps,
            step_seconds: told.step_seconds,
            rest_seconds: told.rest_seconds,
            roofline_seconds: told.roofline_seconds,
            peak_gflops: if known { limits.gflops } else { 0.0 },
            read_gbps: match limits.levels.last() {
                Some(level) if known => level.gbps,
                _ => 0.0,
            },
            lines: lines.collect(),
        };
        self.emit(Body::Profile(Box::new(profiled)));
    }
}

/// The limits of what trains as the run meets them, measured within some tens of milliseconds and without memory of their own:
/// reading the arena of the plan tells how fast a working set of its size is read, copying and multiplying in it what a
/// device does. Without bounds where nothing can be measured, so that no operation has a share of them.
fn limits(trainer: &Trainer) -> Limits {
    if trainer.gpu().is_some() {
        // A device that fails here fails in the next step, which says so.
        return trainer.device_limits().ok().flatten().unwrap_or(Limits {
            gflops: f64::INFINITY,
            levels: Vec::new(),
        });
    }
    let best = |run: &dyn Fn() -> f64| (0..TRIES).map(|_| run()).fold(0.0, f64::max);
    let (cpu, memory) = (&trainer.cpu, trainer.arena.as_f32());
    Limits {
        gflops: best(&|| peak::gflops(cpu, trainer.precision())),
        levels: vec![Level {
            bytes: u64::MAX,
            gbps: best(&|| peak::read_rate(cpu, memory)),
        }],
    }
}
