//! Reading and writing with a model.
//!
//! [`load`] reads a model from its folder; [`generate`] continues a prompt, [`chat`] talks, and [`score`] says how likely a
//! text is. They stand on [`session`] (programs with a cache of keys and values) and [`sample`] (from logits to the next
//! token). [`attention_map`] shows where a model looks.

pub mod attention_map;
pub mod chat;
pub mod generate;
pub mod load;
pub mod sample;
pub mod score;
pub mod session;
