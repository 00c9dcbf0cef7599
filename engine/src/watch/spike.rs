//! `spike`: the loss of one step is far above those before it.
//!
//! The bound is a multiple of the rolling median, which a few spikes do not move, and a number of nats above it, so that the
//! small losses of a model that knows its data by heart may scatter. It is seen before the update: `skip` leaves it out.

use super::series::Recent;
use super::{Finding, Rule, Seen, Sight, Watcher, action, key};
use crate::config::RuleConfig;
use crate::registry::Kind;

pub(super) static RULE: Rule = Rule {
    path: "watch.spike",
    doc: "the loss of a step is far above those before it",
    keys: &[
        key(
            "factor",
            Kind::ABOVE_ZERO,
            "3.0",
            "times the median of the last losses",
        ),
        key(
            "rise",
            Kind::NON_NEGATIVE,
            "0.5",
            "nats above that median that it must be as well",
        ),
        key(
            "window",
            Kind::Int {
                min: 1,
                max: 10_000,
            },
            "100",
            "steps that the median is taken over; the rule is silent before a quarter of them",
        ),
        action(&["warn", "pause", "skip", "rollback", "off"]),
    ],
    new: || Box::new(Spike::default()),
};

#[derive(Debug, Default)]
struct Spike {
    recent: Recent,
}

impl Spike {
    /// The median of the losses so far and the bound above it, once enough of them are known.
    fn bound(&self, config: &RuleConfig) -> Option<(f64, f64)> {
        let known = self.recent.len() >= config.count("window").div_ceil(4);
        let median = self.recent.median().filter(|_| known)?;
        let bound = (config.number("factor") * median).max(median + config.number("rise"));
        Some((median, bound))
    }
}

impl Watcher for Spike {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Loss { step, loss } = *seen else {
            return Sight::Other;
        };
        let known = self.recent.len();
        let bound = self.bound(config);
        self.recent.push(loss, config.count("window"));
        let Some((median, threshold)) = bound else {
            return Sight::Calm;
        };
        if loss <= threshold {
            return Sight::Calm;
        }
        Sight::Trouble(Finding {
            message: format!(
                "the loss of step {step} is {loss:.4}, {:.1} times the median {median:.4} of the {known} before it",
                loss / median
            ),
            layer: None,
            value: loss,
            threshold,
        })
    }

    fn most_loss(&self, config: &RuleConfig) -> f64 {
        self.bound(config)
            .map_or(f64::INFINITY, |(_, threshold)| threshold)
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        self.recent.save().collect()
    }

    fn load(&mut self, saved: &[f64]) {
        self.recent = Recent::load(saved);
    }
}
