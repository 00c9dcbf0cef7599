//! The heat map of the layers: a row a layer, a column a step or several, colour by the logarithm of the value.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::bars::{Group, fitting};
use crate::lang::{self, Text};
use crate::paint;
use crate::panels::list::{Place, Shown};
use crate::panels::past_mark;
use crate::state::{LayerHistory, Quantity};
use crate::text;
use crate::view::{Scene, View};

/// How far from its own median a layer must be to be marked.
const UNLIKE: f32 = 4.0;

/// The heat map in a frame, for other screens.
pub fn map(scene: &Scene<'_>, quantity: Quantity, area: Rect, buf: &mut Buffer) {
    let rows: Vec<usize> = (0..scene.state.layers.names().len()).collect();
    draw(scene, quantity, (&rows, None), "", area, buf);
}

pub(super) fn draw(
    scene: &Scene<'_>,
    quantity: Quantity,
    (rows, place): (&[usize], Option<(Place, &Shown)>),
    filter: &str,
    area: Rect,
    buf: &mut Buffer,
) {
    let (view, layers) = (scene.view, &scene.state.layers);
    let theme = &view.theme;
    let snapshot = snapshot(scene);
    let when = snapshot.map_or_else(String::new, |s| {
        format!("@{}", text::count(layers.steps()[s]))
    });
    let mut title: Vec<Group<'_>> = vec![vec![
        (Text::new("layers  ", "层  ").get(view.lang), theme.title),
        (quantity.name().get(view.lang), theme.strong),
        ("  ", theme.text),
    ]];
    let mark = past_mark(view);
    title.push(vec![
        (&*when, theme.dim),
        (filter, theme.warn),
        (&*mark, theme.warn),
    ]);
    let room = area.width.saturating_sub(4);
    let range = layers.range(quantity);
    let bounds = range.map(|(lo, hi)| {
        [
            text::number(f64::from(lo), 2),
            text::number(f64::from(hi), 2),
        ]
    });
    let scale = legend(view);
    let mut notes: Vec<Group<'_>> = Vec::new();
    if let Some([lo, hi]) = &bounds {
        let mut group = vec![(lo.as_str(), theme.dim), (" ", theme.text)];
        group.extend(scale.iter().map(|(s, style)| (s.as_str(), *style)));
        group.extend([
            (" ", theme.text),
            (hi.as_str(), theme.dim),
            (Text::new("  log  ", "  对数  ").get(view.lang), theme.dim),
        ]);
        notes.push(group);
        let [up, down, _] = flags(view);
        notes.push(vec![
            (up, theme.warn),
            (Text::new(" rising  ", " 上升  ").get(view.lang), theme.dim),
            (down, theme.warn),
            (Text::new(" vanishing", " 消失").get(view.lang), theme.dim),
        ]);
    }
    let inner = paint::frame(
        buf,
        area,
        view,
        &fitting(&title, room),
        &fitting(&notes, room),
    );
    let (Some(snapshot), false) = (snapshot, inner.is_empty()) else {
        paint::centred(buf, inner, lang::NO_LAYERS.get(view.lang), theme.dim);
        return;
    };
    let visible = match place {
        Some((place, shown)) => shown.rows(place, rows.len(), inner),
        None => Place::top().visible(rows.len(), usize::from(inner.height)),
    };
    let selected = place.and_then(|(place, _)| rows.get(place.row(rows.len())));
    let longest = layers
        .names()
        .iter()
        .map(|n| text::width(n))
        .max()
        .unwrap_or(0);
    let name_width = longest.clamp(4, usize::from(inner.width / 3).max(4));
    for (row, &layer) in rows[visible].iter().enumerate() {
        let row = row as u16;
        let name = text::fit(&text::escape(&layers.names()[layer]), name_width);
        let value = layers.value(quantity, layer, snapshot);
        let figure = format!("{} ", text::fit_right(&figure(value), 7));
        let flag = flag(layers, quantity, layer, snapshot, view);
        let chosen = selected == Some(&layer);
        let name_style = if chosen { theme.key } else { theme.text };
        let edge = if chosen { ">" } else { " " };
        let end = paint::line(
            buf,
            inner,
            row,
            &[(edge, theme.key), (&name, name_style), (" ", theme.text)],
        );
        let tail = text::width(&figure) as u16 + 2;
        let style = match value {
            Some(value) if !value.is_finite() => theme.bad,
            _ => theme.text,
        };
        let pieces = [(" ", theme.text), (&*figure, style), (flag, theme.warn)];
        let heat_end = inner.right().saturating_sub(tail).max(end);
        paint::line_right(buf, inner, row, heat_end, &pieces);
        let heat = Rect {
            x: end,
            y: inner.y + row,
            width: heat_end - end,
            height: 1,
        };
        draw_row(scene, (quantity, layer), range, heat, buf);
    }
}

