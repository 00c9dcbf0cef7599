//! Reading and writing with a model.
//!
//! [`load`] reads a model from its folder; [`generate`] continues a prompt and [`score`] says how likely a text is. Both
//! stand on [`session`] (programs with a cache of keys and values) and [`sample`] (from logits to the next token).

pub mod generate;
pub mod load;
pub mod sample;
pub mod score;
pub mod session;
