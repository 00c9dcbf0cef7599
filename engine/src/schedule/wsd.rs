//! Warm-up, stable, decay: `lr` until the last `decay_fraction` of all steps, then down to `min_lr`.
//!
//! With `y` the share of the decay that is done, the shape is `1 - y` (linear), `1 - sqrt(y)` (sqrt) or
//! `(1 + cos(pi y)) / 2` (cosine). A checkpoint of the stable part can be continued, or decayed at any time.
//!
//! Source: Hu et al., "MiniCPM", arXiv:2404.06395; Haegele et al., arXiv:2405.18392 (1 - sqrt, 20 %).

use std::f64::consts::PI;

use crate::config::ScheduleConfig;
use crate::registry::{Class, Default, Key, Kind, Variant};
use crate::schedule::At;

/// Its registration.
pub static VARIANT: Variant = Variant {
    kind: "wsd",
    summary: "stays at optimizer.lr, then falls to min_lr over the last part of the steps",
    reference: "Hu et al., arXiv:2404.06395; Haegele et al., arXiv:2405.18392",
    keys: &[
        Key {
            name: "decay_fraction",
            kind: Kind::SHARE,
            default: Default::Is("0.2"),
            class: Class::Live,
            doc: "share of the steps, warm-up included, over which the rate falls",
        },
        Key {
            name: "decay_shape",
            kind: Kind::Choice(&["linear", "sqrt", "cosine"]),
            default: Default::Is("\"linear\""),
            class: Class::Live,
            doc: "how it falls: 1 - y, 1 - sqrt(y) or (1 + cos(pi y)) / 2",
        },
    ],
};

pub(super) fn shape(config: &ScheduleConfig, at: At) -> f64 {
    let steps = (config.choice.float("decay_fraction") * at.end as f64).round() as u64;
    let start = at.end - steps.min(at.end);
    if at.step <= start || steps == 0 {
        return 1.0;
    }
    let done = ((at.step - start) as f64 / steps as f64).min(1.0);
    match config.choice.text("decay_shape") {
        "sqrt" => 1.0 - done.sqrt(),
        "cosine" => 0.5 * (1.0 + (PI * done).cos()),
        _ => 1.0 - done,
    }
}