/// A value as it stands in a list; older records lack some.
pub(super) fn figure(value: Option<f32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| text::figure(f64::from(value), 3))
}

/// The snapshot that figures are taken from: the newest at the cursor's step, else the last.
pub(super) fn snapshot(scene: &Scene<'_>) -> Option<usize> {
    let steps = scene.state.layers.steps();
    let last = steps.len().checked_sub(1)?;
    let cursor = scene.view.cursor;
    let at = |step| steps.partition_point(|&s| s <= step).saturating_sub(1);
    Some(cursor.map_or(last, at))
}

/// The snapshots of each column. Fewer snapshots than columns are stretched.
pub(super) fn columns(
    num_snapshots: usize,
    width: u16,
) -> impl Iterator<Item = (u16, std::ops::Range<usize>)> {
    let num_columns = usize::from(width);
    (0..width).map(move |column| {
        let c = usize::from(column);
        let start = c * num_snapshots / num_columns;
        (
            column,
            start..((c + 1) * num_snapshots / num_columns).max(start + 1),
        )
    })
}

fn draw_row(
    scene: &Scene<'_>,
    (quantity, layer): (Quantity, usize),
    range: Option<(f32, f32)>,
    area: Rect,
    buf: &mut Buffer,
) {
    let (view, layers) = (scene.view, &scene.state.layers);
    let cursor = view.cursor.and(snapshot(scene));
    for (column, snapshots) in columns(layers.steps().len(), area.width) {
        let here = cursor.is_some_and(|c| snapshots.contains(&c));
        let Some(value) = layers.greatest(quantity, layer, snapshots) else {
            continue;
        };
        let (symbol, mut style) = heat(value, range, view);
        if here {
            style = view.theme.strong.patch(view.theme.cursor);
        }
        let symbol = if here { '|' } else { symbol };
        if let Some(cell) = buf.cell_mut((area.x + column, area.y)) {
            cell.set_char(symbol).set_style(style);
        }
    }
}

/// How a value looks: its place between the least and the greatest, logarithmically.
fn heat(value: f32, range: Option<(f32, f32)>, view: &View) -> (char, Style) {
    let theme = &view.theme;
    if !value.is_finite() {
        return ('x', theme.bad);
    }
    let Some((lo, hi)) = range.filter(|_| value > 0.0) else {
        return ('.', theme.dim);
    };
    let span = (hi / lo).ln();
    let place = if span > 0.0 {
        (value / lo).ln() / span
    } else {
        0.5
    };
    shade(f64::from(place), view)
}

/// How a place between 0 and 1 looks.
pub fn shade(place: f64, view: &View) -> (char, Style) {
    let theme = &view.theme;
    let of = |num: usize| ((place * num as f64) as usize).min(num.saturating_sub(1));
    if theme.heat.is_empty() || view.glyphs == crate::chart::glyph::GlyphSet::Ascii {
        let shades = &view.glyphs.shades()[1..];
        (shades[of(shades.len())], theme.line)
    } else {
        (
            '\u{2588}',
            Style::new().fg(theme.heat[of(theme.heat.len())]),
        )
    }
}

/// All looks from low to high.
pub fn legend(view: &View) -> Vec<(String, Style)> {
    let cells = (0..12).map(|i| shade((f64::from(i) + 0.5) / 12.0, view));
    cells
        .map(|(symbol, style)| (symbol.to_string(), style))
        .collect()
}

/// The marks of a layer unlike itself: rising, vanishing, not finite.
fn flags(view: &View) -> [&'static str; 3] {
    if view.glyphs == crate::chart::glyph::GlyphSet::Ascii {
        ["^", "v", "x"]
    } else {
        ["\u{25b2}", "\u{25bc}", "\u{d7}"]
    }
}

/// The mark of a layer in a snapshot, compared with the median of its own past.
fn flag(
    layers: &LayerHistory,
    quantity: Quantity,
    layer: usize,
    snapshot: usize,
    view: &View,
) -> &'static str {
    let [up, down, broken] = flags(view);
    let Some(value) = layers.value(quantity, layer, snapshot) else {
        return " ";
    };
    if !value.is_finite() {
        return broken;
    }
    let median = layers.median(quantity, layer, snapshot);
    match median {
        m if m > 0.0 && value > UNLIKE * m => up,
        m if m > 0.0 && value < m / UNLIKE => down,
        _ => " ",
    }
}
