//! Where an engine leaves a copy of its weights for a chat in the same process.
//!
//! Weights are no message: they do not fit into an event, and nobody outside this process could use them. So a chat orders
//! them here, asks the engine by [`crate::link::Command::Weights`], and finds them here once the engine has obeyed. An
//! engine that is asked without an order (from another terminal) refuses.

use crate::infer::load::Loaded;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokenizer::Tokenizer;

/// A model as a run's engine had it after a step.
#[derive(Debug)]
pub struct Copied {
    /// Last step done.
    pub step: u64,
    /// The model with weights of its own, and one thread.
    pub loaded: Loaded,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
}

/// What is wanted of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Tokens that the chat will hold: its caches must fit too.
    pub context: usize,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Ordered(Order),
    Filled(Box<Copied>),
}

/// The desk; clones are the same desk.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Slot>>);

impl Desk {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders a copy; one that nobody fetched is dropped.
    pub fn order(&self, order: Order) {
        *self.slot() = Slot::Ordered(order);
    }

    /// Takes an order back.
    pub fn cancel(&self) {
        *self.slot() = Slot::Empty;
    }

    /// What is ordered, if anything is.
    pub(crate) fn ordered(&self) -> Option<Order> {
        match *self.slot() {
            Slot::Ordered(order) => Some(order),
            _ => None,
        }
    }

    /// Fills an order; nothing happens where it was taken back.
    pub(crate) fn fill(&self, copied: Copied) {
        let mut slot = self.slot();
        if matches!(*slot, Slot::Ordered(_)) {
            *slot = Slot::Filled(Box::new(copied));
        }
    }

    /// Fetches the copy once it is there.
    pub fn fetch(&self) -> Option<Box<Copied>> {
        let mut slot = self.slot();
        if !matches!(*slot, Slot::Filled(_)) {
            return None;
        }
        match std::mem::take(&mut *slot) {
            Slot::Filled(copied) => Some(copied),
            _ => None,
        }
    }
}
