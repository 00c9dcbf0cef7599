//! The hard timer: who asks a run to end by a signal is answered within `shutdown.grace_s`, also where the engine is stuck in
//! a disk, a device or a library that does not come back.
//!
//! Nothing of the run is touched then. A checkpoint is complete under its name or not there, so the last good one stands
//! whatever was being written; the record's last line may be torn, which its readers know.

use crate::text;
use engine::link::{Doing, Interrupt, Urgency};
use engine::train::run::HOOKS_PATIENCE;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// What one look counts at most: a process that was stopped meanwhile (SIGSTOP) had no time to answer.
const MOST: Duration = Duration::from_secs(1);
/// What a run that has ended in good order gets besides: for the commands of its alerts, which it waits for, and its last
/// lines.
const LAST_LINES: Duration = HOOKS_PATIENCE.saturating_add(Duration::from_secs(5));
/// How long a terminal may take to be tidied up.
const TIDY: Duration = Duration::from_secs(2);

/// What the process does about a signal that is not answered.
#[derive(Clone, Debug)]
pub struct Grace {
    /// Exit code where the machine was asked for.
    pub preempted: u8,
    /// The folder of runs, where the command line names one: who goes on must name it too.
    pub runs: Option<PathBuf>,
}

impl Grace {
    /// Begins to wait for the end of the run that `signal` asked for, in a thread of its own.
    pub fn begin(self, interrupt: &Interrupt, signal: &'static str) {
        let interrupt = interrupt.clone();
        let wait = move || {
            let mut waited = Waited::default();
            let mut looked = Instant::now();
            let seconds = loop {
                sleep(LOOK);
                let now = Instant::now();
                if let Some(limit) = waited.over(&interrupt, now - looked) {
                    break limit.as_secs();
                }
                looked = now;
            };
            let line = self.line(signal, seconds, &interrupt.farewell());
            exit(self.code(interrupt.urgency()), line)
        };
        // Without a thread it is as with `shutdown.grace_s = 0`: whoever sent the signal has others.
        drop(Builder::new().name("grace".to_owned()).spawn(wait));
    }

    fn line(&self, signal: &str, seconds: u64, farewell: &str) -> String {
        let runs = match &self.runs {
            Some(runs) if farewell.ends_with("--resume") => format!(" --runs {}", runs.display()),
            _ => String::new(),
        };
        let line = format!(
            "zerollm: {signal} was not answered within {seconds} s (shutdown.grace_s): {farewell}{runs}"
        );
        format!("{}\n", text::escape(&line))
    }

    fn code(&self, urgency: Urgency) -> u8 {
        match urgency {
            Urgency::Preempt => self.preempted,
            Urgency::Stop | Urgency::None => 130,
        }
    }
}

/// How long the run had to answer.
#[derive(Debug, Default)]
struct Waited(Duration);

impl Waited {
    /// Counts the time since the last look. The limit, if that is over; it may be another than at the last look.
    fn over(&mut self, interrupt: &Interrupt, since: Duration) -> Option<Duration> {
        self.0 += since.min(MOST);
        let limit = interrupt.grace()?;
        let more = match interrupt.doing() {
            Doing::Ended => LAST_LINES,
            _ => Duration::ZERO,
        };
        (self.0 >= limit + more).then_some(limit)
    }
}

/// Exits with a last line, if there is one. The terminal is given back, unless it takes nothing any more; nothing else is
/// waited for, not even what libraries do at an exit in good order.
pub fn exit(code: u8, line: String) -> ! {
    let farewell = Builder::new().name("farewell".to_owned());
    tidy(farewell, TIDY, move || {
        crate::terminal::restore();
        // Whoever closed stderr does not want to know.
        drop(std::io::stderr().write_all(line.as_bytes()));
    });
    signal_hook::low_level::exit(i32::from(code))
}

/// Does `work` in a thread, which is waited for no longer than `limit`. Where the system gives no thread it is done here,
/// without a limit: a terminal in raw mode is certain then, one that takes no more bytes is not.
fn tidy(thread: Builder, limit: Duration, work: impl Fn() + Send + Sync + 'static) {
    let work = Arc::new(work);
    let own = Arc::clone(&work);
    let Ok(thread) = thread.spawn(move || own()) else {
        work();
        return;
    };
    let begin = Instant::now();
    while !thread.is_finished() && begin.elapsed() < limit {
        sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_one_in_force_and_a_stopped_process_is_not_blamed() {
        let interrupt = Interrupt::default();
        interrupt.set_grace(3);
        let mut waited = Waited::default();
        let mut look = |seconds| waited.over(&interrupt, Duration::from_millis(seconds));
        assert_eq!(look(900), None);
        // An hour in which the process was stopped.
        assert_eq!(look(3_600_000), None);
        assert_eq!(look(1000), None);
        interrupt.set_grace(0);
        assert_eq!((look(1000), look(1000)), (None, None));
        interrupt.set_grace(5);
        assert_eq!(look(50), None);
        // The run is over: it may say so, and the commands of its alerts may end.
        interrupt.tell(Doing::Ended, 7);
        let waits = (0..=HOOKS_PATIENCE.as_secs()).all(|_| look(1000).is_none());
        assert!(waits);
        interrupt.tell(Doing::Between, 7);
        assert_eq!(look(0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_terminal_is_tidied_up_with_and_without_a_thread() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let done = Arc::new(AtomicU32::new(0));
        let tidied = |thread: Builder, limit| {
            let done = Arc::clone(&done);
            tidy(thread, limit, move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
        };
        tidied(Builder::new(), Duration::from_secs(20));
        assert_eq!(done.load(Ordering::SeqCst), 1);
        // No system has room for such a thread.
        let none = || Builder::new().stack_size(1 << 60);
        assert!(none().spawn(|| ()).is_err());
        tidied(none(), Duration::ZERO);
        assert_eq!(done.load(Ordering::SeqCst), 2);
        // What does not come back is not waited for.
        let begin = Instant::now();
        tidy(Builder::new(), Duration::from_millis(10), || {
            sleep(Duration::from_mins(1));
        });
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_code_is_that_of_the_strongest_signal_and_the_line_says_how_to_go_on() {
        let grace = Grace {
            preempted: 85,
            runs: Some("my\x1bruns".into()),
        };
        assert_eq!(grace.code(Urgency::Stop), 130);
        assert_eq!(grace.code(Urgency::Preempt), 85);
        assert_eq!(
            grace.line("SIGTERM", 3, "go on with --resume"),
            "zerollm: SIGTERM was not answered within 3 s (shutdown.grace_s): go on with --resume --runs my\\x1bruns\n"
        );
        let line = grace.line("SIGINT", 3, "nothing was trained");
        assert!(line.ends_with("nothing was trained\n"));
    }
}
