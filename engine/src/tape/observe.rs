//! Statistics of observed values: how large they are, how they are spread, and how many of their units are dead.
//!
//! A unit is dead where it gives the same at every token: it carries nothing, and a ReLU that is zero everywhere gets no
//! gradient either. Taken from a replay (`run.rs`) where it is asked for; nothing here changes a value.

use super::Var;
use crate::sketch::{Counter, Sketch};
use kernels::ops::act::Act;
use kernels::{Elem, Float as _, Slot};

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
    /// Greatest magnitude of the output, over all of its values; NaN where one is, else infinite where one is.
    pub max: Vec<f64>,
    /// How many values of the output are not finite.
    pub nonfinite: Vec<f64>,
    /// How the values of the output are spread.
    pub sketches: Vec<Sketch>,
}

impl Statistics {
    pub(super) fn clear(&mut self, observed: &[Observed]) {
        let outputs = observed.iter().filter(|seen| seen.hidden.is_none()).count();
        for numbers in [
            &mut self.rms,
            &mut self.dead_share,
            &mut self.max,
            &mut self.nonfinite,
        ] {
            numbers.clear();
            numbers.resize(outputs, f64::NAN);
        }
        self.sketches.clear();
        self.sketches.resize(outputs, Sketch::default());
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
            let sizes = sizes(values);
            self.rms[layer] = (sizes.squares / values.len().max(1) as f64).sqrt();
            self.max[layer] = sizes.max;
            self.nonfinite[layer] = sizes.nonfinite as f64;
            let mut counter = Counter::new(values.len(), &[width]);
            counter.add(values.len(), |at| get(at) as f32);
            self.sketches[layer] = counter.sketch();
            let hidden = observed.iter().any(|other| other.hidden.is_some() && other.name == seen.name);
            if !hidden {
                self.dead_share[layer] =
                    dead_share(tokens, width, |token, unit| get(token * width + unit) as f32);
            }
        });
    }
}

/// How large values are.
struct Sizes {
    squares: f64,
    max: f64,
    nonfinite: u64,
}

/// One pass over all values. As integers the magnitudes of floats are in the order of their sizes, then infinity, then NaN:
/// so the greatest shows what is not finite.
fn sizes<T: Elem>(values: &[T]) -> Sizes {
    /// Sums that are kept apart, so that none waits for another.
    const LANES: usize = 8;
    const INFINITE: i32 = f32::INFINITY.to_bits() as i32;
    let mut squares = [0.0; LANES];
    let mut greatest = [0; LANES];
    // No lane has 2^32 values; wider counts would halve the speed.
    let mut nonfinite = [0_u32; LANES];
    let mut see = |lane: usize, value: T| {
        let x = value.get().to_f64();
        squares[lane] += x * x;
        let bits = (x as f32).abs().to_bits() as i32;
        greatest[lane] = bits.max(greatest[lane]);
        nonfinite[lane] += u32::from(bits >= INFINITE);
    };
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in chunk.iter().enumerate() {
            see(lane, *value);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        see(lane, *value);
    }
    let greatest = greatest.into_iter().max().unwrap_or(0);
    Sizes {
        squares: squares.iter().sum(),
        max: f64::from(f32::from_bits(greatest as u32)),
        nonfinite: nonfinite.into_iter().map(u64::from).sum(),
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
    fn sizes_are_of_every_value_and_what_is_not_finite_is_never_hidden() {
        for len in [0, 1, 7, 8, 9, 1003] {
            let mut values: Vec<f32> = (0..len).map(|at| alive(at, 3)).collect();
            let squares: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
            let found = sizes(&values);
            assert!((found.squares - squares).abs() < 1e-9 * squares.max(1.0));
            let max = values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
            assert_eq!((found.max, found.nonfinite), (f64::from(max), 0), "{len}");
            // Wherever it stands; below zero too.
            let Some(last) = values.last_mut() else {
                continue;
            };
            *last = -1e30;
            assert_eq!(sizes(&values).max, f64::from(1e30_f32));
            *values.last_mut().unwrap() = f32::NEG_INFINITY;
            let found = sizes(&values);
            assert_eq!((found.max, found.nonfinite), (f64::INFINITY, 1));
            values[0] = -f32::NAN;
            let found = sizes(&values);
            assert!(found.max.is_nan(), "{len}");
            assert_eq!(found.nonfinite, if len > 1 { 2 } else { 1 });
        }
        let halves: Vec<kernels::Bf16> = [1.0, -3.0].map(kernels::Bf16::put).to_vec();
        assert_eq!(sizes(&halves).max, 3.0);
    }

    #[test]
    fn a_longer_batch_is_sampled_and_a_single_token_says_nothing() {
        assert_eq!(dead_share(100_000, 8, alive), 0.0);
        assert_eq!(dead_share(1, 8, |_, _| 0.0), 0.0);
        assert_eq!(dead_share(0, 8, |_, _| 0.0), 0.0);
    }
}
