//! Half a cosine: `min_lr + (lr - min_lr) (1 + cos(pi x)) / 2` at the share `x` of the steps after the warm-up.
//!
//! Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", arXiv:1608.03983.

use std::f64::consts::PI;

use crate::config::ScheduleConfig;
use crate::registry::Variant;
use crate::schedule::At;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "cosine",
    summary: "falls along half a cosine to min_lr",
    reference: "Loshchilov and Hutter, arXiv:1608.03983",
    keys: &[],
};

pub(super) fn shape(_: &ScheduleConfig, at: At) -> f64 {
    0.5 * (1.0 + (PI * at.progress()).cos())
}
