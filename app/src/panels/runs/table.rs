//! The list of runs.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{ORDERS, Purpose, Runs};
use crate::book::Entry;
use crate::chart::glyph::GlyphSet;
use crate::lang::{Text, term};
use crate::paint;
use crate::panels::field::Field;
use crate::text;
use crate::view::{Scene, View};

/// Cells of the columns between name and tags.
const FIGURES: usize = 52;

const NONE: Text = Text::new("no runs in this folder", "该目录中没有运行");
const NONE_FITS: Text = Text::new("no run fits the filter", "没有符合筛选条件的运行");
const READING: Text = Text::new("reading the folder of runs", "正在读取运行目录");
const TAGS: Text = Text::new("tags", "标签");
const NOTE: Text = Text::new("note", "备注");
const HINT: Text = Text::new(
    "Space marks  Enter compares  / filters  o orders",
    "Space 标记  Enter 比较  / 筛选  o 排序",
);

impl Runs {
    pub(super) fn render_table(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let count = text::count(self.rows.len() as u64);
        const MARKED: Text = Text::new("  {0} marked", "  已标记 {0}");
        const ORDER: Text = Text::new("  by {0}", "  按 {0} 排序");
        let marked = MARKED.filled(view.lang, &[&self.marked.len().to_string()]);
        let order = ORDER.filled(view.lang, &[&ORDERS[self.order].1]);
        let filter = format!("  /{}", text::escape(&self.filter));
        let mut title = vec![
            (Text::new("runs ", "运行 ").get(view.lang), theme.title),
            (&*count, theme.strong),
        ];
        if !self.marked.is_empty() {
            title.push((&*marked, theme.warn));
        }
        title.push((&*order, theme.dim));
        if !self.filter.is_empty() {
            title.push((&*filter, theme.warn));
        }
        let inner = paint::frame(buf, area, view, &title, &[(HINT.get(view.lang), theme.dim)]);
        let foot = self.foot(view, inner);
        let foot_height = (foot.len() as u16 + u16::from(self.typing.is_some())).min(inner.height);
        let list = Rect {
            height: inner.height - foot_height,
            ..inner
        };
        let empty = match (self.is_read, self.entries.is_empty()) {
            (false, _) => Some(READING),
            (true, true) => Some(NONE),
            _ => self.rows.is_empty().then_some(NONE_FITS),
        };
        match empty {
            Some(why) => paint::centred(buf, list, why.get(view.lang), theme.dim),
            None => self.render_rows(scene, list, buf),
        }
        let below = Rect {
            y: list.bottom(),
            height: foot_height,
            ..inner
        };
        for (row, (line, style)) in foot.iter().enumerate() {
            paint::line(buf, below, row as u16, &[(" ", theme.text), (line, *style)]);
        }
        if let Some((purpose, field)) = &self.typing {
            render_field(purpose, field, view, below, foot.len() as u16, buf);
        }
    }

    /// What stands below the list, in lines that fit into `inner`: half of its height at most, so that the list stays.
    fn foot(&self, view: &View, inner: Rect) -> Vec<(String, Style)> {
        let cells = usize::from(inner.width.saturating_sub(1));
        let mut lines: Vec<(String, Style)> = Vec::new();
        for (said, style) in self.below(view) {
            let parts = text::wrap(&said, cells).into_iter();
            lines.extend(parts.map(|part| (part, style)));
        }
        let most = usize::from(inner.height / 2).max(1);
        if let Some((next, _)) = lines.get(most).cloned() {
            let last = &mut lines[most - 1].0;
            *last = text::truncate(&format!("{last} {next}"), cells);
            lines.truncate(most);
        }
        lines
    }

    /// What is said below the list: a question, what was done, what is wrong, the chosen run's tags and note.
    fn below(&self, view: &View) -> Vec<(String, Style)> {
        let theme = &view.theme;
        if let Some((run, holds)) = &self.doomed {
            let name = run.file_name().unwrap_or_default().to_string_lossy();
            let holds = holds.map_or("...".to_owned(), |holds| {
                const HOLDS: Text = Text::new("{0}, {1} checkpoints", "{0}, {1} 个检查点");
                let num = holds.checkpoints.to_string();
                HOLDS.filled(view.lang, &[&text::bytes(holds.bytes), &num])
            });
            let question = Text::new("delete for good", "永久删除").get(view.lang);
            let keys = Text::new("y deletes, Esc keeps it", "y 删除, Esc 保留").get(view.lang);
            return vec![(
                text::escape(&format!("{question} {name} ({holds})?  {keys}")),
                theme.bad,
            )];
        }
        let mut foot = Vec::new();
        if let Some(fault) = &self.fault {
            foot.push((text::escape(&view.lang.say(fault)), theme.warn));
        }
        match &self.said {
            Some(Ok(done)) => foot.push((text::escape(&view.lang.say(done)), theme.good)),
            Some(Err(why)) => foot.push((text::escape(&view.lang.say(why)), theme.bad)),
            None => {}
        }
        if let Some(entry) = self.chosen()
            && self.typing.is_none()
        {
            let tags: Vec<&str> = entry.meta.tags.iter().map(String::as_str).collect();
            let tags = tags.join(" ");
            for (what, said) in [(TAGS, tags.as_str()), (NOTE, entry.meta.note.as_str())] {
                if !said.is_empty() {
                    let what = what.get(view.lang);
                    foot.push((text::escape(&format!("{what}: {said}")), theme.dim));
                }
            }
        }
        foot
    }

