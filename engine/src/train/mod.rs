//! Training: one step in reading order ([`step`]), statistics of the layers ([`stats`]), and the run around them.

pub mod stats;
pub mod step;
