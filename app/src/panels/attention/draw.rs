//! The three parts of the screen: the map, the grid of entropies, the list of what a token looks at.

use engine::link::Attention as Map;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar as _;

use super::label;
use crate::bars::{Group, fitting};
use crate::lang::Text;
use crate::paint;
use crate::panels::layers::{legend, shade};
use crate::text;
use crate::view::View;

/// Least probability that is drawn as more than nothing: one in the map's own precision.
const LEAST: f64 = 0.0015;
/// How many of the tokens that are looked at most are listed.
const MOST: usize = 5;

/// One head's map: a row for each token, a column for each token that it may look at.
pub(super) fn map(
    map: &Map,
    chosen: usize,
    trouble: Option<&str>,
    view: &View,
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &view.theme;
    let place = format!("L{} H{}", map.layer, map.head);
    let when = format!("  @{}", text::count(map.step));
    let entropy = map.entropies.get(map.layer).and_then(|l| l.get(map.head));
    const ENTROPY: Text = Text::new("  entropy {0} nats", "  熵 {0} nat");
    const SKIPPED: Text = Text::new(
        "{0} tokens before these are read, not shown  ",
        "之前的 {0} 个 token 已读入, 未显示  ",
    );
    let lang = view.lang;
    let entropy = entropy.map_or_else(String::new, |e| ENTROPY.filled(lang, &[&format!("{e:.2}")]));
    let title: [Group<'_>; 3] = [
        vec![
            (
                Text::new("attention ", "注意力 ").get(view.lang),
                theme.title,
            ),
            (&place, theme.strong),
        ],
        vec![(&when, theme.dim)],
        vec![(&entropy, theme.text)],
    ];
    let room = area.width.saturating_sub(4);
    let mut notes: Vec<Group<'_>> = Vec::new();
    let skipped = SKIPPED.filled(lang, &[&map.skipped.to_string()]);
    let scale = legend(view);
    if let Some(trouble) = trouble {
        notes.push(vec![(trouble, theme.warn)]);
    } else {
        let mut group = vec![("0 ", theme.dim)];
        group.extend(scale.iter().map(|(s, style)| (s.as_str(), *style)));
        let root = Text::new(" 1 (root)  ", " 1 (平方根)  ").get(lang);
        group.push((root, theme.dim));
        notes.push(group);
    }
    if map.skipped > 0 {
        notes.push(vec![(&skipped, theme.warn)]);
    }
    let inner = paint::frame(
        buf,
        area,
        view,
        &fitting(&title, room),
        &fitting(&notes, room),
    );
    if inner.width < 4 || inner.height < 2 || map.tokens.is_empty() {
        return;
    }
    let labels: Vec<String> = map.tokens.iter().map(|t| label(t, view)).collect();
    let longest = labels.iter().map(|l| text::width(l)).max().unwrap_or(0);
    let names = longest.clamp(1, usize::from(inner.width / 4).clamp(1, 12));
    let left = inner.x + names as u16 + 2;
    let columns = Columns::new(labels.len(), chosen, inner.right().saturating_sub(left));
    for (column, name) in labels.iter().enumerate().skip(columns.first) {
        let Some(x) = columns.x(column) else { break };
        let at = Rect {
            x: left + x,
            width: columns.width,
            height: 1,
            ..inner
        };
        let style = if column == chosen {
            theme.key
        } else {
            theme.dim
        };
        // Wide columns keep a space between their names.
        let cells = columns.width - u16::from(columns.width > 2);
        paint::line(buf, at, 0, &[(&head(name, usize::from(cells)), style)]);
    }
    let rows = usize::from(inner.height - 1);
    let first = paint::scroll(labels.len(), chosen, rows);
    for (line, row) in (first..labels.len()).take(rows).enumerate() {
        let line = line as u16 + 1;
        let is_chosen = row == chosen;
        let name = text::fit_right(&labels[row], names);
        let style = if is_chosen { theme.key } else { theme.text };
        let edge = if is_chosen { ">" } else { " " };
        paint::line(buf, inner, line, &[(edge, theme.key), (&name, style)]);
        for (column, p) in map.rows[row].iter().enumerate().skip(columns.first) {
            let Some(x) = columns.x(column) else { break };
            let (symbol, style) = probability(*p, view);
            for cell in 0..columns.width {
                if let Some(cell) = buf.cell_mut((left + x + cell, inner.y + line)) {
                    cell.set_char(symbol).set_style(style);
                }
            }
        }
    }
}

/// How a probability looks: its root, so that small ones are told from none.
fn probability(p: f64, view: &View) -> (char, Style) {
    if p < LEAST {
        ('.', view.theme.border)
    } else {
        shade(p.sqrt(), view)
    }
}

/// Which columns are seen, and where.
struct Columns {
    first: usize,
    width: u16,
    room: u16,
}

impl Columns {
    /// For `len` columns in `room` cells, so that `chosen` is among them.
    fn new(len: usize, chosen: usize, room: u16) -> Self {
        let width = (usize::from(room) / len.max(1)).clamp(1, 4) as u16;
        let seen = usize::from(room / width).max(1);
        // What a token looks at lies before it: it is kept at the right edge.
        let first = (chosen + 1)
            .saturating_sub(seen)
            .min(len.saturating_sub(seen));
        Self { first, width, room }
    }

