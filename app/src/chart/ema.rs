//! Exponential moving averages over all rows.
//!
//! Computed row by row when rows arrive, never on what a zoom shows, so that the curve does not change with the window
//! (see [`super::series`] for the raw rows). Bias-corrected as Adam's moments are (Kingma and Ba, 2015, section 3): the
//! first value is the first row itself, not a tenth of it.

use super::recorded::Recorded;
use super::series::Series;

/// `ema_t = beta ema_(t-1) + (1 - beta) x_t`, divided by `1 - beta^t`; rows that are not finite change nothing.
#[derive(Clone, Debug)]
pub struct Ema {
    recorded: Option<Recorded>,
    beta: f64,
    average: f64,
    weight: f64,
    values: Vec<f32>,
}

impl Ema {
    /// An average with decay `beta` in `[0, 1)`; 0 repeats the rows as they are.
    pub fn new(beta: f64) -> Self {
        Self {
            recorded: None,
            beta: beta.clamp(0.0, 0.999_999),
            average: 0.0,
            weight: 0.0,
            values: Vec::new(),
        }
    }

    /// An average over rows that are already there.
    pub fn over(beta: f64, series: &Series) -> Self {
        let mut ema = Self::new(beta);
        if let Some(recorded) = series.recorded() {
            [ema.average, ema.weight] = recorded.average(beta);
            ema.recorded = Some(recorded.clone());
        }
        for &row in series.values() {
            ema.push(row);
        }
        ema
    }

    /// The decay.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// Takes one more row.
    pub fn push(&mut self, value: f32) {
        if value.is_finite() {
            self.average = self.beta * self.average + (1.0 - self.beta) * f64::from(value);
            self.weight = self.beta * self.weight + (1.0 - self.beta);
        }
        self.values.push(if self.weight > 0.0 {
            (self.average / self.weight) as f32
        } else {
            f32::NAN
        });
    }

    /// The average after a row, if there is one; NaN as long as no row was finite.
    pub fn at(&self, row: usize) -> Option<f32> {
        let num_recorded = self.recorded.as_ref().map_or(0, Recorded::len);
        match row.checked_sub(num_recorded) {
            Some(row) => self.values.get(row).copied(),
            None => self.recorded.as_ref().map(|r| r.smoothed(self.beta, row)),
        }
    }

    /// The average after the last row, if any row was finite.
    pub fn last(&self) -> Option<f32> {
        let num_recorded = self.recorded.as_ref().map_or(0, Recorded::len);
        let last = (num_recorded + self.values.len()).checked_sub(1)?;
        self.at(last).filter(|v| v.is_finite())
    }
}
