//! A constant rate after the warm-up: `lr`.

use crate::config::ScheduleConfig;
use crate::registry::Variant;
use crate::schedule::At;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "constant",
    summary: "optimizer.lr throughout",
    reference: "common practice",
    keys: &[],
};

pub(super) fn shape(_: &ScheduleConfig, _: At) -> f64 {
    1.0
}
