//! What each byte of the plan is alive for: live memory over the calls of a step, and the largest buffers with their lives.

use engine::link::{Command, Planned, PlannedBuffer};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::chart::glyph::GlyphSet;
use crate::lang::{self, Lang, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::theme::Theme;
use crate::view::{Scene, View};

/// Letters of the kinds where there are no colours, in the order of [`Planned::kinds`].
const LETTERS: [char; 6] = ['i', 'v', 'r', 's', 'g', 'w'];
/// Columns of a buffer's figures before its life.
const FIGURES: u16 = 52;

/// The screen; see the module's page.
pub struct Memory {
    place: Place,
    shown: Shown,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            place: Place::top(),
            shown: Shown::default(),
        }
    }
}

impl Panel for Memory {
    fn title(&self) -> Text {
        Text::new("Memory", "内存")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[list::KEYS];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        let rows = state.plan.as_ref().map_or(0, |plan| plan.buffers.len());
        self.place.handle(key, rows)
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let Some(plan) = &scene.state.plan else {
            let inner = paint::frame(
                buf,
                area,
                view,
                &[(Text::new("memory", "内存").get(view.lang), view.theme.title)],
                &[],
            );
            paint::centred(buf, inner, lang::NO_CONFIG.get(view.lang), view.theme.dim);
            return;
        };
        let height = if area.height < 12 {
            0
        } else {
            area.height * 2 / 5
        };
        let (upper, lower) = paint::top(area, height);
        if height > 0 {
            timeline(scene, plan, upper, buf);
        }
        self.largest(plan, lower, view, buf);
    }
}

/// The name of a kind of buffer.
fn kind(name: &str, lang: Lang) -> String {
    let text = match name {
        "input" => Text::new("input", "输入"),
        "value" => Text::new("value", "值"),
        "recomputed" => Text::new("recomputed", "重算"),
        "saved" => Text::new("saved", "保存"),
        "gradient" => Text::new("gradient", "梯度"),
        "workspace" => Text::new("workspace", "工作区"),
        name => return text::escape(name),
    };
    text.get(lang).to_owned()
}

/// How the kind of that number is drawn.
fn style(theme: &Theme, kind: usize) -> Style {
    match kind {
        0 => theme.dim,
        1 => theme.line,
        2 => theme.point,
        3 => theme.floor,
        4 => theme.warn,
        _ => theme.band,
    }
}

/// Live bytes of each kind, stacked, over the calls of a replay.
fn timeline(scene: &Scene<'_>, plan: &Planned, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    let theme = &view.theme;
    let total = |bytes: &[u64]| bytes.iter().sum::<u64>();
    let fullest = plan.timeline.iter().max_by_key(|at| total(&at.bytes));
    let most = fullest.map_or(0, |at| total(&at.bytes));
    let arena = text::bytes(plan.arena_bytes);
    // Of a run on a GPU it is the device's memory.
    let device = scene.state.started.as_ref().map(|head| &*head.device);
    let device = device.filter(|device| *device != "cpu");
    let device = device.map_or_else(String::new, |device| {
        Text::new(" on {0}", " 于 {0}").filled(view.lang, &[&text::escape(device)])
    });
    let peak = text::bytes(most);
    // A backward call has the word behind its name.
    let backward = Text::new(" backward", " 反向").get(view.lang);
    let place = fullest.map_or_else(String::new, |at| match at.name.strip_suffix(" backward") {
        Some(name) => text::escape(name) + backward,
        None => text::escape(&at.name),
    });
    let title = [
        (Text::new("arena ", "内存池 ").get(view.lang), theme.title),
        (&*arena, theme.strong),
        (&*device, theme.text),
        (Text::new("  fullest ", "  最满 ").get(view.lang), theme.dim),
        (&*peak, theme.text),
        (Text::new(" at ", " 位于 ").get(view.lang), theme.dim),
        (&*place, theme.text),
    ];
    let names: Vec<String> = plan
        .kinds
        .iter()
        .zip(LETTERS)
        .map(|(name, letter)| format!("{letter} {}  ", kind(name, view.lang)))
        .collect();
    let notes: Vec<(&str, Style)> = names
        .iter()
        .enumerate()
        .map(|(kind, name)| (name.as_str(), style(theme, kind)))
        .collect();
    let inner = paint::frame(buf, area, view, &title, &notes);
    if inner.is_empty() || plan.timeline.is_empty() || most == 0 {
        return;
    }
    let cell = most.div_ceil(u64::from(inner.height)).max(1);
    for column in 0..inner.width {
        let index = usize::from(column) * plan.timeline.len() / usize::from(inner.width);
        let at = &plan.timeline[index];
        let mut below = 0;
        for (kind, bytes) in at.bytes.iter().enumerate() {
            let (from, to) = ((below + cell / 2) / cell, (below + bytes + cell / 2) / cell);
            for row in from..to.min(u64::from(inner.height)) {
                let y = inner.bottom() - 1 - row as u16;
                buf[(inner.x + column, y)]
                    .set_char(symbol(view, kind))
                    .set_style(style(theme, kind));
            }
            below += bytes;
        }
    }
}

