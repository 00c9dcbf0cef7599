//! Curves as inline SVG: a band from least to greatest, a smoothed line on it, points of evaluations, axes.

use super::escape;
use crate::run_folder::Index;
use crate::run_folder::index::{Bucket, Column, Table};
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 10.0;
/// Parts of the horizontal axis that are told apart.
const COLUMNS: usize = 600;
/// Decay of the line on the band.
const BETA: f64 = 0.9;

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) index: &'a Index,
    /// A figure of steps.
    pub(super) figure: &'static str,
    /// Points: step and value.
    pub(super) points: &'a [(u64, f64)],
    pub(super) logarithmic: bool,
    /// Title, for those who do not see the picture.
    pub(super) label: &'a str,
}

/// From values to heights.
struct Scale {
    lo: f64,
    hi: f64,
    logarithmic: bool,
}

impl Scale {
    fn y(&self, value: f64) -> Option<f64> {
        let through = |x: f64| if self.logarithmic { x.log10() } else { x };
        if !value.is_finite() || (self.logarithmic && value <= 0.0) {
            return None;
        }
        let (lo, hi) = (through(self.lo), through(self.hi));
        let share = ((through(value) - lo) / (hi - lo)).clamp(0.0, 1.0);
        Some(TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM))
    }

    /// Round values within the scale.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
            let few = decades.clone().count() < 3;
            let factors: &[f64] = if few {
                &[1.0, 2.0, 3.0, 5.0, 7.0]
            } else {
                &[1.0]
            };
            let all = decades.flat_map(|decade| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(decade))
            });
            return all.filter(|x| (self.lo..=self.hi).contains(x)).collect();
        }
        round_steps(self.lo, self.hi, 5)
    }
}

/// At most `most` and a few multiples of 1, 2 or 5 times a power of ten in `[lo, hi]`.
fn round_steps(lo: f64, hi: f64, most: usize) -> Vec<f64> {
    let rough = (hi - lo) / most as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number in few characters.
pub(super) fn short(x: f64) -> String {
    if x == 0.0 {
        "0".to_owned()
    } else if x.abs() >= 1e6 || x.abs() < 1e-3 {
        format!("{x:.1e}")
    } else {
        let text = format!("{x:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl Chart<'_> {
    /// The picture; nothing where there is nothing to draw.
    pub(super) fn draw(&self) -> String {
        let Some(column) = self.index.column(self.figure) else {
            return String::new();
        };
        let steps = self.index.column(Table::Steps.step());
        let Some((first, last)) = steps
            .filter(|steps| !steps.is_empty())
            .map(|steps| (steps.count(0), steps.count(steps.len() - 1)))
        else {
            return String::new();
        };
        let parts = COLUMNS.min((last - first + 1) as usize);
        let edges: Vec<u64> = (0..=parts)
            .map(|i| first + (u128::from(last - first + 1) * i as u128 / parts as u128) as u64)
            .collect();
        let buckets: Vec<(Bucket, Option<f64>)> = edges
            .windows(2)
            .map(|edge| {
                let rows = self.index.rows_of_steps(Table::Steps, edge[0], edge[1] - 1);
                let smooth = rows
                    .clone()
                    .last()
                    .and_then(|row| column.smoothed(BETA, row));
                (column.query(rows), smooth)
            })
            .collect();
        let Some(scale) = self.scale(column, &buckets) else {
            return String::new();
        };
        let x = |step: f64| {
            let span = (last - first).max(1) as f64;
            LEFT + (step - first as f64) / span * (WIDTH - LEFT - RIGHT)
        };
        let middle = |part: usize| {
            // Where a part is one step, the step itself.
            let end = (edges[part + 1] - 1).max(edges[part]);
            x(f64::midpoint(edges[part] as f64, end as f64))
        };
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.label)
        );
        Self::axes(&scale, &x, (first, last), &mut out);
        let mut alerts = String::new();
        let (mut band, mut line) = (String::new(), String::new());
        let (mut open, mut joined) = (false, false);
        for (part, (bucket, smooth)) in buckets.iter().enumerate() {
            let at = middle(part);
            joined &= bucket.nonfinite == 0;
            if bucket.finite > 0 {
                // What lies below a logarithmic axis ends at its bottom.
                let low = scale.y(bucket.min).unwrap_or(HEIGHT - BOTTOM);
                if let Some(high) = scale.y(bucket.max) {
                    // Neighbours are joined, so that few rows are a line and not dust; a lone one still shows.
                    let (to, rise) = if joined {
                        ('L', low - high)
                    } else {
                        ('M', (low - high).max(1.0))
                    };
                    let _ = write!(band, "{to}{at:.1} {low:.1}v{:.1}", -rise);
                    joined = bucket.nonfinite == 0;
                }
            }
            if bucket.nonfinite > 0 {
                let _ = write!(alerts, "M{at:.1} {TOP}v8");
            }
            // A part without finite rows parts the line; one without any row does not.
            if bucket.finite == 0 {
                open &= bucket.nonfinite == 0;
                continue;
            }
            if let Some(y) = smooth.and_then(|smooth| scale.y(smooth)) {
                let _ = write!(line, "{}{at:.1} {y:.1}", if open { 'L' } else { 'M' });
                open = true;
            }
        }
        let _ = write!(
            out,
            "<path class=\"band\" d=\"{band}\"/><path class=\"line\" d=\"{line}\"/><path class=\"alert\" d=\"{alerts}\"/>"
        );
        for (step, value) in self.points {
            if let Some(y) = scale.y(*value) {
                let _ = write!(
                    out,
                    "<circle class=\"point\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{step}: {}</title></circle>",
                    x(*step as f64).clamp(LEFT, WIDTH - RIGHT),
                    short(*value)
                );
            }
        }
        out + "</svg>"
    }

    /// All that is drawn, with a little room; none where nothing has a place.
    fn scale(&self, column: Column<'_>, buckets: &[(Bucket, Option<f64>)]) -> Option<Scale> {
        let mut values: Vec<f64> = Vec::new();
        for (bucket, _) in buckets.iter().filter(|(bucket, _)| bucket.finite > 0) {
            values.extend([bucket.min, bucket.max]);
        }
        if column.table() == Table::Steps {
            values.extend(self.points.iter().map(|point| point.1));
        }
        values.retain(|x| x.is_finite() && (!self.logarithmic || *x > 0.0));
        let lo = values.iter().copied().reduce(f64::min)?;
        let hi = values.iter().copied().reduce(f64::max)?;
        let (lo, hi) = if self.logarithmic {
            (lo / 1.05, hi * 1.05)
        } else {
            let room = ((hi - lo) * 0.03).max(hi.abs() * 1e-6).max(1e-12);
            (lo - room, hi + room)
        };
        Some(Scale {
            lo,
            hi,
            logarithmic: self.logarithmic,
        })
    }

    fn axes(scale: &Scale, x: &dyn Fn(f64) -> f64, (first, last): (u64, u64), out: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in scale.ticks() {
            if let Some(y) = scale.y(tick) {
                let _ = write!(
                    out,
                    "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 6.0,
                    y + 4.0,
                    short(tick)
                );
            }
        }
        for tick in round_steps(first as f64, last as f64, 8) {
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                x(tick),
                bottom + 18.0
            );
        }
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"
        );
    }
}
