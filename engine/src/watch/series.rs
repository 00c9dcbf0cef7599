//! Running figures of a series: the last values with their median, and a smoothed value.

use std::collections::VecDeque;

/// The last values of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recent {
    values: VecDeque<f64>,
}

impl Recent {
    /// Appends a value and forgets all but the last `most`.
    pub(super) fn push(&mut self, value: f64, most: usize) {
        self.values.push_back(value);
        while self.values.len() > most.max(1) {
            self.values.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    /// The median; of an even number the upper one.
    pub(super) fn median(&self) -> Option<f64> {
        median(self.values.iter().copied().collect())
    }

    pub(super) fn save(&self) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().copied()
    }

    pub(super) fn load(saved: &[f64]) -> Self {
        Self {
            values: saved.iter().copied().collect(),
        }
    }
}

/// The median; of an even number the upper one.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

/// An exponential moving average without start-up bias: the weighted sum over the sum of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    /// Takes a value in and returns the average.
    pub(super) fn push(&mut self, value: f64, decay: f64) -> f64 {
        self.sum = self.sum * decay + value;
        self.weight = self.weight * decay + 1.0;
        self.sum / self.weight
    }

    pub(super) fn save(self) -> [f64; 2] {
        [self.sum, self.weight]
    }

    pub(super) fn load([sum, weight]: [f64; 2]) -> Self {
        Self { sum, weight }
    }
}
