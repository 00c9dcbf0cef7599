//! Learning-rate schedules.
//!
//! Step 1 is the first optimizer step. Up to `warmup_steps` the rate is `lr * s / warmup_steps`; from there a variant's
//! shape falls from 1 to 0, and the rate is `min_lr + (lr - min_lr) * shape`. Cosine, linear and WSD reach `min_lr` at
//! `train.max_steps`. `lr_scale` multiplies what comes out.

use crate::config::ScheduleConfig;
use crate::registry::{Class, Default, Key, Kind, Slot};

/// A variant's shape after the warm-up: from 1 (`lr`) to 0 (`min_lr`).
type Shape = fn(config: &ScheduleConfig, at: At) -> f64;

/// A step after the warm-up.
#[derive(Clone, Copy, Debug)]
struct At {
    /// The step, from 1; may lie beyond `end`.
    step: u64,
    /// Steps of the warm-up.
    warmup: u64,
    /// `train.max_steps`.
    end: u64,
}

impl At {
    /// Share of the steps after the warm-up that are done, from 0 to 1.
    fn progress(self) -> f64 {
        match self.end.saturating_sub(self.warmup) {
            0 => 0.0,
            span => ((self.step - self.warmup) as f64 / span as f64).min(1.0),
        }
    }
}

crate::variants!(SHAPES: Shape = shape; => constant, linear, cosine, wsd);

/// The slot `schedule`.
pub static SLOT: Slot = Slot {
    path: "schedule",
    doc: "the learning rate over the steps",
    default: "constant",
    class: Class::Live,
    keys: &[
        Key {
            name: "warmup_steps",
            kind: Kind::COUNT,
            default: Default::Is("0"),
            class: Class::Live,
            doc: "steps over which the rate rises from 0 to optimizer.lr",
        },
        Key {
            name: "min_lr",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("0.0"),
            class: Class::Live,
            doc: "rate that is reached at train.max_steps (not by constant)",
        },
        Key {
            name: "lr_scale",
            kind: Kind::NON_NEGATIVE,
            default: Default::Is("1.0"),
            class: Class::Live,
            doc: "multiplies the whole schedule: the factor to turn while training",
        },
    ],
    variants: VARIANTS,
};

impl ScheduleConfig {
    /// The learning rate of optimizer step `step` (from 1), for `optimizer.lr = lr` and `train.max_steps = max_steps`.
    pub fn lr(&self, step: u64, lr: f64, max_steps: u64) -> f64 {
        let warmup = self.warmup_steps;
        let rate = if step < warmup {
            lr * step as f64 / warmup as f64
        } else {
            let at = At {
                step,
                warmup,
                end: max_steps,
            };
            let shape = SHAPES[self.choice.index](self, at);
            // Exactly lr at the height and exactly min_lr at the end, which the sum alone would miss by rounding.
            if shape == 1.0 {
                lr
            } else {
                self.min_lr + (lr - self.min_lr) * shape
            }
        };
        rate * self.lr_scale
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ScheduleConfig};

    fn schedule(text: &str) -> ScheduleConfig {
        let base = "data.sequence_length = 8\nmodel = { layers = 1, dim = 8, heads = 1 }\n\
                    train = { batch_size = 1, max_steps = 100 }\noptimizer.lr = 1.0\n";
        Config::parse(None, &format!("{base}schedule = {text}"), &[])
            .unwrap()
            .schedule
    }

    fn rates<const N: usize>(s: &ScheduleConfig, steps: [u64; N]) -> [f64; N] {
        steps.map(|step| s.lr(step, 1.0, 100))
    }

    #[test]
    fn warm_up_rises_by_equal_steps_and_every_shape_ends_where_it_should() {
        let s = schedule("{ kind = \"constant\", warmup_steps = 4 }");
        assert_eq!(rates(&s, [1, 2, 4, 5, 100]), [0.25, 0.5, 1.0, 1.0, 1.0]);
        let s = schedule("{ kind = \"cosine\", warmup_steps = 20, min_lr = 0.1 }");
        assert_eq!(rates(&s, [10, 20, 100, 200]), [0.5, 1.0, 0.1, 0.1]);
        assert!((s.lr(60, 1.0, 100) - 0.55).abs() < 1e-12);
        assert!((s.lr(40, 1.0, 100) - (0.1 + 0.45 * (1.0 + 0.5f64.sqrt()))).abs() < 1e-12);
        let s = schedule("{ kind = \"linear\", min_lr = 0.2 }");
        assert!((s.lr(1, 1.0, 100) - 0.992).abs() < 1e-12);
        assert!((s.lr(50, 1.0, 100) - 0.6).abs() < 1e-12);
        assert_eq!(s.lr(100, 1.0, 100), 0.2);
        let s = schedule("{ kind = \"wsd\", warmup_steps = 10, decay_fraction = 0.2 }");
        assert_eq!(rates(&s, [5, 10, 50, 80, 100]), [0.5, 1.0, 1.0, 1.0, 0.0]);
        assert!((s.lr(90, 1.0, 100) - 0.5).abs() < 1e-12);
        let s = schedule("{ kind = \"wsd\", decay_fraction = 0.2, decay_shape = \"sqrt\" }");
        assert!((s.lr(85, 1.0, 100) - 0.5).abs() < 1e-12);
        assert_eq!(s.lr(100, 1.0, 100), 0.0);
    }

    #[test]
    fn scale_and_lr_apply_at_any_step_and_a_warm_up_longer_than_the_run_does_not_end() {
        let s = schedule("{ kind = \"cosine\", warmup_steps = 200, lr_scale = 0.5 }");
        assert_eq!(s.lr(100, 1.0, 100), 0.25);
        assert_eq!(s.lr(100, 4.0, 100), 1.0);
        assert_eq!(s.lr(300, 4.0, 100), 2.0);
    }
}
