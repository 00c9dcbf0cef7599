//! A straight line: `min_lr + (lr - min_lr) (1 - x)` at the share `x` of the steps after the warm-up.
//!
//! Source: Bergsma et al., "Straight to zero: why linearly decaying the learning rate to zero works best for LLMs",
//! arXiv:2502.15938.

use crate::config::ScheduleConfig;
use crate::registry::Variant;
use crate::schedule::At;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "linear",
    summary: "falls in a straight line to min_lr",
    reference: "Bergsma et al., arXiv:2502.15938",
    keys: &[],
};

pub(super) fn shape(_: &ScheduleConfig, at: At) -> f64 {
    1.0 - at.progress()
}
