//! What the screen takes from the training: the processor time of its threads.
//!
//! A step's own time says little about it: on a machine that does other things two runs differ by more than a screen
//! costs. The system counts what each thread has had of the processors, to the nanosecond, whatever else runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that the calling thread has had on a processor so far; none where the system does not say.
pub fn thread_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).ok()
    }
    #[cfg(not(unix))]
    None
}

/// The time of another thread, as it last noted it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Notes the calling thread's time. One thread does that for each clock.
    pub fn note(&self) {
        let time = thread_time().unwrap_or_default();
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// What was last noted.
    pub fn read(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_threads_time_is_its_work_and_not_its_sleep() {
        let clock = Clock::default();
        let (own, other) = (thread_time().unwrap(), clock.clone());
        let worked = std::thread::spawn(move || {
            let begin = Instant::now();
            while thread_time().unwrap() < Duration::from_millis(20) {
                std::hint::black_box(begin.elapsed());
            }
            other.note();
        });
        worked.join().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let own = thread_time().unwrap().checked_sub(own).unwrap();
        let noted = clock.read();
        assert!(
            noted >= Duration::from_millis(20) && noted < Duration::from_millis(40),
            "{noted:?}"
        );
        assert!(own < Duration::from_millis(15), "{own:?}");
    }
}
