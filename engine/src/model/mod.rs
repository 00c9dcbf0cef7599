//! Models: what a block is made of.
//!
//! Each sub-module is one slot of [`crate::registry`]: `mixer` (what moves information between positions), `ffn` (what
//! works on each position alone), `norm` and `position`. A file there is one variant with its formula and its paper.

pub mod ffn;
pub mod mixer;
pub mod norm;
pub mod position;
