//! The engine: tape, models, data, training.

pub mod config;
pub mod data;
pub mod infer;
pub mod link;
pub mod model;
pub mod optim;
pub mod param;
pub mod registry;
pub mod safetensors;
pub mod schedule;
pub mod tape;
pub mod train;
