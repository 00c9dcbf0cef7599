//! The loader: a thread that has the next steps' batches ready.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::{Batch, Dataset};

/// Steps that lie ready.
const AHEAD: usize = 2;

/// The data of one optimizer step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepData {
    /// Number of the step, from 1.
    pub step: u64,
    /// Its micro-batches; all are `micro_batch` rows high, the last may be padded.
    pub micro_batches: Vec<Batch>,
    /// Targets of the whole step: what each micro-batch's gradient is divided by.
    pub valid_targets: u64,
}

impl Dataset {
    /// The data of step `step` (from 1): rows `(step - 1) * batch_size ..`, cut into micro-batches.
    pub fn step(&self, step: u64, batch_size: usize, micro_batch: usize) -> StepData {
        let first = (step - 1) * batch_size as u64;
        let micro_batches: Vec<_> = (0..batch_size)
            .step_by(micro_batch)
            .map(|row| {
                let rows = micro_batch.min(batch_size - row);
                self.batch(first + row as u64, rows, micro_batch)
            })
            .collect();
        StepData {
            step,
            valid_targets: micro_batches.iter().map(|b| b.valid_targets).sum(),
            micro_batches,
        }
    }
}

/// Hands the steps' data over in order, made ahead of time by a thread of its own. The data of a step does not depend on
/// where the loader began. Dropping it ends the thread.
#[derive(Debug)]
pub struct Loader {
    steps: Option<Receiver<StepData>>,
    /// A step that was looked at and not taken yet.
    seen: Option<StepData>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Begins with step `first_step` (from 1).
    ///
    /// # Panics
    /// If the system gives no thread.
    pub fn new(
        dataset: Arc<Dataset>,
        batch_size: usize,
        micro_batch: usize,
        first_step: u64,
    ) -> Self {
        let (sender, receiver) = sync_channel(AHEAD);
        let work = move || {
            for step in first_step.. {
                if sender
                    .send(dataset.step(step, batch_size, micro_batch))
                    .is_err()
                {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".to_owned());
        Self {
            steps: Some(receiver),
            seen: None,
            thread: Some(thread.spawn(work).expect("the system gives a thread")),
        }
    }

    /// The next step's data; waits until it is ready.
    ///
    /// # Panics
    /// If the loader's thread panicked.
    pub fn next_step(&mut self) -> StepData {
        self.seen.take().unwrap_or_else(|| {
            let steps = self.steps.as_ref().expect("taken only by drop");
            steps.recv().expect("the loader runs until it is dropped")
        })
    }

    /// What [`Loader::next_step`] will give, if it is ready now.
    pub fn peek(&mut self) -> Option<&StepData> {
        if self.seen.is_none() {
            let steps = self.steps.as_ref().expect("taken only by drop");
            self.seen = steps.try_recv().ok();
        }
        self.seen.as_ref()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was seen by next_step already.
            let _ = thread.join();
        }
    }
}
