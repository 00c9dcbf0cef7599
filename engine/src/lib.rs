//! The engine: tape, models, data, training.

pub mod checkpoint;
pub mod hf;
pub mod link;
pub mod run_folder;
pub mod safetensors;
