//! The engine: tape, models, data, training.

pub mod data;
pub mod link;
pub mod param;
pub mod tape;
pub mod safetensors;
