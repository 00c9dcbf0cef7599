//! `dead_units`: units of a layer that give the same at every token, zero or not, and so carry nothing.
//!
//! Measured with the statistics of the layers (`dead_share` of the `layers` event): of a feed-forward network its hidden units,
//! of any other layer the channels of its output. A unit that answers one token in ten thousand is called dead too, as the
//! measure looks at about a thousand tokens; so the bound is a share, several times in a row.

use super::{ACTION, Finding, Rule, Seen, Sight, Watcher, key};
use crate::config::RuleConfig;
use crate::registry::Kind;

pub(super) static RULE: Rule = Rule {
    path: "watch.dead_units",
    doc: "many units of a layer give the same at every token",
    keys: &[
        key(
            "share",
            Kind::SHARE,
            "0.5",
            "share of a layer's units that may be zero or constant",
        ),
        key(
            "window",
            Kind::POSITIVE,
            "3",
            "statistics of the layers in a row (telemetry.layer_interval)",
        ),
        ACTION,
    ],
    new: || Box::new(DeadUnits::default()),
};

#[derive(Debug, Default)]
struct DeadUnits {
    /// Statistics in a row above the bound, of each layer.
    counts: Vec<u64>,
}

impl Watcher for DeadUnits {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Layers(layers) = seen else {
            return Sight::Other;
        };
        let (share, window) = (config.number("share"), self.window(config));
        self.counts.resize(layers.dead_share.len(), 0);
        let mut worst: Option<usize> = None;
        let mut others = 0;
        for (layer, dead) in layers.dead_share.iter().enumerate() {
            let above = *dead > share;
            self.counts[layer] = if above { self.counts[layer] + 1 } else { 0 };
            if self.counts[layer] >= window {
                others += u64::from(worst.is_some());
                let more = worst.is_none_or(|worst| *dead > layers.dead_share[worst]);
                worst = if more { Some(layer) } else { worst };
            }
        }
        let Some(worst) = worst else {
            return Sight::Calm;
        };
        let name = layers.names.get(worst).cloned().unwrap_or_default();
        let dead = layers.dead_share[worst];
        let more = match others {
            0 => String::new(),
            others => format!(" (and {others} more layers)"),
        };
        Sight::Trouble(Finding {
            message: format!(
                "{:.0} % of the units of {name} give the same at every token at step {}{more}",
                dead * 100.0,
                layers.step
            ),
            layer: Some(name),
            value: dead,
            threshold: share,
        })
    }

    fn window(&self, config: &RuleConfig) -> u64 {
        config.count("window") as u64
    }

    fn save(&self) -> Vec<f64> {
        self.counts.iter().map(|count| *count as f64).collect()
    }

    fn load(&mut self, saved: &[f64]) {
        self.counts = saved.iter().map(|count| *count as u64).collect();
    }
}
