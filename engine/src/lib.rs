//! The engine: tape, models, data, training.
