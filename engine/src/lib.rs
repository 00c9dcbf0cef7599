//! The engine: tape, models, data, training.

pub mod link;
