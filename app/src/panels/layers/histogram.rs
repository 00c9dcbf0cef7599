//! How the values of one layer are spread: a bar for each octave of magnitude, below zero at the left, above at the right.
//!
//! Where the data cursor stands in the past, the newest histogram stands below that of the cursor's step, on the same axis
//! and the same scale.

use engine::sketch::{OCTAVES, Sketch};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::Style;

use super::map::snapshot;
use crate::bars::{Group, fitting};
use crate::lang::Text;
use crate::paint;
use crate::state::{Quantity, Spread};
use crate::text;
use crate::view::{Scene, View};

/// Buckets of a histogram; each has a column, or several.
const BUCKETS: u16 = 2 * OCTAVES as u16 + 1;

/// The least room, frame included.
pub(super) const LEAST: Size = Size::new(BUCKETS + 4, 7);

/// The width, frame included, in which a bucket has two columns.
pub(super) const DOUBLE: u16 = 2 * BUCKETS + 4;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Values of the layer's output.
    Activations,
    /// Gradients of its parameters.
    Gradients,
}

impl Side {
    /// The one that has to do with a quantity.
    pub(super) fn of(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Activation | Quantity::Max | Quantity::Dead => Self::Activations,
            Quantity::Gradient | Quantity::Weight | Quantity::Update => Self::Gradients,
        }
    }

    fn name(self) -> Text {
        match self {
            Self::Activations => Text::new("activations", "激活"),
            Self::Gradients => Text::new("gradients", "梯度"),
        }
    }

    fn sketch(self, spread: &Spread, layer: usize) -> Option<&Sketch> {
        match self {
            Self::Activations => spread.activations.get(layer),
            Self::Gradients => spread.gradients.get(layer),
        }
    }
}

/// Draws the histogram of a layer at the step that is looked at.
pub(super) fn draw(scene: &Scene<'_>, layer: usize, side: Side, area: Rect, buf: &mut Buffer) {
    const NOTHING: Text = Text::new("no histogram up to this step", "此步之前没有直方图");
    let (view, layers) = (scene.view, &scene.state.layers);
    let theme = &view.theme;
    if area.is_empty() {
        return;
    }
    let at = |step| {
        let spread = layers.spread(step)?;
        Some((spread.step, side.sketch(spread, layer)?))
    };
    let here = snapshot(scene).and_then(|snapshot| at(layers.steps()[snapshot]));
    let now = at(u64::MAX).filter(|now| here.is_some_and(|here| here.0 < now.0));
    let name = side.name().get(view.lang);
    let Some((step, sketch)) = here else {
        let inner = paint::frame(buf, area, view, &[(name, theme.title)], &[]);
        paint::centred(buf, inner, NOTHING.get(view.lang), theme.dim);
        return;
    };
    let when = format!("  @{}", text::count(step));
    let title = [(name, theme.title), (when.as_str(), theme.dim)];
    let notes = notes(sketch, view);
    let notes: Vec<Group<'_>> = notes
        .iter()
        .map(|(s, style)| vec![(&**s, *style)])
        .collect();
    let room = area.width.saturating_sub(4);
    let inner = paint::frame(buf, area, view, &title, &fitting(&notes, room));
    let wide = inner.width / BUCKETS;
    if wide == 0 || inner.height < 2 {
        return;
    }
    let mut bars = Rect {
        x: inner.x + (inner.width - wide * BUCKETS) / 2,
        width: wide * BUCKETS,
        height: inner.height - 1,
        ..inner
    };
    let top = sketch.top.max(now.map_or(i32::MIN, |now| now.1.top));
    axis(
        top,
        wide,
        Rect {
            y: bars.bottom(),
            height: 1,
            ..bars
        },
        view,
        buf,
    );
    let shares = |sketch: &Sketch| {
        sketch
            .buckets(top)
            .map(|n| n as f64 / sketch.count().max(1) as f64)
    };
    let here = shares(sketch);
    let Some((step, sketch)) = now.filter(|_| bars.height >= 2) else {
        columns(&here, greatest(&here), theme.line, bars, view, buf);
        return;
    };
    let now = shares(sketch);
    let most = greatest(&here).max(greatest(&now));
    let height = bars.height;
    bars.height = height / 2;
    columns(&here, most, theme.line, bars, view, buf);
    bars.y += bars.height;
    bars.height = height - bars.height;
    columns(&now, most, theme.band, bars, view, buf);
    let when = format!("@{}", text::count(step));
    let label = [
        (Text::new("now ", "现在 ").get(view.lang), theme.dim),
        (when.as_str(), theme.dim),
    ];
    paint::line(buf, bars, 0, &label);
}

