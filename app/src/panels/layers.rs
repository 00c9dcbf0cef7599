//! Layers over time as a heat map: where activations grow, gradients vanish, updates are too large.
//!
//! Colour is logarithmic over everything that is visible. Several snapshots in one column show their greatest value, so
//! that no outburst is lost. The chosen layer's course stands below the map.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::filter::{self, Filter};
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey, past_mark};
use crate::bars::{Group, fitting};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{LayerHistory, Quantity, State};
use crate::text;
use crate::view::{Scene, View};

/// How far from its own median a layer must be to be marked.
const UNLIKE: f32 = 4.0;

/// The screen; see the module's page.
pub struct Layers {
    quantity: usize,
    /// Whether those that are most unlike their own median come first.
    sorted: bool,
    place: Place,
    shown: Shown,
    filter: Filter,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            quantity: 0,
            sorted: false,
            place: Place::top(),
            shown: Shown::default(),
            filter: Filter::default(),
        }
    }
}

impl Panel for Layers {
    fn title(&self) -> Text {
        Text::new("Layers", "层")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["v", "V"],
                label: Text::new("quantity", "指标"),
                help: Text::new(
                    "next or previous quantity: activation, gradient, weight, update, dead units",
                    "下/上一个指标: 激活, 梯度, 权重, 更新, 死单元",
                ),
            },
            PanelKey {
                keys: &["o"],
                label: Text::new("order", "排序"),
                help: Text::new(
                    "those first that are most unlike their own median; again: in the model's order",
                    "最偏离自身中位数的层在前; 再按恢复模型顺序",
                ),
            },
            filter::KEYS,
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        let num = Quantity::ALL.len();
        let len = self.rows(&state.layers, None).len();
        match key {
            "o" if !self.filter.is_open() => {
                self.sorted = !self.sorted;
                self.place = Place::top();
            }
            _ if self.filter.handle(key, &mut self.place, len) => {}
            "v" => self.quantity = (self.quantity + 1) % num,
            "V" => self.quantity = (self.quantity + num - 1) % num,
            key => return self.place.handle(key, len),
        }
        true
    }

    fn types(&self) -> bool {
        self.filter.is_open()
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn seek(&mut self, name: &str, state: &State) -> bool {
        let layers = &state.layers;
        if !layers.names().iter().any(|known| known == name) {
            return false;
        }
        // It may be filtered away, or have another row at every step.
        (self.filter, self.sorted) = (Filter::default(), false);
        let rows = self.rows(layers, None);
        let row = rows.iter().position(|&layer| layers.names()[layer] == name);
        self.place = row.map_or(self.place, Place::at);
        true
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let rows = self.rows(&scene.state.layers, snapshot(scene));
        let quantity = Quantity::ALL[self.quantity];
        let course = if area.height >= 16 {
            Quantity::ALL.len() as u16 + 2
        } else {
            0
        };
        let mut upper = Rect {
            height: area.height - course,
            ..area
        };
        let lower = Rect {
            y: area.y + upper.height,
            height: course,
            ..area
        };
        self.filter.render(scene.view, &mut upper, buf);
        let list = (rows.as_slice(), Some((self.place, &self.shown)));
        let mut title = self.filter.title();
        if self.sorted {
            title += Text::new("  most unlike first", "  偏离最大者在前").get(scene.view.lang);
        }
        draw_map(scene, quantity, list, &title, upper, buf);
        if let Some(&layer) = rows.get(self.place.row(rows.len())) {
            draw_course(scene, layer, lower, buf);
        }
    }
}

impl Layers {
    /// The layers that pass the filter, in the order of the screen at a snapshot.
    fn rows(&self, layers: &LayerHistory, snapshot: Option<usize>) -> Vec<usize> {
        let names = layers.names().iter().enumerate();
        let passing = names.filter(|(_, name)| self.filter.passes(&[name]));
        let mut rows: Vec<usize> = passing.map(|(layer, _)| layer).collect();
        if let (true, Some(snapshot)) = (self.sorted, snapshot) {
            let quantity = Quantity::ALL[self.quantity];
            let mut keyed: Vec<(f32, usize)> = rows
                .iter()
                .map(|&layer| (layers.unlike(quantity, layer, snapshot), layer))
                .collect();
            keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            rows = keyed.into_iter().map(|(_, layer)| layer).collect();
        }
        rows
    }
}

/// The heat map in a frame, for other screens.
pub fn map(scene: &Scene<'_>, quantity: Quantity, area: Rect, buf: &mut Buffer) {
    let rows: Vec<usize> = (0..scene.state.layers.names().len()).collect();
    draw_map(scene, quantity, (&rows, None), "", area, buf);
}

fn draw_map(
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
        (quantity.name(), theme.strong),
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
fn figure(value: Option<f32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| text::figure(f64::from(value), 3))
}

/// The snapshot that figures are taken from: the newest at the cursor's step, else the last.
fn snapshot(scene: &Scene<'_>) -> Option<usize> {
    let steps = scene.state.layers.steps();
    let last = steps.len().checked_sub(1)?;
    let cursor = scene.view.cursor;
    let at = |step| steps.partition_point(|&s| s <= step).saturating_sub(1);
    Some(cursor.map_or(last, at))
}

/// The snapshots of each column. Fewer snapshots than columns are stretched.
fn columns(
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
        let values = snapshots.filter_map(|s| layers.value(quantity, layer, s));
        let greatest = values.reduce(|a, b| if a.is_nan() || a > b { a } else { b });
        let Some(value) = greatest else { continue };
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
pub(super) fn shade(place: f64, view: &View) -> (char, Style) {
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
pub(super) fn legend(view: &View) -> Vec<(String, Style)> {
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

/// The course of the chosen layer: all quantities, one strip each.
fn draw_course(scene: &Scene<'_>, layer: usize, area: Rect, buf: &mut Buffer) {
    let (view, layers) = (scene.view, &scene.state.layers);
    let theme = &view.theme;
    let (Some(name), false) = (layers.names().get(layer), area.is_empty()) else {
        return;
    };
    let name = text::escape(name);
    let inner = paint::frame(buf, area, view, &[(&name, theme.title)], &[]);
    let Some(snapshot) = snapshot(scene) else {
        return;
    };
    let bars = view.glyphs.bars();
    for (row, quantity) in Quantity::ALL.into_iter().enumerate() {
        let row = row as u16;
        let figure = text::fit_right(&figure(layers.value(quantity, layer, snapshot)), 8);
        let label = text::fit(quantity.name(), 15);
        let end = paint::line(
            buf,
            inner,
            row,
            &[
                (" ", theme.text),
                (&label, theme.dim),
                (&figure, theme.strong),
                ("  ", theme.text),
            ],
        );
        let width = inner.right().saturating_sub(end + 1);
        let values: Vec<Option<f32>> = columns(layers.steps().len(), width)
            .map(|(_, s)| {
                s.filter_map(|s| layers.value(quantity, layer, s))
                    .reduce(f32::max)
            })
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
