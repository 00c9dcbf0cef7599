//! Layer statistics over time, as the heat map shows them.

use std::ops::Range;

use engine::link::Layers;
use engine::sketch::Sketch;

use crate::lang::Text;

/// Snapshots that are kept; beyond that, neighbours are merged by their greater value.
const MOST: usize = 2048;
/// Steps whose histograms are kept; beyond that, every other one is left out.
const SPREADS: usize = 256;
/// Lists of values: one for each quantity, and how many values were not finite.
const LISTS: usize = Quantity::ALL.len() + 1;

/// What is measured of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantity {
    /// RMS of its output.
    #[default]
    Activation,
    /// Greatest magnitude of its output.
    Max,
    /// RMS of the gradient of its parameters.
    Gradient,
    /// RMS of its parameters.
    Weight,
    /// RMS of the last update over RMS of the parameters.
    Update,
    /// Share of its units that give the same at every token.
    Dead,
}

impl Quantity {
    /// All quantities, in the order in which the key walks through them.
    pub const ALL: [Self; 6] = [
        Self::Activation,
        Self::Max,
        Self::Gradient,
        Self::Weight,
        Self::Update,
        Self::Dead,
    ];

    /// Its name on the screen.
    pub fn name(self) -> Text {
        match self {
            Self::Activation => Text::new("activation rms", "激活 rms"),
            Self::Max => Text::new("max |x|", "最大 |x|"),
            Self::Gradient => Text::new("gradient rms", "梯度 rms"),
            Self::Weight => Text::new("weight rms", "权重 rms"),
            Self::Update => Text::new("update/weight", "更新/权重"),
            Self::Dead => Text::new("dead share", "死单元占比"),
        }
    }
}

/// How the values of the layers were spread at a step.
#[derive(Clone, Debug)]
pub struct Spread {
    /// The step.
    pub step: u64,
    /// Of each layer's output.
    pub activations: Vec<Sketch>,
    /// Of the gradients of each layer's parameters.
    pub gradients: Vec<Sketch>,
}

/// All snapshots of one run.
#[derive(Clone, Debug, Default)]
pub struct LayerHistory {
    names: Vec<String>,
    steps: Vec<u64>,
    /// One list of values a snapshot, for each quantity in the order of [`Quantity::ALL`], and for the counts.
    values: [Vec<Vec<f32>>; LISTS],
    /// With their numbers: evenly spaced ones, and the newest.
    spreads: Vec<(u64, Spread)>,
    /// How often every other of them was left out.
    thinned: u32,
}

/// Snapshots that a median looks at.
const MEDIAN_OF: usize = 64;

impl LayerHistory {
    /// Names of the layers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The step of each snapshot.
    pub fn steps(&self) -> &[u64] {
        &self.steps
    }

    /// Value of a layer in a snapshot, if both exist.
    pub fn value(&self, quantity: Quantity, layer: usize, snapshot: usize) -> Option<f32> {
        self.values[quantity as usize]
            .get(snapshot)?
            .get(layer)
            .copied()
    }

    /// Greatest value of a layer in several snapshots; what is not a number is greater than any.
    pub fn greatest(
        &self,
        quantity: Quantity,
        layer: usize,
        snapshots: Range<usize>,
    ) -> Option<f32> {
        let values = snapshots.filter_map(|s| self.value(quantity, layer, s));
        values.reduce(greater)
    }

    /// How many values of a layer's output were not finite; 0 where nobody counted.
    pub fn nonfinite(&self, layer: usize, snapshot: usize) -> u64 {
        let counts = self.values[LISTS - 1].get(snapshot);
        counts
            .and_then(|counts| counts.get(layer))
            .map_or(0, |count| *count as u64)
    }

    /// The newest histograms up to a step.
    pub fn spread(&self, step: u64) -> Option<&Spread> {
        let count = self
            .spreads
            .partition_point(|(_, spread)| spread.step <= step);
        self.spreads[..count].last().map(|(_, spread)| spread)
    }

