//! `stall`: the loss has stopped falling.
//!
//! Compared are the mean losses of two neighbouring blocks of steps: the mean of n losses scatters only 1/sqrt(n) as much as
//! one of them, so that a slow fall is told from none, which a moving average and its lucky minimum cannot do.

use super::{ACTION, Finding, Rule, Seen, Sight, Watcher, key};
use crate::config::RuleConfig;
use crate::registry::Kind;

pub(super) static RULE: Rule = Rule {
    path: "watch.stall",
    doc: "the loss has stopped falling",
    keys: &[
        key(
            "improvement",
            Kind::NON_NEGATIVE,
            "0.0",
            "nats by which the mean loss of `window` steps must be below that of those before",
        ),
        key(
            "window",
            Kind::POSITIVE,
            "2000",
            "steps of each of the two means that are compared",
        ),
        ACTION,
    ],
    new: || Box::new(Stall::default()),
};

#[derive(Debug, Default)]
struct Stall {
    sum: f64,
    count: u64,
    before: Option<f64>,
}

impl Watcher for Stall {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Step(step) = seen else {
            return Sight::Other;
        };
        let window = self.window(config);
        self.sum += step.loss;
        self.count += 1;
        if self.count < window {
            return Sight::Calm;
        }
        let mean = self.sum / self.count as f64;
        (self.sum, self.count) = (0.0, 0);
        let Some(before) = self.before.replace(mean) else {
            return Sight::Calm;
        };
        let threshold = before - config.number("improvement");
        if mean < threshold {
            return Sight::Calm;
        }
        Sight::Trouble(Finding {
            message: format!(
                "the loss does not fall: its mean over {window} steps is {mean:.4}, over those before it was {before:.4}"
            ),
            layer: None,
            value: mean,
            threshold,
        })
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        let before = self.before.unwrap_or(f64::NAN);
        vec![self.sum, self.count as f64, before]
    }

    fn load(&mut self, saved: &[f64]) {
        if let [sum, count, before] = *saved {
            self.sum = sum;
            self.count = count as u64;
            self.before = Some(before).filter(|mean| !mean.is_nan());
        }
    }
}