    fn x(&self, column: usize) -> Option<u16> {
        let x = u16::try_from(column.checked_sub(self.first)?).ok()? * self.width;
        (x + self.width <= self.room).then_some(x)
    }
}

/// As much of a label as fits into `cells`, its marked space left out where there is more.
fn head(label: &str, cells: usize) -> String {
    let bare = label.trim_start_matches(['_', '\u{2423}']);
    let label = if bare.is_empty() { label } else { bare };
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= cells
    };
    label.chars().take_while(fits).collect()
}

/// How sharply every head looks: low is few tokens, high is many.
pub(super) fn entropies(
    map: &Map,
    chosen: (usize, usize),
    view: &View,
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &view.theme;
    let all = || map.entropies.iter().flatten().copied();
    let (lo, hi) = all().fold((f64::INFINITY, 0.0f64), |(lo, hi), e| {
        (lo.min(e), hi.max(e))
    });
    let nats = Text::new("nats", "nat").get(view.lang);
    let (least, most) = (format!("{lo:.2} "), format!(" {hi:.2} {nats}"));
    let scale = legend(view);
    let mut group = vec![(least.as_str(), theme.dim)];
    group.extend(scale.iter().map(|(s, style)| (s.as_str(), *style)));
    group.push((&most, theme.dim));
    let notes: [Group<'_>; 1] = [group];
    let title = [
        (Text::new("entropy", "熵").get(view.lang), theme.title),
        (
            Text::new("  layer x head", "  层 x 头").get(view.lang),
            theme.dim,
        ),
    ];
    let notes = fitting(&notes, area.width.saturating_sub(4));
    let inner = paint::frame(buf, area, view, &title, &notes);
    let (heads, left) = (map.entropies.first().map_or(0, Vec::len), inner.x + 6);
    if inner.width < 8 || inner.height < 2 || heads == 0 {
        return;
    }
    let columns = Columns::new(heads, chosen.1, inner.right().saturating_sub(left));
    if let Some(x) = columns.x(chosen.1) {
        let at = Rect {
            x: left + x,
            width: columns.width,
            height: 1,
            ..inner
        };
        paint::line(buf, at, 0, &[("v", theme.key)]);
    }
    let rows = usize::from(inner.height - 1);
    let first = paint::scroll(map.entropies.len(), chosen.0, rows);
    for (line, layer) in (first..map.entropies.len()).take(rows).enumerate() {
        let line = line as u16 + 1;
        let is_chosen = layer == chosen.0;
        let name = format!("{:>4}", format!("L{layer}"));
        let style = if is_chosen { theme.key } else { theme.dim };
        let edge = if is_chosen { ">" } else { " " };
        paint::line(buf, inner, line, &[(edge, theme.key), (&name, style)]);
        for (head, entropy) in map.entropies[layer].iter().enumerate().skip(columns.first) {
            let Some(x) = columns.x(head) else { break };
            let place = if hi > lo {
                (entropy - lo) / (hi - lo)
            } else {
                0.5
            };
            let (symbol, style) = shade(place, view);
            for cell in 0..columns.width {
                if let Some(cell) = buf.cell_mut((left + x + cell, inner.y + line)) {
                    cell.set_char(symbol).set_style(style);
                }
            }
        }
    }
}

/// What the chosen token looks at most.
pub(super) fn looks(map: &Map, chosen: usize, view: &View, area: Rect, buf: &mut Buffer) {
    let theme = &view.theme;
    let (Some(row), Some(token)) = (map.rows.get(chosen), map.tokens.get(chosen)) else {
        return;
    };
    let own = label(token, view);
    let number = format!("{} ", map.skipped + chosen);
    let title = [
        (number.as_str(), theme.dim),
        (&*own, theme.strong),
        (Text::new(" looks at", " 看向").get(view.lang), theme.title),
    ];
    let inner = paint::frame(buf, area, view, &title, &[]);
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
    let lines = order.iter().filter(|at| row[**at] >= LEAST).take(MOST);
    for (line, at) in lines.enumerate() {
        let line = line as u16;
        let figures = format!(" {:.3} {:>4} ", row[*at], map.skipped + at);
        let name = text::fit(&label(&map.tokens[*at], view), 12);
        let pieces = [(figures.as_str(), theme.text), (&*name, theme.strong)];
        let end = paint::line(buf, inner, line, &pieces);
        if line < inner.height && inner.right() > end + 3 {
            let bar = Rect {
                x: end + 1,
                y: inner.y + line,
                width: inner.right() - end - 2,
                height: 1,
            };
            paint::bar(buf, bar, row[*at], view);
        }
    }
    let shown: f64 = row.iter().sum();
    if map.skipped > 0 && usize::from(inner.height) > MOST {
        const REST: Text = Text::new(" {0} before those shown", " {0} 落在未显示的 token 上");
        let before = format!("{:.3}", (1.0 - shown).max(0.0));
        let rest = REST.filled(view.lang, &[&before]);
        paint::line(buf, inner, MOST as u16, &[(&rest, theme.dim)]);
    }
}
