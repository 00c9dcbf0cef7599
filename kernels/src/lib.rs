//! Operations and their memory.
