//! `divergence`: the validation loss rises again and again, or the smoothed training loss is far above its minimum.
//!
//! The first is usually memorising (or validation data unlike the training data), the second a learning rate that is too high.

use super::series::Smooth;
use super::{ACTION, Finding, Rule, Seen, Sight, Watcher, key};
use crate::config::RuleConfig;
use crate::registry::Kind;

pub(super) static RULE: Rule = Rule {
    path: "watch.divergence",
    doc: "the validation loss rises time after time, or the smoothed training loss is far above its minimum",
    keys: &[
        key(
            "rises",
            Kind::POSITIVE,
            "3",
            "evaluations in a row whose loss is above the one before",
        ),
        key(
            "margin",
            Kind::NON_NEGATIVE,
            "0.02",
            "share by which the last of them must be above the least validation loss as well",
        ),
        key(
            "factor",
            Kind::Float {
                min: 1.0,
                max: f64::MAX,
            },
            "1.3",
            "times the least smoothed training loss so far",
        ),
        key(
            "rise",
            Kind::NON_NEGATIVE,
            "0.5",
            "nats above that least loss that it must be as well",
        ),
        key(
            "window",
            Kind::POSITIVE,
            "100",
            "steps of calm before it is told of the training loss again",
        ),
        ACTION,
    ],
    new: || Box::new(Divergence::default()),
};

/// Decay of the smoothed loss: about fifty steps.
const DECAY: f64 = 0.98;

#[derive(Debug)]
struct Divergence {
    smooth: Smooth,
    least: f64,
    /// Step and loss of the last evaluation.
    last: Option<(f64, f64)>,
    best: f64,
    rises: u64,
    /// Whether the present rise of the validation loss was told.
    told: bool,
}

impl Default for Divergence {
    fn default() -> Self {
        Self {
            smooth: Smooth::default(),
            least: f64::INFINITY,
            last: None,
            best: f64::INFINITY,
            rises: 0,
            told: false,
        }
    }
}

impl Divergence {
    fn train(&mut self, config: &RuleConfig, step: u64, loss: f64) -> Sight {
        let smooth = self.smooth.push(loss, DECAY);
        self.least = self.least.min(smooth);
        let least = self.least;
        let threshold = (config.number("factor") * least).max(least + config.number("rise"));
        if smooth <= threshold {
            return Sight::Calm;
        }
        Sight::Trouble(Finding {
            message: format!(
                "the smoothed loss at step {step} is {smooth:.4}; its minimum was {least:.4}"
            ),
            layer: None,
            value: smooth,
            threshold,
        })
    }

    fn evaluate(&mut self, config: &RuleConfig, step: u64, loss: f64) -> Sight {
        let again = self.last.is_some_and(|(last, _)| last == step as f64);
        // One that a person asked for at the same step says nothing new.
        if again || !loss.is_finite() {
            return Sight::Other;
        }
        let rose = self.last.is_some_and(|(_, last)| loss > last);
        self.rises = if rose { self.rises + 1 } else { 0 };
        self.told &= rose;
        self.last = Some((step as f64, loss));
        self.best = self.best.min(loss);
        let (best, rises) = (self.best, self.rises);
        let threshold = best * (1.0 + config.number("margin"));
        let enough = rises >= config.count("rises") as u64 && loss > threshold;
        if !enough || self.told {
            return Sight::Other;
        }
        self.told = true;
        Sight::News(Finding {
            message: format!(
                "the validation loss rose {rises} times in a row, to {loss:.4}; its minimum was {best:.4}"
            ),
            layer: None,
            value: loss,
            threshold,
        })
    }
}

impl Watcher for Divergence {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        match seen {
            Seen::Step(step) => self.train(config, step.step, step.loss),
            Seen::Eval(eval) => self.evaluate(config, eval.step, eval.loss),
            _ => Sight::Other,
        }
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        let [sum, weight] = self.smooth.save();
        let (step, loss) = self.last.unwrap_or((f64::NAN, f64::NAN));
        let told = f64::from(u8::from(self.told));
        vec![
            sum,
            weight,
            self.least,
            step,
            loss,
            self.best,
            self.rises as f64,
            told,
        ]
    }

    fn load(&mut self, saved: &[f64]) {
        if let [sum, weight, least, step, loss, best, rises, told] = *saved {
            *self = Self {
                smooth: Smooth::load([sum, weight]),
                least,
                last: Some((step, loss)).filter(|(step, _)| !step.is_nan()),
                best,
                rises: rises as u64,
                told: told == 1.0,
            };
        }
    }
}
