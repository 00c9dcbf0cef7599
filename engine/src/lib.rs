//! The engine: tape, models, data, training.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod device;
#[cfg(debug_assertions)]
mod drill;
pub mod estimate;
pub mod hf;
pub mod infer;
pub mod launch;
pub mod link;
pub mod model;
pub mod optim;
pub mod param;
pub mod profile;
pub mod records;
pub mod registry;
pub mod run_folder;
pub mod safetensors;
pub mod schedule;
pub mod setup;
pub mod sketch;
pub mod tape;
pub mod telemetry;
pub mod train;
pub mod watch;