/// What a histogram does not show: how many values it counts, which of all, and how many have no place in it.
fn notes(sketch: &Sketch, view: &View) -> Vec<(String, Style)> {
    let theme = &view.theme;
    let mut notes = Vec::new();
    if sketch.nonfinite > 0 {
        let words = Text::new("not finite", "个非有限值").get(view.lang);
        let count = text::count(u64::from(sketch.nonfinite));
        notes.push((format!("{count} {words}  "), theme.bad));
    }
    let words = Text::new("values", "个值").get(view.lang);
    let count = text::count(sketch.count());
    notes.push((format!("{count} {words}"), theme.dim));
    if sketch.stride > 1 {
        let words = Text::new("one of", "取样 1 /").get(view.lang);
        notes.push((format!(", {words} {}", sketch.stride), theme.dim));
    }
    notes
}

fn greatest(shares: &[f64]) -> f64 {
    shares.iter().copied().fold(0.0, f64::max)
}

/// A bar a bucket, `most` as high as the area; a bucket that has a value at all is seen.
fn columns(shares: &[f64], most: f64, style: Style, area: Rect, view: &View, buf: &mut Buffer) {
    let bars = view.glyphs.bars();
    let full = bars.len() - 1;
    let wide = area.width / BUCKETS;
    for (bucket, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let levels = full * usize::from(area.height);
        let level = (share / most * levels as f64).round() as usize;
        let level = level.clamp(1, levels);
        for row in 0..area.height {
            let below = full * usize::from(area.height - 1 - row);
            let symbol = bars[level.saturating_sub(below).min(full)];
            for column in 0..wide {
                let x = area.x + bucket as u16 * wide + column;
                if symbol != ' '
                    && let Some(cell) = buf.cell_mut((x, area.y + row))
                {
                    cell.set_char(symbol).set_style(style);
                }
            }
        }
    }
}

/// The values at the edges, at zero and, where there is room, half way: octaves, so the square root of the edge's distance.
fn axis(top: i32, wide: u16, area: Rect, view: &View, buf: &mut Buffer) {
    let theme = &view.theme;
    // Powers of two: whole ones as they are.
    let value = |octaves: i32| {
        let octave = top.saturating_sub(octaves);
        let digits = if octave >= 0 { 4 } else { 2 };
        text::number(f64::exp2(f64::from(octave)), digits)
    };
    let (edge, half) = (value(0), value(OCTAVES as i32 / 2));
    let mut label = |bucket: u16, label: &str| {
        // Centred on its bucket, but within the area.
        let width = text::width(label) as u16;
        let middle = bucket * wide + wide / 2;
        let left = middle.saturating_sub(width / 2);
        let left = left.min(area.width.saturating_sub(width));
        let at = Rect {
            x: area.x + left,
            width: area.width - left,
            ..area
        };
        paint::line(buf, at, 0, &[(label, theme.dim)]);
    };
    label(0, &format!("-{edge}"));
    label(OCTAVES as u16, "0");
    label(BUCKETS - 1, &edge);
    if wide > 1 {
        label(OCTAVES as u16 / 2, &format!("-{half}"));
        label(OCTAVES as u16 * 3 / 2, &half);
    }
}
