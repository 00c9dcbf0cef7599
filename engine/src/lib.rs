//! The engine: tape, models, data, training.

pub mod data;
pub mod link;
pub mod param;
pub mod safetensors;
pub mod tape;
