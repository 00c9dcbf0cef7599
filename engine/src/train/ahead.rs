//! What a step is told before its forward, so that a device need not wait for the host between a backward and its update, nor
//! for the next batch. No number depends on it: [`super::step`] says what is done with it.

use crate::data::Batch;

/// The update of a step, as far as it is known before its forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// Learning rate.
    pub lr: f64,
    /// Optimizer step, from 1.
    pub step: u64,
    /// Largest norm of the gradient; 0: no limit.
    pub clip_norm: f64,
    /// Largest loss whose update is made unasked.
    pub most_loss: f64,
}

/// What a step may be told beforehand, so that a device need not wait for the host. No number depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead<'a> {
    /// What [`super::step::Trainer::update`] will be asked for, if loss and norm are finite.
    pub update: Option<Planned>,
    /// The first micro-batch of the next step.
    pub next: Option<&'a Batch>,
}
