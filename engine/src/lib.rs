//! The engine: tape, models, data, training.

pub mod data;
pub mod link;
pub mod param;
pub mod safetensors;
pub mod tape;
pub mod config;
pub mod data;
pub mod link;
pub mod model;
pub mod optim;
pub mod registry;
pub mod schedule;
