//! Samples that can be believed.
//!
//! Two virtual processors may share one core for stretches of time, or other programs may want them: what is timed then is
//! another machine. So the peak of multiply-adds is taken before and after every batch of samples (some milliseconds each),
//! and where the system says how long threads that could run waited for a processor (Linux), that is asked too. Samples
//! beside a peak that is clearly below the best one seen, or that had to wait, are dropped, and taken again while there is
//! time.

use kernels::Cpu;
use kernels::Precision;
use kernels::cpu::peak;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Below this share of the best peak seen the machine is taken to be disturbed.
const CLEAN: f64 = 0.85;
/// Above this share of the time, added up over all threads, waiting for a processor is a disturbance. A peak does not show
/// it: it is short enough to be over before another program's turn comes.
pub const WAITED: f64 = 0.05;
/// Samples between two peaks take about so many seconds, or one sample.
const BATCH: f64 = 0.05;
/// Peaks taken before the first sample, so that one disturbance then does not pass for the best.
const FIRST: usize = 5;

/// Where peaks and the time come from: the machine, or a test.
pub trait Source {
    /// Peak of multiply-adds in `f32`, in GFLOP/s, taken in some milliseconds.
    fn peak(&mut self) -> f64;
    /// Seconds since some moment.
    fn now(&mut self) -> f64;
    /// Seconds that threads of this process have waited for a processor so far; 0 where nobody knows.
    fn waited(&mut self) -> f64;
}

/// This machine.
#[derive(Debug)]
pub struct Live {
    cpu: Cpu,
    start: Instant,
}

impl Source for Live {
    fn peak(&mut self) -> f64 {
        peak::gflops(&self.cpu, Precision::F32)
    }

    fn now(&mut self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn waited(&mut self) -> f64 {
        waited()
    }
}

/// Seconds that threads of this process have waited for a processor so far; 0 where the system does not say.
pub fn waited() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        waiting(&text)
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// Nanoseconds of waiting in a `schedstat`: time on a processor, time waiting for one, number of turns.
fn waiting(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

/// How many samples to take.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Undisturbed samples.
    pub clean: usize,
    /// Go on for so long, even if there are enough.
    pub least: Duration,
    /// Stop after so long, even if there are not; but never with fewer than `clean` samples in all.
    pub limit: Duration,
}

/// Most samples of one measurement.
const MOST: usize = 1000;

/// What was taken.
#[derive(Clone, Debug)]
pub struct Samples<T> {
    /// The samples that count: the undisturbed ones, or all where there is no such.
    pub kept: Vec<T>,
    /// Samples taken.
    pub taken: usize,
    /// Those left out.
    pub dropped: usize,
    /// Whether every sample was disturbed.
    pub all_disturbed: bool,
}

/// What became of the samples of one or more measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples taken.
    pub taken: usize,
    /// Those left out.
    pub dropped: usize,
    /// Samples of measurements that were disturbed throughout, and are kept all the same.
    pub disturbed: usize,
}

impl Tally {
    /// Adds a measurement.
    pub fn add<T>(&mut self, samples: &Samples<T>) {
        self.taken += samples.taken;
        self.dropped += samples.dropped;
        if samples.all_disturbed {
            self.disturbed += samples.taken;
        }
    }

    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.taken += other.taken;
        self.dropped += other.dropped;
        self.disturbed += other.disturbed;
    }

    /// What to say of disturbances; nothing where there were none.
    pub fn note(&self) -> Option<String> {
        let Self {
            taken,
            dropped,
            disturbed,
        } = *self;
        let mut parts = Vec::new();
        if dropped > 0 {
            parts.push(format!("{dropped} of {taken} dropped"));
        }
        if disturbed > 0 {
            parts.push(format!(
                "{disturbed} of {taken} kept for want of better ones"
            ));
        }
        (!parts.is_empty()).then(|| format!("{}: the machine was disturbed", parts.join(", ")))
    }

    /// Adds `samples`, `dropped` and `disturbed` to an object.
    pub fn put(&self, object: &mut Value) {
        object["samples"] = json!(self.taken);
        object["dropped"] = json!(self.dropped);
        object["disturbed"] = json!(self.disturbed);
    }
}

impl<T> Samples<T> {
    /// The tally of this one measurement.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        tally.add(self);
        tally
    }
}

