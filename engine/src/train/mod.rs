//! Training: one step in reading order ([`step`]), statistics of the layers ([`stats`]), and the run around them.

mod edit;
pub mod run;
pub mod saving;
pub mod stats;
pub mod step;
