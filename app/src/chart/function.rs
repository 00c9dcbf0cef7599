//! Curves given as functions, such as a learning rate that is still to come; see [`super::draw`] for what was measured.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::axis::{Axis, Scale};
use super::draw::{ChartStyle, paint};
use super::glyph::{GlyphSet, Grid};

/// One curve.
pub struct Function<'a> {
    /// Its value at x.
    pub of: &'a dyn Fn(f64) -> f64,
    /// Its colour.
    pub style: Style,
    /// Whether it is drawn in the form of a line, where the characters have two forms.
    pub line: bool,
}

/// Draws curves, the later over the earlier, with a vertical line at `now`.
pub fn render(
    curves: &[Function<'_>],
    (lo, hi): (f64, f64),
    now: Option<f64>,
    glyphs: GlyphSet,
    style: ChartStyle,
    area: Rect,
    buf: &mut Buffer,
) {
    let area = area.intersection(buf.area);
    if area.width < 12 || area.height < 3 || hi <= lo {
        return;
    }
    let samples = usize::from(area.width) * 2;
    let x_at = |i: usize, num: usize| lo + (hi - lo) * i as f64 / (num.max(2) - 1) as f64;
    let values = curves
        .iter()
        .flat_map(|curve| (0..samples).map(|i| (curve.of)(x_at(i, samples))))
        .filter(|y| y.is_finite());
    let (min, max) = values.fold((f64::MAX, f64::MIN), |(a, b), y| (a.min(y), b.max(y)));
    if min > max {
        return;
    }
    let axis = Axis::around(min.min(0.0), max, Scale::Linear, 0.02);
    let ticks = axis.ticks(usize::from(area.height / 2).clamp(2, 5));
    let widest = ticks.iter().map(|tick| tick.label.len() as u16).max();
    let gutter = widest.unwrap_or(0) + 1;
    let plot = Rect {
        x: area.x + gutter.min(area.width / 2),
        width: area.width - gutter.min(area.width / 2),
        height: area.height - 1,
        ..area
    };
    let row_of = |y: f64| {
        let fraction = axis.fraction(y).filter(|f| (0.0..=1.0).contains(f))?;
        let row = ((1.0 - fraction) * f64::from(plot.height)) as u16;
        Some(plot.y + row.min(plot.height - 1))
    };
    for tick in &ticks {
        if let Some(y) = row_of(tick.value) {
            buf.set_stringn(area.x, y, &tick.label, usize::from(gutter - 1), style.label);
        }
    }
    let column = |x: f64| {
        let fraction = ((x - lo) / (hi - lo)).clamp(0.0, 1.0);
        plot.x + ((fraction * f64::from(plot.width)) as u16).min(plot.width - 1)
    };
    if let Some(x) = now.filter(|x| (lo..=hi).contains(x)) {
        let symbol = if glyphs == GlyphSet::Ascii {
            "|"
        } else {
            "\u{2502}"
        };
        for y in plot.top()..plot.bottom() {
            buf.set_string(column(x), y, symbol, style.cursor);
        }
    }
    let horizontal = Axis {
        lo,
        hi,
        scale: Scale::Linear,
    };
    let mut free = plot.x;
    for tick in horizontal.ticks(usize::from(plot.width / 10)) {
        let width = tick.label.len() as u16;
        let left = column(tick.value)
            .saturating_sub(width / 2)
            .max(plot.x)
            .min(plot.right().saturating_sub(width));
        if left >= free && left + width <= plot.right() {
            buf.set_string(left, plot.bottom(), &tick.label, style.label);
            free = left + width + 1;
        }
    }
    for curve in curves {
        let mut grid = Grid::new(glyphs, usize::from(plot.width), usize::from(plot.height));
        let (num, dots) = grid.size();
        let mut before = None;
        for i in 0..num {
            let here = Some((curve.of)(x_at(i, num)))
                .filter(|y| y.is_finite())
                .and_then(|y| axis.fraction(y))
                .map(|f| (1.0 - f.clamp(0.0, 1.0)) * (dots - 1) as f64)
                .map(|y| (i, y.round() as usize));
            if let Some(to) = here {
                grid.line(before.unwrap_or(to), to);
            }
            before = here;
        }
        paint(&grid, plot, curve.style, curve.line, buf);
    }
}
