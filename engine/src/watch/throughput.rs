//! `throughput`: training has become slow.
//!
//! Slow steps do not enter the median as long as they are not told, so that a machine that stays slow is told once; then its
//! pace is the new one. A number of seconds must pass as well: a model whose steps take a millisecond shall not report every
//! hiccup of the machine.

use super::series::Recent;
use super::{Finding, Rule, Seen, Sight, Watcher, action, key};
use crate::config::RuleConfig;
use crate::registry::Kind;

pub(super) static RULE: Rule = Rule {
    path: "watch.throughput",
    doc: "training has become slow",
    keys: &[
        key(
            "share",
            Kind::SHARE,
            "0.5",
            "share of the median tokens per second below which a step is slow",
        ),
        key(
            "window",
            Kind::Int {
                min: 1,
                max: 10_000,
            },
            "200",
            "steps that the median is taken over; the rule is silent before a quarter of them",
        ),
        key("steps", Kind::POSITIVE, "20", "slow steps in a row"),
        key(
            "seconds",
            Kind::NON_NEGATIVE,
            "60.0",
            "time that they must take as well",
        ),
        action(&["warn", "pause", "off"]),
    ],
    new: || Box::new(Throughput::default()),
};

#[derive(Debug, Default)]
struct Throughput {
    slow: u64,
    seconds: f64,
    recent: Recent,
}

impl Watcher for Throughput {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Step(step) = seen else {
            return Sight::Other;
        };
        let (window, pace) = (config.count("window"), step.tokens_per_second);
        let median = self.recent.median();
        let median = median.filter(|_| self.recent.len() >= window.div_ceil(4));
        let threshold = median.map_or(0.0, |median| config.number("share") * median);
        if pace >= threshold {
            self.recent.push(pace, window);
            (self.slow, self.seconds) = (0, 0.0);
            return Sight::Calm;
        }
        self.slow += 1;
        self.seconds += step.step_seconds;
        if self.slow < config.count("steps") as u64 || self.seconds < config.number("seconds") {
            return Sight::Calm;
        }
        let slow = self.slow;
        (self.slow, self.seconds) = (0, 0.0);
        self.recent.clear();
        Sight::Trouble(Finding {
            message: format!(
                "training is slow: {pace:.0} tokens/s at step {}, {slow} steps in a row below {threshold:.0} (median {:.0})",
                step.step,
                median.unwrap_or(0.0)
            ),
            layer: None,
            value: pace,
            threshold,
        })
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        let head = [self.slow as f64, self.seconds];
        head.into_iter().chain(self.recent.save()).collect()
    }

    fn load(&mut self, saved: &[f64]) {
        if let [slow, seconds, recent @ ..] = saved {
            self.slow = *slow as u64;
            self.seconds = *seconds;
            self.recent = Recent::load(recent);
        }
    }
}
