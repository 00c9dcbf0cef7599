//! Where the time of training steps goes, and where it would go at the limits of the machine: arithmetic, no clock.
//!
//! A replay fills a [`Profile`] ([`crate::tape::run::Replay::profile`]), the trainer adds the clipping norm and the
//! optimizer. [`Breakdown`] turns it into lines for a table or a screen, beside the roofline (Williams, Waterman and
//! Patterson 2009, "Roofline: an insightful visual performance model for multicore architectures"): an operation takes at
//! least the time of its floating-point operations at the peak, and at least that of its bytes at the bandwidth of where
//! they lie.

use std::cmp::Ordering;

/// What a line of a profile was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A forward.
    Forward,
    /// A forward of a recompute region, for its backward.
    Recompute,
    /// A backward.
    Backward,
    /// The clipping norm or the optimizer.
    Update,
}

impl Part {
    /// The word for it, as tables and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Recompute => "recompute",
            Self::Backward => "backward",
            Self::Update => "update",
        }
    }
}

/// Name of the line for the norm of the gradient.
pub const CLIP_NORM: &str = "clip norm";
/// Name of the line for the optimizer.
pub const OPTIMIZER: &str = "optimizer";

/// Work that was done in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Time in all.
    pub seconds: f64,
    /// Calls.
    pub calls: u64,
    /// Floating-point operations in all; a multiply-add counts two.
    pub flops: u64,
    /// Bytes that have to be read and written in all: each tensor once a call, one that is added to twice.
    pub bytes: u64,
}

impl Work {
    fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.calls += other.calls;
        self.flops += other.flops;
        self.bytes += other.bytes;
    }

    /// 10^9 floating-point operations a second.
    pub fn gflops(&self) -> f64 {
        self.flops as f64 / self.seconds.max(1e-12) / 1e9
    }

    /// 10^9 bytes a second.
    pub fn gbps(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(1e-12) / 1e9
    }
}

/// One line of a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRow {
    /// Operation, [`CLIP_NORM`] or [`OPTIMIZER`].
    pub name: &'static str,
    /// What it was doing.
    pub part: Part,
    /// How much, and in what time.
    pub work: Work,
}

/// Time spent in each operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// A row an operation and part, in the order in which they first came.
    pub rows: Vec<ProfileRow>,
}

impl Profile {
    /// Adds work of an operation.
    pub fn add(&mut self, name: &'static str, part: Part, work: &Work) {
        let mut rows = self.rows.iter_mut();
        match rows.find(|row| row.name == name && row.part == part) {
            Some(row) => row.work.add(work),
            None => self.rows.push(ProfileRow {
                name,
                part,
                work: *work,
            }),
        }
    }

    /// Adds another profile.
    pub fn merge(&mut self, other: &Self) {
        for row in &other.rows {
            self.add(row.name, row.part, &row.work);
        }
    }
}

/// Memory of one kind: a cache, or the main memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Largest working set that it holds, in bytes; `u64::MAX` for the main memory.
    pub bytes: u64,
    /// Reads in order by all threads, in 10^9 bytes a second.
    pub gbps: f64,
}

/// What a machine can do at most, as far as a roofline needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Peak of multiply-adds by all threads, in GFLOP/s, in the precision of the run.
    pub gflops: f64,
    /// From the smallest to the largest; the last holds everything.
    pub levels: Vec<Level>,
}

/// Which limit holds an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Floating-point operations.
    Operations,
    /// Bytes.
    Memory,
}

impl Bound {
    /// Its letter in tables.
    pub fn letter(self) -> char {
        match self {
            Self::Operations => 'f',
            Self::Memory => 'm',
        }
    }

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Memory => "memory",
        }
    }
}

/// Shares of the peak above this are none.
const MOST: f64 = 1.5;

/// Share of the peak: 1 where the limit itself is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Least possible time over the time taken.
    pub of_peak: f64,
    /// The limit that it is a share of.
    pub bound: Bound,
}

impl Limits {
    /// Bandwidth for a working set of `bytes` bytes: that of the smallest level that holds it, in GB/s.
    pub fn gbps(&self, bytes: u64) -> f64 {
        let level = self.levels.iter().find(|level| bytes <= level.bytes);
        level
            .or(self.levels.last())
            .map_or(f64::INFINITY, |level| level.gbps)
    }

    /// Least time for `work`, in seconds, and what bounds it. The working set is that of one call.
    pub fn seconds(&self, work: &Work) -> (f64, Bound) {
        let operations = work.flops as f64 / 1e9 / self.gflops;
        let memory = work.bytes as f64 / 1e9 / self.gbps(work.bytes / work.calls.max(1));
        match operations.partial_cmp(&memory) {
            Some(Ordering::Less) => (memory, Bound::Memory),
            _ => (operations, Bound::Operations),
        }
    }

    /// Share of the peak that `work` reached. None where nothing was counted, or where more than one and a half times the
    /// peak shows that the bytes counted were not all moved (a gradient made in place, a cache that others filled).
    pub fn share(&self, work: &Work) -> Option<Share> {
        let (least, bound) = self.seconds(work);
        let of_peak = least / work.seconds;
        (of_peak > 0.0 && of_peak <= MOST).then_some(Share { of_peak, bound })
    }
}