/// Takes samples and judges them by the peaks around them. One serves all measurements of a command, so that the best peak
/// is that of all of them.
#[derive(Debug)]
pub struct Calibrator<S = Live> {
    source: S,
    best: f64,
    /// Shortens [`Wanted::limit`].
    limit: Duration,
}

impl Calibrator {
    /// For measurements with `threads` threads, none of which takes longer than `limit` but for its first samples.
    pub fn new(threads: usize, limit: Duration) -> Self {
        let source = Live {
            cpu: Cpu::new(threads),
            start: Instant::now(),
        };
        Self::with(source, limit)
    }
}

impl<S: Source> Calibrator<S> {
    fn with(mut source: S, limit: Duration) -> Self {
        let best = (0..FIRST).map(|_| source.peak()).fold(0.0, f64::max);
        Self {
            source,
            best,
            limit,
        }
    }

    /// The best peak seen, in GFLOP/s.
    pub fn best(&self) -> f64 {
        self.best
    }

    fn peak(&mut self) -> f64 {
        let peak = self.source.peak();
        self.best = self.best.max(peak);
        peak
    }

    /// Calls `run` until there are the samples `wanted`.
    pub fn sample<T>(&mut self, wanted: &Wanted, mut run: impl FnMut() -> T) -> Samples<T> {
        let mut taken: Vec<(f64, T)> = Vec::new();
        let limit = wanted.limit.min(self.limit);
        let begin = self.source.now();
        let mut before = self.peak();
        loop {
            let (start, waited) = (self.source.now(), self.source.waited());
            let mut batch = vec![run()];
            while self.source.now() - start < BATCH && taken.len() + batch.len() < MOST {
                batch.push(run());
            }
            let waited = self.source.waited() - waited;
            let calm = waited <= WAITED * (self.source.now() - start);
            let after = self.peak();
            let calibration = if calm { before.min(after) } else { 0.0 };
            before = after;
            taken.extend(batch.into_iter().map(|sample| (calibration, sample)));
            let clean = taken
                .iter()
                .filter(|(peak, _)| self.is_clean(*peak))
                .count();
            let elapsed = Duration::from_secs_f64((self.source.now() - begin).max(0.0));
            let enough = clean >= wanted.clean && elapsed >= wanted.least;
            let late = taken.len() >= wanted.clean && elapsed >= limit;
            if enough || late || taken.len() >= MOST {
                return self.judge(taken);
            }
        }
    }

    fn is_clean(&self, peak: f64) -> bool {
        peak >= CLEAN * self.best
    }

    fn judge<T>(&self, samples: Vec<(f64, T)>) -> Samples<T> {
        let taken = samples.len();
        let clean = samples
            .iter()
            .filter(|(peak, _)| self.is_clean(*peak))
            .count();
        let all_disturbed = clean == 0;
        let kept = samples
            .into_iter()
            .filter(|(peak, _)| all_disturbed || self.is_clean(*peak))
            .map(|(_, sample)| sample)
            .collect();
        Samples {
            kept,
            taken,
            dropped: if all_disturbed { 0 } else { taken - clean },
            all_disturbed,
        }
    }
}

