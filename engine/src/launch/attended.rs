//! Preparation that a signal can end: it works on a thread of its own, and the caller's thread watches for signals.
//!
//! The long loops ask for signals themselves and stop in good order. What cannot ask (a file that does not answer, one
//! long sort) is left behind after [`GRACE`]: the process is about to end, and nothing that it writes is taken for whole
//! before it is renamed. Next: [`super`].

use super::LaunchError;
use crate::data::Cache;
use crate::link::{Interrupt, Urgency};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How long the work may take to stop by itself.
const GRACE: Duration = Duration::from_millis(500);

/// Does `work` and passes what it says on to `progress`.
///
/// # Errors
/// Those of `work`, and [`LaunchError::Interrupted`] once a signal asks for an end, whatever became of the work.
pub(super) fn attended<T: Send + 'static>(
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
    work: impl FnOnce(&Interrupt, &mut dyn FnMut(&str)) -> Result<T, LaunchError> + Send + 'static,
) -> Result<T, LaunchError> {
    let (told, tells) = channel::<String>();
    let watched = interrupt.clone();
    let worker = thread::Builder::new()
        .name("prepare".to_owned())
        .spawn(move || {
            // A caller that has gone needs no words.
            work(&watched, &mut |what| drop(told.send(what.to_owned())))
        })
        .map_err(|error| LaunchError::Unusable(format!("the system gives no thread: {error}")))?;
    let mut asked: Option<Instant> = None;
    loop {
        match tells.recv_timeout(LOOK) {
            Ok(what) => progress(&what),
            Err(RecvTimeoutError::Timeout) => {}
            // The work is done: its end of the channel has gone.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt.is_raised() && asked.get_or_insert_with(Instant::now).elapsed() > GRACE {
            if let Some(cache) = Cache::of_user() {
                cache.discard_unfinished();
            }
            return Err(interrupted(interrupt));
        }
    }
    let outcome = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
    if interrupt.is_raised() {
        return Err(interrupted(interrupt));
    }
    outcome
}

fn interrupted(interrupt: &Interrupt) -> LaunchError {
    LaunchError::Interrupted {
        preempted: interrupt.urgency() == Urgency::Preempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_and_its_words_are_passed_on() {
        let mut words = Vec::new();
        let done = attended(
            &Interrupt::default(),
            &mut |what| words.push(what.to_owned()),
            |_, progress| {
                progress("one");
                progress("two");
                Ok(3)
            },
        );
        assert_eq!(done.unwrap(), 3);
        assert_eq!(words, ["one", "two"]);
    }

    #[test]
    fn work_that_does_not_stop_is_left_behind() {
        for (urgency, code) in [(Urgency::Stop, 130), (Urgency::Preempt, 75)] {
            let interrupt = Interrupt::default();
            let begin = Instant::now();
            let left = attended(&interrupt, &mut |_| {}, move |interrupt, _| {
                interrupt.raise(urgency);
                thread::sleep(Duration::from_secs(30));
                Ok(())
            });
            assert_eq!(left.unwrap_err().exit_code(), code);
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn what_is_finished_after_a_signal_is_not_used() {
        let interrupt = Interrupt::default();
        let done = attended(&interrupt, &mut |_| {}, |interrupt, _| {
            interrupt.raise(Urgency::Stop);
            Ok(())
        });
        assert!(matches!(
            done,
            Err(LaunchError::Interrupted { preempted: false })
        ));
    }
}
