//! What `vanishing` and `exploding` share: each layer's gradient beside its own past and beside the other layers.
//!
//! The bounds are wide, as layers differ by nature: the gradient of an embedding is spread over rows of which a batch touches
//! few, that of a norm is gathered in a handful of numbers.

use super::series::{Recent, median};
use super::{ACTION, Finding, Seen, Sight, Watcher, key};
use crate::config::RuleConfig;
use crate::link::Layers;
use crate::registry::{Key, Kind};

/// Statistics of a layer before it is judged.
const LEAST: usize = 5;

const ABOVE_ONE: Kind = Kind::Float {
    min: 1.0,
    max: f64::MAX,
};

/// The keys of both rules; `factor` is the default of the key of that name.
pub(super) const fn keys(factor: &'static str) -> [Key; 4] {
    [
        key(
            "factor",
            ABOVE_ONE,
            factor,
            "times the median of the layer's own last statistics, or its inverse",
        ),
        key(
            "across",
            ABOVE_ONE,
            "1000.0",
            "times the median of all layers at the same step, or its inverse",
        ),
        key(
            "window",
            Kind::Int { min: 5, max: 1000 },
            "20",
            "statistics that a layer's median is taken over (telemetry.layer_interval)",
        ),
        ACTION,
    ]
}

/// Which side is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Below,
    Above,
}

#[derive(Debug)]
pub(super) struct Gradients {
    side: Side,
    layers: Vec<Recent>,
}

/// A gradient beside a bound.
struct Judged {
    layer: usize,
    value: f64,
    median: f64,
    bound: f64,
    of: &'static str,
}

impl Judged {
    /// How far it is beyond its bound.
    fn excess(&self) -> f64 {
        (self.value.max(f64::MIN_POSITIVE) / self.bound).ln().abs()
    }
}

impl Gradients {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            layers: Vec::new(),
        }
    }

    fn judge(&self, config: &RuleConfig, layers: &Layers) -> Vec<Judged> {
        let all = layers.gradient_rms.iter().copied();
        let across = median(all.filter(|rms| rms.is_finite()).collect());
        let mut found = Vec::new();
        for (layer, value) in layers.gradient_rms.iter().copied().enumerate() {
            let recent = &self.layers[layer];
            if recent.len() < LEAST {
                continue;
            }
            for (median, factor, of) in [
                (recent.median(), "factor", "its own median"),
                (across, "across", "the layers' median"),
            ] {
                // Beside nothing nothing can be judged: a frozen layer, or a model that has learned its data by heart.
                let Some(median) = median.filter(|median| *median > 0.0) else {
                    continue;
                };
                let factor = config.number(factor);
                let (bound, beyond) = match self.side {
                    Side::Below => (median / factor, value < median / factor),
                    Side::Above => (median * factor, value > median * factor),
                };
                if beyond {
                    found.push(Judged {
                        layer,
                        value,
                        median,
                        bound,
                        of,
                    });
                }
            }
        }
        found
    }
}

impl Watcher for Gradients {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Layers(layers) = seen else {
            return Sight::Other;
        };
        let window = config.count("window");
        self.layers
            .resize_with(layers.gradient_rms.len(), Recent::default);
        let found = self.judge(config, layers);
        for (recent, value) in self.layers.iter_mut().zip(&layers.gradient_rms) {
            recent.push(*value, window);
        }
        let worst = found
            .iter()
            .max_by(|a, b| a.excess().total_cmp(&b.excess()));
        let Some(worst) = worst else {
            return Sight::Calm;
        };
        let name = layers.names.get(worst.layer).cloned().unwrap_or_default();
        let mut others: Vec<usize> = found.iter().map(|judged| judged.layer).collect();
        others.dedup();
        let more = match others.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more layers)"),
        };
        let word = match self.side {
            Side::Below => "vanishes",
            Side::Above => "explodes",
        };
        Sight::Trouble(Finding {
            message: format!(
                "the gradient of {name} {word} at step {}: rms {:.2e}, {} is {:.2e}{more}",
                layers.step, worst.value, worst.of, worst.median
            ),
            layer: Some(name),
            value: worst.value,
            threshold: worst.bound,
        })
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        let layers = self.layers.iter();
        layers
            .flat_map(|recent| std::iter::once(recent.len() as f64).chain(recent.save()))
            .collect()
    }

    fn load(&mut self, mut saved: &[f64]) {
        self.layers.clear();
        while let [len, rest @ ..] = saved {
            let (values, rest) = rest.split_at((*len as usize).min(rest.len()));
            self.layers.push(Recent::load(values));
            saved = rest;
        }
    }
}
