//! Writing with a model: sessions with a cache of keys and values, and samplers.

pub mod sample;
