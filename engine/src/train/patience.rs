//! When a step is given up between two micro-batches: for a signal, and for a command that waits for no step.
//!
//! A step of many micro-batches may take minutes; who pauses shall not wait for its end. What was computed of it is thrown
//! away, no weight has changed, and the step is made again from its first micro-batch: the same bits, as random numbers and
//! rows follow from the step's number.

use crate::link::{Command, Interrupt, Request};
use std::cell::RefCell;
use std::sync::mpsc::Receiver;

/// Looks between two micro-batches whether the step goes on.
pub(super) struct Patience<'a> {
    interrupt: &'a Interrupt,
    requests: &'a Receiver<Request>,
    came: RefCell<Vec<Request>>,
}

impl<'a> Patience<'a> {
    pub(super) fn new(interrupt: &'a Interrupt, requests: &'a Receiver<Request>) -> Self {
        Self {
            interrupt,
            requests,
            came: RefCell::default(),
        }
    }

    /// Whether the step shall be given up.
    pub(super) fn is_over(&self) -> bool {
        let mut came = self.came.borrow_mut();
        came.extend(self.requests.try_iter());
        let presses = |request: &Request| {
            matches!(
                request.command,
                Command::Pause { .. } | Command::Stop { .. }
            )
        };
        self.interrupt.is_raised() || came.iter().any(presses)
    }

    /// The requests that came meanwhile, in their order, for the next boundary.
    pub(super) fn into_requests(self) -> Vec<Request> {
        self.came.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::data::Batch;
    use crate::link::link;
    use crate::model::Model;
    use crate::train::step::Trainer;
    use kernels::Cpu;
    use std::cell::Cell;

    fn batch(row: u64) -> Batch {
        let size = 8;
        Batch {
            rows: 1,
            height: 1,
            tokens: (0..size).collect(),
            targets: (1..=size).collect(),
            doc_start: vec![0; size as usize],
            positions: (0..size).collect(),
            row0: row,
            valid_targets: size as u64,
            ..Batch::default()
        }
    }

    /// Micro-batches of a step of 16 that are computed when `command` comes while the fifth is.
    fn computed(command: Command) -> (u32, Vec<Request>) {
        let text = "data = { source = \"storybook\", sequence_length = 8 }\noptimizer.lr = 1.0\n\
            train = { batch_size = 16, micro_batch = 1, max_steps = 1 }\n\
            model = { layers = 1, dim = 8, heads = 1 }\ndevice.threads = 1\n";
        let config = Config::parse(None, text, &[]).unwrap();
        let model = Model::new(&config.model, 257);
        let mut trainer = Trainer::new(&config, model, Cpu::new(1));
        let batches: Vec<Batch> = (0..16).map(batch).collect();
        let (engine, client) = link();
        let interrupt = Interrupt::default();
        let patience = Patience::new(&interrupt, &engine.requests);
        let begun = Cell::new(0);
        let request = Request { id: 7, command };
        let done = trainer.gradients(&batches, 1, false, &|| {
            if patience.is_over() {
                return true;
            }
            begun.set(begun.get() + 1);
            if begun.get() == 5 {
                client.requests.send(request.clone()).unwrap();
            }
            false
        });
        let done = done.expect("a CPU does not fail");
        assert_eq!(done.is_none(), begun.get() < 16);
        (begun.get(), patience.into_requests())
    }

    #[test]
    fn a_pause_waits_for_one_micro_batch_and_is_not_lost() {
        for command in [
            Command::Pause { hard: false },
            Command::Pause { hard: true },
            Command::Stop { checkpoint: true },
        ] {
            let (begun, came) = computed(command.clone());
            assert_eq!(begun, 5);
            assert_eq!(came, [Request { id: 7, command }]);
        }
        // What can wait does, and is obeyed behind the step.
        let (begun, came) = computed(Command::Eval);
        assert_eq!((begun, came.len()), (16, 1));
    }
}
