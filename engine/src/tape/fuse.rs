//! Fusion.

use super::Tape;

/// Joins neighbours.
pub fn fuse(tape: Tape) -> Tape {
    tape
}
