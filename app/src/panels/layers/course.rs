//! The course of one layer: every quantity as a strip of bars, with its value at the step that is looked at.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::map::{columns, figure, snapshot};
use crate::lang::Text;
use crate::paint;
use crate::state::Quantity;
use crate::text;
use crate::view::Scene;

/// The course of the chosen layer: all quantities, one strip each.
pub(super) fn draw(scene: &Scene<'_>, layer: usize, area: Rect, buf: &mut Buffer) {
    let (view, layers) = (scene.view, &scene.state.layers);
    let theme = &view.theme;
    let (Some(name), false) = (layers.names().get(layer), area.is_empty()) else {
        return;
    };
    let name = text::escape(name);
    let snapshot = snapshot(scene);
    // How many values the greatest magnitude stands for when it is none.
    let broken = snapshot.map_or(0, |snapshot| layers.nonfinite(layer, snapshot));
    let words = Text::new("values not finite", "个非有限值").get(view.lang);
    let note = format!("{} {words}", text::count(broken));
    let notes: &[_] = match broken {
        0 => &[],
        _ => &[(note.as_str(), theme.bad)],
    };
    let inner = paint::frame(buf, area, view, &[(&name, theme.title)], notes);
    let Some(snapshot) = snapshot else {
        return;
    };
    let bars = view.glyphs.bars();
    for (row, quantity) in Quantity::ALL.into_iter().enumerate() {
        let row = row as u16;
        let value = layers.value(quantity, layer, snapshot);
        let figure = text::fit_right(&figure(value), 8);
        let figure_style = match value {
            Some(value) if !value.is_finite() => theme.bad,
            _ => theme.strong,
        };
        let label = text::fit(quantity.name().get(view.lang), 15);
        let end = paint::line(
            buf,
            inner,
            row,
            &[
                (" ", theme.text),
                (&label, theme.dim),
                (&figure, figure_style),
                ("  ", theme.text),
            ],
        );
        let width = inner.right().saturating_sub(end + 1);
        let values: Vec<Option<f32>> = columns(layers.steps().len(), width)
            .map(|(_, snapshots)| layers.greatest(quantity, layer, snapshots))
            .collect();
        let greatest = values
            .iter()
            .flatten()
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.0, f32::max);
        for (column, value) in values.into_iter().enumerate() {
            let Some(value) = value.filter(|_| row < inner.height) else {
                continue;
            };
            let level = (value / greatest * (bars.len() - 1) as f32)
                .round()
                .max(1.0);
            let (symbol, style) = if value.is_finite() {
                (bars[(level as usize).min(bars.len() - 1)], theme.line)
            } else {
                ('x', theme.bad)
            };
            if let Some(cell) = buf.cell_mut((end + column as u16, inner.y + row)) {
                cell.set_char(symbol).set_style(style);
            }
        }
    }
}