    /// Least and greatest positive finite value of a quantity over all layers and snapshots.
    pub fn range(&self, quantity: Quantity) -> Option<(f32, f32)> {
        let all = self.values[quantity as usize].iter().flatten().copied();
        let positive = all.filter(|v| v.is_finite() && *v > 0.0);
        positive.fold(None, |range, v| {
            let (lo, hi) = range.unwrap_or((v, v));
            Some((lo.min(v), hi.max(v)))
        })
    }

    /// The layer's own median of a quantity up to a snapshot; 0 where nothing was finite.
    pub fn median(&self, quantity: Quantity, layer: usize, snapshot: usize) -> f32 {
        let stride = snapshot / MEDIAN_OF + 1;
        let past = (0..=snapshot).step_by(stride);
        let mut past: Vec<f32> = past
            .filter_map(|s| self.value(quantity, layer, s))
            .filter(|v| v.is_finite())
            .collect();
        past.sort_by(f32::total_cmp);
        past.get(past.len() / 2).copied().unwrap_or(0.0)
    }

    /// How far a layer is from its own median, as the logarithm of their ratio whatever its sign; what is not finite is the
    /// farthest. 0 where there is nothing to compare.
    pub fn unlike(&self, quantity: Quantity, layer: usize, snapshot: usize) -> f32 {
        let Some(value) = self.value(quantity, layer, snapshot) else {
            return 0.0;
        };
        if !value.is_finite() {
            return f32::INFINITY;
        }
        match self.median(quantity, layer, snapshot) {
            median if median > 0.0 && value > 0.0 => (value / median).ln().abs(),
            _ => 0.0,
        }
    }

    pub(super) fn name(&mut self, names: &[String]) {
        if !names.is_empty() && names != self.names {
            *self = Self {
                names: names.to_vec(),
                ..Self::default()
            };
        }
    }

    pub(super) fn push(&mut self, layers: &Layers) {
        self.name(&layers.names);
        self.rewind(layers.step.saturating_sub(1));
        self.steps.push(layers.step);
        let lists = [
            &layers.activation_rms,
            &layers.activation_max,
            &layers.gradient_rms,
            &layers.weight_rms,
            &layers.update_ratio,
            &layers.dead_share,
            &layers.activation_nonfinite,
        ];
        for (history, list) in self.values.iter_mut().zip(lists) {
            history.push(list.iter().map(|&v| v as f32).collect());
        }
        if self.steps.len() > MOST {
            self.halve();
        }
        if layers.activation_sketch.is_empty() && layers.gradient_sketch.is_empty() {
            return;
        }
        let number = self.spreads.last().map_or(0, |(number, _)| number + 1);
        // The newest was kept whatever its number.
        self.spreads
            .pop_if(|(last, _)| !last.is_multiple_of(1 << self.thinned));
        let spread = Spread {
            step: layers.step,
            activations: layers.activation_sketch.clone(),
            gradients: layers.gradient_sketch.clone(),
        };
        self.spreads.push((number, spread));
        if self.spreads.len() > SPREADS {
            self.thinned += 1;
            let stride = 1 << self.thinned;
            self.spreads
                .retain(|(kept, _)| kept.is_multiple_of(stride) || *kept == number);
        }
    }

    pub(super) fn rewind(&mut self, step: u64) {
        let len = self.steps.partition_point(|&s| s <= step);
        self.steps.truncate(len);
        for history in &mut self.values {
            history.truncate(len);
        }
        let len = self
            .spreads
            .partition_point(|(_, spread)| spread.step <= step);
        self.spreads.truncate(len);
    }

    fn halve(&mut self) {
        self.steps = self
            .steps
            .chunks(2)
            .map(|pair| pair[pair.len() - 1])
            .collect();
        for history in &mut self.values {
            *history = history.chunks(2).map(merge).collect();
        }
    }
}

/// The greater value of each layer; what is not finite stays visible.
fn merge(pair: &[Vec<f32>]) -> Vec<f32> {
    let (first, last) = (&pair[0], &pair[pair.len() - 1]);
    let pairs = first.iter().zip(last);
    pairs.map(|(a, b)| greater(*a, *b)).collect()
}

/// The greater of two values, of which one that is not a number hides the other.
fn greater(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}