/// One line of a [`Breakdown`]; everything is of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Operation, [`CLIP_NORM`] or [`OPTIMIZER`].
    pub name: &'static str,
    /// What it was doing.
    pub part: Part,
    /// Calls a step.
    pub calls: u64,
    /// Seconds a step.
    pub seconds: f64,
    /// Share of the step's time.
    pub share: f64,
    /// GFLOP/s; 0 where none were counted.
    pub gflops: f64,
    /// GB/s.
    pub gbps: f64,
    /// Share of the machine's peak, as [`Limits::share`] gives it.
    pub peak: Option<Share>,
    /// Seconds a step at the machine's limits; at most `seconds`.
    pub roofline_seconds: f64,
}

/// Where the time of a step goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Breakdown {
    /// A line an operation and part, the longest first.
    pub lines: Vec<Line>,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// What belongs to no line: inputs, statistics, the loop itself.
    pub rest_seconds: f64,
    /// Sum of the lines' [`Line::roofline_seconds`]: the step, if every operation ran at the limits of the machine and
    /// nothing else took time.
    pub roofline_seconds: f64,
}

impl Breakdown {
    /// Of the profile of `steps` steps that took `seconds` seconds in all.
    pub fn new(profile: &Profile, steps: usize, seconds: f64, limits: &Limits) -> Self {
        let steps = steps.max(1) as f64;
        let step_seconds = seconds / steps;
        let mut lines: Vec<Line> = profile
            .rows
            .iter()
            .map(|row| {
                let work = &row.work;
                let own = work.seconds / steps;
                Line {
                    name: row.name,
                    part: row.part,
                    calls: (work.calls as f64 / steps).round() as u64,
                    seconds: own,
                    share: own / step_seconds,
                    gflops: work.gflops(),
                    gbps: work.gbps(),
                    peak: limits.share(work),
                    roofline_seconds: (limits.seconds(work).0 / steps).min(own),
                }
            })
            .collect();
        lines.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let known: f64 = lines.iter().map(|line| line.seconds).sum();
        Self {
            step_seconds,
            rest_seconds: (step_seconds - known).max(0.0),
            roofline_seconds: lines.iter().map(|line| line.roofline_seconds).sum(),
            lines,
        }
    }

    /// Share of the step's time that is left at the machine's limits.
    pub fn roofline_share(&self) -> f64 {
        self.roofline_seconds / self.step_seconds
    }

    /// Share of the step's time that belongs to no line.
    pub fn rest_share(&self) -> f64 {
        self.rest_seconds / self.step_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let level = |bytes, gbps| Level { bytes, gbps };
        Limits {
            gflops: 100.0,
            levels: vec![level(1_000, 500.0), level(u64::MAX, 10.0)],
        }
    }

    fn work(seconds: f64, calls: u64, flops: u64, bytes: u64) -> Work {
        Work {
            seconds,
            calls,
            flops,
            bytes,
        }
    }

    #[test]
    fn the_larger_limit_binds_and_a_small_set_lies_in_the_cache() {
        let limits = limits();
        // 2 GFLOP at 100 GFLOP/s against 0.1 GB at 10 GB/s.
        let (seconds, bound) = limits.seconds(&work(1.0, 1, 2_000_000_000, 100_000_000));
        assert_eq!((seconds, bound), (0.02, Bound::Operations));
        let (seconds, bound) = limits.seconds(&work(1.0, 1, 0, 100_000_000));
        assert_eq!((seconds, bound), (0.01, Bound::Memory));
        // The same bytes in calls of 1000 are read from the cache.
        let (seconds, _) = limits.seconds(&work(1.0, 100_000, 0, 100_000_000));
        assert!((seconds - 0.1 / 500.0).abs() < 1e-12);
        let share = limits
            .share(&work(0.04, 1, 2_000_000_000, 100_000_000))
            .unwrap();
        assert_eq!((share.of_peak, share.bound), (0.5, Bound::Operations));
        assert_eq!(limits.share(&work(1.0, 1, 0, 0)), None);
        assert_eq!(limits.share(&work(0.0, 1, 1, 1)), None);
    }

    #[test]
    fn lines_rest_and_roofline_add_up() {
        let mut profile = Profile::default();
        // Two steps of 0.5 s: a product at half the peak, a pass over memory at the limit, and one that moved less than was
        // counted.
        for _ in 0..2 {
            profile.add(
                "linear",
                Part::Forward,
                &work(0.2, 4, 10_000_000_000, 1_000_000),
            );
            let update = work(0.1, 1, 0, 1_000_000_000);
            profile.add(OPTIMIZER, Part::Update, &update);
        }
        let mut other = Profile::default();
        other.add("add", Part::Backward, &work(0.1, 2, 0, 4_000_000_000));
        profile.merge(&other);
        let told = Breakdown::new(&profile, 2, 1.0, &limits());
        let names: Vec<_> = told.lines.iter().map(|line| line.name).collect();
        assert_eq!(names, ["linear", OPTIMIZER, "add"]);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(told.step_seconds, 0.5);
        near(told.rest_seconds, 0.5 - 0.2 - 0.1 - 0.05);
        let linear = &told.lines[0];
        assert_eq!((linear.calls, linear.part), (4, Part::Forward));
        near(linear.share, 0.4);
        near(linear.gflops, 50.0);
        near(linear.peak.unwrap().of_peak, 0.5);
        near(told.lines[1].peak.unwrap().of_peak, 1.0);
        assert_eq!(told.lines[1].peak.unwrap().bound, Bound::Memory);
        // 4 GB in 0.1 s is four times what the memory gives: no share, and no more than its own time in the roofline.
        assert_eq!(told.lines[2].peak, None);
        near(told.roofline_seconds, 0.1 + 0.1 + 0.05);
        near(told.roofline_share(), 0.5);
        let shares: f64 = told.lines.iter().map(|line| line.share).sum();
        near(shares + told.rest_share(), 1.0);
    }
}
