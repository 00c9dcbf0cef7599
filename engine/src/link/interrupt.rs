//! What signals ask of a run, and what the run tells of itself to whoever may have to end the process without it.
//!
//! Everything here is a number that is read and stored without waiting: a signal's thread may ask while the engine is
//! stuck in a disk or a device. Who ends the process then is the app's `signals`.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What a signal asks for. Signals only set this flag; the engine reads it at every micro-batch, in evaluation, sampling
/// and while it writes a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    save: AtomicBool,
    /// Seconds.
    grace: AtomicU64,
    doing: AtomicU8,
    step: AtomicU64,
    saved: AtomicU64,
    run: OnceLock<String>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            level: AtomicU8::new(0),
            save: AtomicBool::new(false),
            // Before a configuration says so: the default of `shutdown.grace_s`.
            grace: AtomicU64::new(60),
            doing: AtomicU8::new(Doing::Preparing as u8),
            step: AtomicU64::new(0),
            saved: AtomicU64::new(0),
            run: OnceLock::new(),
        }
    }
}

/// How urgent an interrupt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing asked.
    None,
    /// Stop at the next step with a checkpoint (first SIGINT).
    Stop,
    /// Write a checkpoint and leave the machine (SIGTERM, SIGUSR1).
    Preempt,
}

/// What a run is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Data, tokenizer, weights, plan: no step was begun.
    Preparing,
    /// The step of this number.
    Step,
    /// An evaluation after it.
    Evaluating,
    /// Samples after it.
    Sampling,
    /// The checkpoint of it.
    Saving,
    /// Commands, a pause.
    Between,
    /// Nothing more: the last event is written.
    Ended,
}

impl Doing {
    const ALL: [Self; 7] = [
        Self::Preparing,
        Self::Step,
        Self::Evaluating,
        Self::Sampling,
        Self::Saving,
        Self::Between,
        Self::Ended,
    ];

    /// As a part of a sentence that names the step.
    fn at(self, step: u64) -> String {
        match self {
            Self::Preparing => "while the run was prepared".to_owned(),
            Self::Step => format!("in step {step}"),
            Self::Evaluating => format!("in the evaluation after step {step}"),
            Self::Sampling => format!("in the samples after step {step}"),
            Self::Saving => format!("while the checkpoint of step {step} was written"),
            Self::Between => format!("after step {step}"),
            Self::Ended => format!("after the run had ended at step {step}"),
        }
    }
}

impl Interrupt {
    /// Asks for a stop; a preemption is not weakened by a later stop.
    pub fn raise(&self, urgency: Urgency) {
        self.0.level.fetch_max(urgency as u8, Ordering::SeqCst);
    }

    /// Asks for a checkpoint without stopping (SIGUSR2).
    pub fn raise_checkpoint(&self) {
        self.0.save.store(true, Ordering::SeqCst);
    }

    /// What is asked for.
    pub fn urgency(&self) -> Urgency {
        match self.0.level.load(Ordering::SeqCst) {
            0 => Urgency::None,
            1 => Urgency::Stop,
            _ => Urgency::Preempt,
        }
    }

    /// Whether anything ends what the process is doing: what long work asks between two pieces.
    pub fn is_raised(&self) -> bool {
        self.urgency() != Urgency::None
    }

    /// Whether a checkpoint was asked for since the last call.
    pub fn take_checkpoint(&self) -> bool {
        self.0.save.swap(false, Ordering::SeqCst)
    }

    /// Says how long a signal may go unanswered, in seconds; 0: for ever (`shutdown.grace_s`).
    pub fn set_grace(&self, seconds: u64) {
        self.0.grace.store(seconds, Ordering::SeqCst);
    }

    /// How long a signal may go unanswered; none: for ever.
    pub fn grace(&self) -> Option<Duration> {
        match self.0.grace.load(Ordering::SeqCst) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }

    /// Says which run this is; the first word counts.
    pub fn tell_run(&self, name: &str) {
        // Said twice only by a run that is made anew in the same process, which none is.
        drop(self.0.run.set(name.to_owned()));
    }

    /// Says what the run is busy with, and at which step.
    pub fn tell(&self, doing: Doing, step: u64) {
        self.0.step.store(step, Ordering::SeqCst);
        self.0.doing.store(doing as u8, Ordering::SeqCst);
    }

    /// Says which step the newest good checkpoint is of; 0: there is none.
    pub fn tell_saved(&self, step: u64) {
        self.0.saved.store(step, Ordering::SeqCst);
    }

    /// What the run is busy with.
    pub fn doing(&self) -> Doing {
        let number = self.0.doing.load(Ordering::SeqCst);
        let found = Doing::ALL.into_iter().find(|doing| *doing as u8 == number);
        found.unwrap_or(Doing::Preparing)
    }

    /// A part of a line for people: where a run stands that is left now, which checkpoint is good, and how to go on.
    pub fn farewell(&self) -> String {
        let (doing, step) = (self.doing(), self.0.step.load(Ordering::SeqCst));
        let left = format!("left {}", doing.at(step));
        let saved = self.0.saved.load(Ordering::SeqCst);
        let good = match saved {
            0 => "there is no checkpoint, and --resume begins at step 0".to_owned(),
            _ => format!("the last good checkpoint is that of step {saved}"),
        };
        match self.0.run.get() {
            Some(run) if doing != Doing::Preparing => {
                format!("{left}; {good}; go on with zerollm train --run {run} --resume")
            }
            _ => format!("{left}; nothing was trained"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_only_grow() {
        let interrupt = Interrupt::default();
        interrupt.raise(Urgency::Preempt);
        interrupt.raise(Urgency::Stop);
        assert_eq!(interrupt.urgency(), Urgency::Preempt);
        interrupt.raise_checkpoint();
        assert!(interrupt.take_checkpoint() && !interrupt.take_checkpoint());
    }

    #[test]
    fn a_run_that_is_left_says_where_it_stands() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.grace(), Some(Duration::from_mins(1)));
        assert_eq!(
            interrupt.farewell(),
            "left while the run was prepared; nothing was trained"
        );
        interrupt.tell_run("play");
        interrupt.tell(Doing::Step, 3);
        interrupt.set_grace(0);
        assert_eq!(interrupt.grace(), None);
        assert_eq!(
            interrupt.farewell(),
            "left in step 3; there is no checkpoint, and --resume begins at step 0; go on with zerollm train --run play --resume"
        );
        interrupt.tell_saved(2);
        for doing in Doing::ALL {
            interrupt.clone().tell(doing, 4);
            assert_eq!(interrupt.doing(), doing);
            let told = interrupt.farewell();
            let begun = doing != Doing::Preparing;
            assert_eq!(told.contains("that of step 2"), begun, "{told}");
            assert_eq!(told.contains("step 4"), begun, "{told}");
        }
    }
}
