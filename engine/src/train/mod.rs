//! Training: one step in reading order ([`step`]), statistics of the layers ([`stats`]), and the run around them.

pub mod accelerator;
pub mod ahead;
mod alerts;
mod boundary;
mod edit;
mod evaluate;
mod look;
mod patience;
mod record;
mod rest;
mod rewind;
pub mod run;
pub mod saving;
mod shelf;
pub mod stats;
pub mod step;
mod telemetry;
mod touch;
