//! Statistics of observed values: how large they are, and how many of their units are dead.
//!
//! A unit is dead where it gives the same at every token: it carries nothing, and a ReLU that is zero everywhere gets no
//! gradient either. Taken from a replay (`run.rs`) where it is asked for; nothing here changes a value.

use super::Var;
use kernels::ops::act::Act;
use kernels::{Elem as _, Float as _, Slot};

/// Tokens that are looked at for dead units.
const TOKENS: usize = 1024;
/// Tokens that the scale of a layer is taken from.
const SCALE_TOKENS: usize = 4;
/// Share of the layer's median magnitude by which a living unit changes.
const CHANGE: f32 = 1e-3;

/// How hidden units are made from an observed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The activation.
    pub act: Act,
    /// Whether the value is a gate `(.., F)` beside what it multiplies `(.., F)`.
    pub gated: bool,
}

/// A value that is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// The layer.
    pub name: String,
    pub var: Var,
    /// Where hidden units are counted; else it is the layer's output.
    pub hidden: Option<Hidden>,
}

/// What was seen of the layers, in the order in which their outputs are observed; NaN where nothing was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Root mean square of the output.
    pub rms: Vec<f64>,
    /// Share of the units that are dead: of the hidden ones where they are observed, else of the output's channels.
    pub dead_share: Vec<f64>,
}

impl Statistics {
    pub(super) fn clear(&mut self, observed: &[Observed]) {
        let outputs = observed.iter().filter(|seen| seen.hidden.is_none()).count();
        for numbers in [&mut self.rms, &mut self.dead_share] {
            numbers.clear();
            numbers.resize(outputs, f64::NAN);
        }
    }

    /// Looks at value `number` of `observed`, whose last dimension is `width`.
    pub(super) fn take(
        &mut self,
        observed: &[Observed],
        number: usize,
        slot: &Slot<'_>,
        width: usize,
    ) {
        let seen = &observed[number];
        let mut outputs = observed.iter().filter(|other| other.hidden.is_none());
        let Some(layer) = outputs.position(|output| output.name == seen.name) else {
            return;
        };
        kernels::with_elem!(slot.dtype(), T => {
            let values = slot.as_slice::<T>();
            let get = |at: usize| T::get(values[at]).to_f64();
            let tokens = values.len() / width.max(1);
            if let Some(hidden) = seen.hidden {
                let units = if hidden.gated { width / 2 } else { width };
                let unit = |token: usize, unit: usize| {
                    let x = hidden.act.at(get(token * width + unit) as f32);
                    if hidden.gated { x * get(token * width + units + unit) as f32 } else { x }
                };
                self.dead_share[layer] = dead_share(tokens, units, unit);
                return;
            }
            let sum: f64 = (0..values.len()).map(|at| get(at) * get(at)).sum();
            self.rms[layer] = (sum / values.len().max(1) as f64).sqrt();
            let hidden = observed.iter().any(|other| other.hidden.is_some() && other.name == seen.name);
            if !hidden {
                self.dead_share[layer] =
                    dead_share(tokens, width, |token, unit| get(token * width + unit) as f32);
            }
        });
    }
}

/// The share of `units` that give the same at every token, by about [`TOKENS`] evenly spaced ones. Living units leave the
/// search at the first token that shows it, so a healthy layer costs a few tokens. What is not finite counts as living: other
/// rules see it.
fn dead_share(tokens: usize, units: usize, value: impl Fn(usize, usize) -> f32) -> f64 {
    if tokens < 2 || units == 0 {
        return 0.0;
    }
    let step = tokens.div_ceil(TOKENS);
    let mut sizes: Vec<f32> = (0..SCALE_TOKENS.min(tokens))
        .flat_map(|token| (0..units).map(move |unit| (token, unit)))
        .map(|(token, unit)| value(token, unit).abs())
        .collect();
    let middle = sizes.len() / 2;
    let (_, median, _) = sizes.select_nth_unstable_by(middle, f32::total_cmp);
    let change = *median * CHANGE;
    let first: Vec<f32> = (0..units).map(|unit| value(0, unit)).collect();
    let mut suspects: Vec<usize> = (0..units).collect();
    for token in (step..tokens).step_by(step) {
        suspects.retain(|unit| (value(token, *unit) - first[*unit]).abs() <= change);
        if suspects.is_empty() {
            break;
        }
    }
    suspects.len() as f64 / units as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit that changes a little from token to token.
    fn alive(token: usize, unit: usize) -> f32 {
        ((token * 31 + unit * 17) % 97) as f32 / 97.0 - 0.5
    }

    #[test]
    fn units_that_never_change_are_dead_and_others_are_not() {
        assert_eq!(dead_share(300, 16, alive), 0.0);
        let some = |token, unit| match unit {
            0..4 => 0.0,
            4..8 => 0.7,
            _ => alive(token, unit),
        };
        assert_eq!(dead_share(300, 16, some), 0.5);
        assert_eq!(dead_share(300, 16, |_, _| 0.0), 1.0);
        // One token in a hundred is enough to live; what is not finite is not dead.
        let rare = |token: usize, _| if token % 100 == 99 { 1.0 } else { 0.0 };
        assert_eq!(dead_share(1000, 8, rare), 0.0);
        assert_eq!(dead_share(300, 4, |_, _| f32::NAN), 0.0);
        // So little beside the others that it is rounding.
        let tiny = |token, unit| alive(token, unit) * if unit == 0 { 1e-5 } else { 1.0 };
        assert_eq!(dead_share(300, 10, tiny), 0.1);
    }

    #[test]
    fn a_longer_batch_is_sampled_and_a_single_token_says_nothing() {
        assert_eq!(dead_share(100_000, 8, alive), 0.0);
        assert_eq!(dead_share(1, 8, |_, _| 0.0), 0.0);
        assert_eq!(dead_share(0, 8, |_, _| 0.0), 0.0);
    }
}