    fn render_rows(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let width = usize::from(area.width);
        let name_width = width.saturating_sub(FIGURES + 3).clamp(12, 40);
        let head = format!(
            "  {} {} {} {} {} {} {}",
            text::fit(Text::new("run", "运行").get(view.lang), name_width),
            text::fit(Text::new("state", "状态").get(view.lang), 11),
            text::fit_right(Text::new("try", "次").get(view.lang), 3),
            text::fit_right(Text::new("step", "步").get(view.lang), 9),
            text::fit_right("loss", 8),
            text::fit_right(Text::new("best val", "最好验证").get(view.lang), 8),
            text::fit_right(Text::new("age", "距今").get(view.lang), 6),
        );
        paint::line(
            buf,
            area,
            0,
            &[
                (&head, theme.dim),
                (Text::new("  tags", "  标签").get(view.lang), theme.dim),
            ],
        );
        let list = Rect {
            y: area.y + area.height.min(1),
            height: area.height.saturating_sub(1),
            ..area
        };
        let selected = self.place.row(self.rows.len());
        let visible = self
            .place
            .visible(self.rows.len(), usize::from(list.height));
        let own = scene.state.started.as_ref().map(|head| head.run.as_str());
        for (row, place) in visible.enumerate() {
            let (index, depth) = self.rows[place];
            let entry = &self.entries[index];
            let summary = &entry.summary;
            let marked = self.marked.contains(&summary.path);
            let loss = |loss: Option<f64>| {
                text::fit_right(&loss.map_or("-".to_owned(), |x| text::value(x, 4)), 8)
            };
            let figures = format!(
                " {} {} {} {} {}  ",
                text::fit_right(&summary.attempt.to_string(), 3),
                text::fit_right(&text::count(summary.step), 9),
                loss(summary.loss),
                loss(entry.figures.best.map(|best| best.0)),
                text::fit_right(&entry.age.map_or("-".to_owned(), text::duration), 6),
            );
            let tags: Vec<&str> = entry.meta.tags.iter().map(String::as_str).collect();
            let chosen = place == selected;
            let is_own = own == Some(&*summary.name);
            let pieces = [
                (if marked { "*" } else { " " }, theme.warn),
                (
                    &*text::fit(&name(entry, depth, view), name_width),
                    if is_own { theme.strong } else { theme.text },
                ),
                (" ", theme.text),
                (
                    &*text::fit(term(entry.status()).get(view.lang), 11),
                    style_of(entry.status(), view),
                ),
                (&*figures, theme.text),
                (&*text::escape(&tags.join(" ")), theme.dim),
            ];
            paint::item(buf, list, row as u16, chosen, theme, &pieces);
        }
    }
}

fn render_field(
    purpose: &Purpose,
    field: &Field,
    view: &View,
    below: Rect,
    row: u16,
    buf: &mut Buffer,
) {
    let label = match purpose {
        Purpose::Filter => "/",
        Purpose::Tags(_) => Text::new("tags: ", "标签: ").get(view.lang),
        Purpose::Note(_) => Text::new("note: ", "备注: ").get(view.lang),
    };
    let at = Rect {
        y: below.y + row.min(below.height),
        height: below.height.saturating_sub(row).min(1),
        ..below
    };
    field.render(label, view, at, buf);
}

/// A run's name below its parent's, with the step that it was forked from.
fn name(entry: &Entry, depth: usize, view: &View) -> String {
    let name = text::escape(&entry.summary.name);
    let branch = match view.glyphs {
        GlyphSet::Ascii => "`-",
        _ => "\u{2514}\u{2500}",
    };
    let step = entry.summary.parent.as_deref().and_then(|parent| {
        let (_, step) = parent.rsplit_once('@')?;
        Some(text::escape(step))
    });
    match (depth, step) {
        (0, None) => name,
        // The parent is not on show.
        (0, Some(_)) => {
            let parent = entry.summary.parent.as_deref().unwrap_or_default();
            format!("{name} <{}", text::escape(parent))
        }
        (depth, step) => {
            let room = "  ".repeat((depth - 1).min(8));
            let step = step.map_or_else(String::new, |step| format!(" @{step}"));
            format!("{room}{branch}{name}{step}")
        }
    }
}

fn style_of(status: &str, view: &View) -> Style {
    let theme = &view.theme;
    match status {
        "running" | "finished" => theme.good,
        "paused" | "interrupted" => theme.warn,
        "failed" => theme.bad,
        _ => theme.text,
    }
}