impl Memory {
    /// The largest buffers and when they live.
    fn largest(&self, plan: &Planned, area: Rect, view: &View, buf: &mut Buffer) {
        let theme = &view.theme;
        const OF: Text = Text::new("{0} of {1}", "{0}, 共 {1}");
        const NOTES: Text = Text::new(
            "{0} calls, backward from {1}  micro-batch of {2} rows",
            "{0} 次调用, 反向从第 {1} 次开始  微批 {2} 行",
        );
        let lang = view.lang;
        let shown = plan.buffers.len().to_string();
        let num = OF.filled(lang, &[&shown, &text::count(plan.buffer_count as u64)]);
        let title = [
            (
                Text::new("largest buffers ", "最大的缓冲区 ").get(view.lang),
                theme.title,
            ),
            (&*num, theme.strong),
        ];
        let figures = [plan.calls, plan.forward_calls, plan.rows].map(|n| n.to_string());
        let notes = NOTES.filled(lang, &[&figures[0], &figures[1], &figures[2]]);
        let inner = paint::frame(buf, area, view, &title, &[(&notes, theme.dim)]);
        let head = format!(
            " {} {} {} {}  ",
            text::fit_right(Text::new("size", "大小").get(lang), 9),
            text::fit(Text::new("type", "类型").get(lang), 4),
            text::fit(Text::new("kind", "种类").get(lang), 10),
            text::fit(Text::new("of", "属于").get(lang), 23)
        );
        paint::line(
            buf,
            inner,
            0,
            &[
                (&head, theme.dim),
                (
                    Text::new("forward, then backward", "先前向, 后反向").get(lang),
                    theme.dim,
                ),
            ],
        );
        let list = Rect {
            y: inner.y + 1.min(inner.height),
            height: inner.height.saturating_sub(1),
            ..inner
        };
        let selected = self.place.row(plan.buffers.len());
        let visible = self.shown.rows(self.place, plan.buffers.len(), list);
        for (row, index) in visible.enumerate() {
            let buffer = &plan.buffers[index];
            let figures = format!(
                "{} {} {} {}  ",
                text::fit_right(&text::bytes(buffer.bytes), 9),
                text::fit(&buffer.dtype, 4),
                text::fit(&kind(&buffer.kind, lang), 10),
                text::fit(&buffer.name, 23)
            );
            let chosen = index == selected;
            let pieces = [(&*figures, theme.text)];
            paint::item(buf, list, row as u16, chosen, theme, &pieces);
            life(plan, buffer, list, row as u16, view, buf);
        }
    }
}

/// A buffer's life as a bar over the calls of a replay.
fn life(
    plan: &Planned,
    buffer: &PlannedBuffer,
    area: Rect,
    row: u16,
    view: &View,
    buf: &mut Buffer,
) {
    let width = usize::from(area.width.saturating_sub(FIGURES + 1));
    if width == 0 || row >= area.height || plan.calls == 0 {
        return;
    }
    let kind = plan
        .kinds
        .iter()
        .position(|kind| *kind == buffer.kind)
        .unwrap_or(0);
    let column = |call: usize| call.min(plan.calls - 1) * width / plan.calls;
    for x in column(buffer.first)..=column(buffer.last) {
        buf[(area.x + FIGURES + x as u16, area.y + row)]
            .set_char(symbol(view, kind))
            .set_style(style(&view.theme, kind));
    }
}

/// A block where there are colours to tell kinds apart, else the kind's letter.
fn symbol(view: &View, kind: usize) -> char {
    if view.glyphs == GlyphSet::Ascii || view.theme.line.fg.is_none() {
        LETTERS[kind.min(LETTERS.len() - 1)]
    } else {
        '\u{2588}'
    }
}
