//! A strip of bars without axes: one glance at the course of a metric.
//!
//! Each column is as high as the extreme row in it that matters ([`Shows`]), so one step's spike or dip stays visible.
//! For axes and values see [`super::draw`].

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::columns::Columns;
use super::glyph::GlyphSet;
use super::series::{Series, Track, XUnit};

/// Which of a column's rows stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// The greatest: where spikes matter.
    Greatest,
    /// The least: where dips matter.
    Least,
}

/// Draws the window of a series as bars, standing on zero, over the whole of `area`. Columns without rows repeat the row
/// before them.
pub fn render(
    (track, series): (&Track, &Series),
    columns: &Columns,
    (unit, window): (XUnit, (f64, f64)),
    shows: Shows,
    (glyphs, style): (GlyphSet, Style),
    area: Rect,
    buf: &mut Buffer,
) {
    let area = area.intersection(buf.area);
    if area.is_empty() || track.is_empty() {
        return;
    }
    let count = usize::from(area.width);
    let columns = columns.of((track, series), None, unit, window, count);
    let mut previous = None;
    let heights: Vec<Option<f32>> = columns
        .iter()
        .map(|column| {
            if !column.rows.is_empty() {
                let extremes = column.bin.extremes();
                previous = extremes.map(|(least, greatest)| match shows {
                    Shows::Greatest => greatest,
                    Shows::Least => least,
                });
            }
            previous
        })
        .collect();
    let shown = || heights.iter().flatten().copied();
    let (Some(least), Some(most)) = (shown().reduce(f32::min), shown().reduce(f32::max)) else {
        return;
    };
    let base = least.min(0.0);
    let bars = glyphs.bars();
    let levels = bars.len() - 1;
    let total = usize::from(area.height) * levels;
    for (column, height) in heights.iter().enumerate() {
        let Some(value) = height else { continue };
        let fraction = if most > base {
            (value - base) / (most - base)
        } else {
            0.5
        };
        // The lowest bar still shows: what is there is not the same as what is absent.
        let filled = ((fraction * total as f32).round() as usize).clamp(1, total);
        for row in 0..usize::from(area.height) {
            let below = (usize::from(area.height) - 1 - row) * levels;
            let symbol = bars[filled.saturating_sub(below).min(levels)];
            if let Some(cell) = buf.cell_mut((area.x + column as u16, area.y + row as u16)) {
                cell.set_char(symbol).set_style(style);
            }
        }
    }
}