/// Lower quartile, median, upper quartile.
pub fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| values.get(last * quarter / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A clock that the samples move, and peaks from a list (the last one for ever).
    struct Fake {
        clock: Rc<Cell<f64>>,
        peaks: Vec<f64>,
        next: usize,
        /// Before this time a thread waits half of the time.
        busy_until: f64,
    }

    impl Source for Fake {
        fn peak(&mut self) -> f64 {
            let at = self.next.min(self.peaks.len() - 1);
            self.next += 1;
            self.peaks[at]
        }

        fn now(&mut self) -> f64 {
            self.clock.get()
        }

        fn waited(&mut self) -> f64 {
            self.clock.get().min(self.busy_until) / 2.0
        }
    }

    /// Takes samples of `seconds` each between the given peaks; the samples are numbered from 0.
    fn sampled(peaks: &[f64], seconds: f64, wanted: &Wanted) -> Samples<usize> {
        busy(0.0, peaks, seconds, wanted)
    }

    /// As [`sampled`], with other programs until some time.
    fn busy(until: f64, peaks: &[f64], seconds: f64, wanted: &Wanted) -> Samples<usize> {
        let clock = Rc::new(Cell::new(0.0));
        let mut all = vec![100.0; FIRST];
        all.extend(peaks);
        let source = Fake {
            clock: Rc::clone(&clock),
            peaks: all,
            next: 0,
            busy_until: until,
        };
        let mut calibrator = Calibrator::with(source, Duration::from_secs(50));
        assert_eq!(calibrator.best(), 100.0);
        let mut number = 0;
        calibrator.sample(wanted, || {
            clock.set(clock.get() + seconds);
            number += 1;
            number - 1
        })
    }

    fn wanted(clean: usize, limit: u64) -> Wanted {
        Wanted {
            clean,
            least: Duration::ZERO,
            limit: Duration::from_secs(limit),
        }
    }

    #[test]
    fn samples_beside_a_low_peak_are_dropped_and_taken_again() {
        // The third peak is low: the samples before and after it are disturbed.
        let peaks = [100.0, 95.0, 50.0, 100.0];
        let told = sampled(&peaks, 1.0, &wanted(3, 100));
        assert_eq!(told.kept, [0, 3, 4]);
        assert_eq!((told.taken, told.dropped), (5, 2));
        let note = told.tally().note().unwrap();
        assert_eq!(note, "2 of 5 dropped: the machine was disturbed");
        assert_eq!(sampled(&[100.0], 1.0, &wanted(3, 100)).tally().note(), None);
    }

    #[test]
    fn the_limit_ends_it_but_not_before_there_are_samples() {
        // Every second peak is low, so that nothing is ever clean.
        let peaks: Vec<f64> = (0..100).map(|i| [100.0, 40.0][i % 2]).collect();
        let told = sampled(&peaks, 1.0, &wanted(3, 7));
        assert_eq!(told.kept, [0, 1, 2, 3, 4, 5, 6]);
        assert!(told.all_disturbed && told.dropped == 0);
        let note = told.tally().note().unwrap();
        assert!(note.starts_with("7 of 7 kept for want"), "{note}");
        let told = sampled(&peaks, 10.0, &wanted(3, 7));
        assert_eq!(told.taken, 3);
        // The calibrator's own limit is 50 seconds.
        let told = sampled(&peaks, 10.0, &wanted(3, 1000));
        assert_eq!(told.taken, 5);
    }

    #[test]
    fn a_better_peak_found_later_condemns_what_went_before() {
        let peaks = [100.0, 100.0, 200.0, 200.0, 200.0];
        // One is enough before the better peak is seen; two are not found before it, and then neither counts.
        assert_eq!(sampled(&peaks, 1.0, &wanted(1, 100)).kept, [0]);
        let told = sampled(&peaks, 1.0, &wanted(2, 100));
        assert_eq!((told.kept, told.dropped), (vec![2, 3], 2));
    }

    #[test]
    fn samples_that_waited_for_a_processor_are_dropped_though_the_peak_is_high() {
        let told = busy(3.5, &[100.0], 1.0, &wanted(2, 100));
        assert_eq!((told.kept, told.dropped), (vec![4, 5], 4));
        assert_eq!(waiting("123 4567 89\n"), Some(4567));
        assert_eq!(waiting(""), None);
    }

    #[test]
    fn short_samples_share_their_peaks() {
        let peaks = [100.0, 100.0, 30.0, 100.0];
        // Eleven milliseconds each: five to a batch.
        let told = sampled(&peaks, 0.011, &wanted(6, 100));
        let batches = told.taken / 5;
        assert_eq!((told.taken, told.dropped), (batches * 5, 10), "{told:?}");
        assert_eq!(told.kept[..5], [0, 1, 2, 3, 4]);
        assert_eq!(told.kept[5], 15);
    }

    #[test]
    fn it_goes_on_for_as_long_as_is_asked() {
        let wanted = Wanted {
            clean: 2,
            least: Duration::from_secs(6),
            limit: Duration::from_secs(100),
        };
        assert_eq!(sampled(&[100.0], 1.0, &wanted).taken, 6);
        assert_eq!(sampled(&[100.0], 1e-9, &wanted).taken, MOST);
    }

    #[test]
    fn quartiles_are_of_the_sorted() {
        assert_eq!(quartiles(vec![5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(vec![7.0]), [7.0; 3]);
    }
}
