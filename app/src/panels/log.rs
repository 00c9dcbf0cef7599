//! The log: every event but the steps, with its time and weight. An alert leads from here to its step, its layer and the rows
//! that the step was made from.

use engine::link::{Alert, Command};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::filter::{self, Filter};
use super::list::{self, Dated, Place, Shown};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::errand::{Errand, News};
use crate::lang::{self, Lang, Text};
use crate::paint;
use crate::state::past::log_row;
use crate::state::{Level, LogLine, State};
use crate::text;
use crate::view::{Scene, View};

mod rows;
#[cfg(test)]
mod tests;

use rows::Rows;

/// The screen; see the module's page.
#[derive(Default)]
pub struct Log {
    place: Dated,
    shown: Shown,
    filter: Filter,
    /// The rows of an alert, while they are read.
    rows_of: Option<Rows>,
    errands: Vec<Errand>,
}

impl Log {
    fn rows<'a>(&self, state: &'a State) -> Vec<&'a LogLine> {
        // In either language: what a record says is looked for as it stands there, too.
        let passes = |l: &&LogLine| {
            let texts = [Lang::En, Lang::Zh].map(|lang| l.text.get(lang));
            let topics = [Lang::En, Lang::Zh].map(|lang| l.topic().get(lang));
            self.filter.passes(&texts) || self.filter.passes(&topics)
        };
        state.log.iter().filter(passes).collect()
    }

    /// The chosen place.
    fn place(&self, rows: &[&LogLine], view: &View) -> Place {
        let here = Self::row_at(rows, view);
        self.place.at(view.cursor, here, |number| {
            rows.partition_point(|line| line.number < number)
        })
    }

    /// Chooses a place.
    fn put(&mut self, place: Place, rows: &[&LogLine], view: &View) {
        let number_of = |row: usize| rows.get(row).map_or(0, |line| line.number);
        self.place.put(place, view.cursor, number_of);
    }

    /// The row of the data cursor's step.
    fn row_at(rows: &[&LogLine], view: &View) -> usize {
        view.cursor.map_or(0, |step| log_row(rows, step))
    }
}

impl Panel for Log {
    fn title(&self) -> Text {
        Text::new("Log", "日志")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            filter::KEYS,
            PanelKey {
                keys: &["enter"],
                label: Text::new("to step", "到该步"),
                help: Text::new(
                    "show the charts with the data cursor at the step of the line",
                    "在图表上把光标移到该行的步",
                ),
            },
            PanelKey {
                keys: &["b"],
                label: Text::new("rows", "数据行"),
                help: Text::new(
                    "of an alert: read the rows that the step was made from, as text",
                    "警报: 以文字阅读该步所用的数据行",
                ),
            },
            PanelKey {
                keys: &["i"],
                label: Text::new("layer", "层"),
                help: Text::new(
                    "of an alert about a layer: show the layer's statistics",
                    "关于某层的警报: 显示该层的统计",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        if let Some(rows) = &mut self.rows_of {
            let open = rows.handle(key);
            if open == Some(false) {
                self.rows_of = None;
            }
            return open.is_some();
        }
        let rows = self.rows(state);
        let len = rows.len();
        let mut place = self.place(&rows, view);
        let before = place.row(len);
        let step = rows.get(before).map(|line| line.step);
        let alert = rows.get(before).and_then(|line| line.alert.clone());
        if self.filter.handle(key, &mut place, len) {
            if place.row(len) != before {
                self.put(place, &rows, view);
            }
            return true;
        }
        if matches!(key, "b" | "i") {
            self.follow(key, alert.as_deref(), view);
            return true;
        }
        if key != "enter" {
            let taken = place.handle(key, len);
            if taken {
                self.put(place, &rows, view);
            }
            return taken;
        }
        if let Some(step) = step.filter(|step| *step > 0) {
            view.look_at(Some(step));
            view.to_charts = true;
        }
        true
    }

    fn types(&self) -> bool {
        self.filter.is_open()
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    fn hear(&mut self, news: &News) {
        if let (News::Rows(step, kept), Some(rows)) = (news, &mut self.rows_of) {
            rows.hear(*step, kept);
        }
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        if let Some(rows) = &self.rows_of {
            return rows.copied();
        }
        let rows = self.rows(scene.state);
        let place = self.place(&rows, scene.view);
        let line = rows.get(place.row(rows.len()))?;
        Some(format!(
            "{} {} {} {}\n",
            line.clock,
            line.step,
            line.topic().get(scene.view.lang),
            line.text.get(scene.view.lang)
        ))
    }

    fn click(&mut self, at: Position, state: &State, view: &View) -> Option<bool> {
        let rows = self.rows(state);
        let mut place = self.place(&rows, view);
        let clicked = self.shown.click(&mut place, at);
        self.put(place, &rows, view);
        clicked
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        if let Some(rows) = &self.rows_of {
            rows.render(scene, area, buf);
            return;
        }
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = self.rows(state);
        let count = text::count(rows.len() as u64);
        let filter = self.filter.title();
        let mark = past_mark(view);
        let title = [
            (Text::new("log ", "日志 ").get(view.lang), theme.title),
            (&*count, theme.dim),
            (&*filter, theme.warn),
            (&*mark, theme.warn),
        ];
        let notes = [("UTC  ", theme.dim), (past_note(view), theme.dim)];
        let mut inner = paint::frame(buf, area, view, &title, &notes);
        self.filter.render(view, &mut inner, buf);
        let place = self.place(&rows, view);
        if rows.is_empty() && self.filter.is_empty() {
            paint::centred(buf, inner, lang::NO_LOG.get(view.lang), theme.dim);
            return;
        }
        let selected = place.row(rows.len());
        // The chosen line stands below in full where the list has to cut it.
        let mut whole = rows.get(selected).map_or_else(Vec::new, |l| {
            text::wrap(
                l.text.get(view.lang),
                usize::from(inner.width.saturating_sub(2)),
            )
        });
        let alert = rows.get(selected).and_then(|l| l.alert.as_deref());
        whole.extend(alert.map(|alert| figures(alert, view)));
        let room = usize::from(inner.width.saturating_sub(PREFIX + 1));
        let cut = rows
            .get(selected)
            .is_some_and(|l| text::width(l.text.get(view.lang)) > room);
        let cut = (cut || alert.is_some()) && usize::from(inner.height) > whole.len() + 6;
        let detail = if cut { whole.len() as u16 + 1 } else { 0 };
        let list = Rect {
            height: inner.height.saturating_sub(detail),
            ..inner
        };
        for (row, index) in self.shown.rows(place, rows.len(), list).enumerate() {
            let text = [text::truncate(rows[index].text.get(view.lang), room)];
            draw(rows[index], &text, view, list, row as u16, buf);
            if index == selected {
                paint::highlight(buf, list, row as u16, theme.selected);
            }
        }
        for (row, text) in whole.iter().enumerate().filter(|_| cut) {
            let row = list.height + 1 + row as u16;
            paint::line(buf, inner, row, &[(" ", theme.text), (text, theme.strong)]);
        }
    }
}

/// What an alert measured, and where it leads.
fn figures(alert: &Alert, view: &View) -> String {
    const BOUND: Text = Text::new("bound", "界限");
    const ROWS: Text = Text::new("rows", "数据行");
    let lang = view.lang;
    let mut parts = vec![text::figure(alert.value, 4)];
    if alert.threshold.is_finite() {
        let bound = text::figure(alert.threshold, 4);
        parts.push(format!("{} {bound}", BOUND.get(lang)));
    }
    let key = |usual: &str| {
        let keys = view.keys.panels.pressed("log", &[usual]);
        keys.first()
            .map_or_else(String::new, |key| format!(" ({key})"))
    };
    if let Some(layer) = &alert.layer {
        parts.push(format!("{}{}", text::escape(layer), key("i")));
    }
    if let Some(batch) = &alert.batch {
        let (first, rows) = (batch.first_row, ROWS.get(lang));
        let last = first + batch.rows.saturating_sub(1);
        let kept = batch.path.as_ref().map_or_else(String::new, |_| key("b"));
        parts.push(format!("{rows} {first}-{last}{kept}"));
    }
    parts.join("  ")
}

impl Log {
    /// Goes where an alert leads: to its rows, or to its layer.
    fn follow(&mut self, key: &str, alert: Option<&Alert>, view: &mut View) {
        let Some(alert) = alert else { return };
        let kept = alert
            .batch
            .as_ref()
            .is_some_and(|batch| batch.path.is_some());
        match (key, &alert.layer) {
            ("b", _) if kept => {
                self.rows_of = Some(Rows::of(alert.step));
                self.errands.push(Errand::Rows(alert.step));
            }
            ("i", Some(layer)) => {
                view.look_at(Some(alert.step));
                view.wish = Some(format!("layer {layer}"));
            }
            _ => {}
        }
    }
}

/// Cells before a line's text.
const PREFIX: u16 = 28;

/// Rows that a line takes: warnings and errors are shown whole, the rest is cut.
fn wrapped(line: &LogLine, lang: Lang, width: u16) -> Vec<String> {
    let text = line.text.get(lang);
    let room = usize::from(width.saturating_sub(PREFIX + 1));
    if line.level >= Level::Warn && room >= 12 {
        text::wrap(text, room)
    } else {
        vec![text::truncate(text, room)]
    }
}

fn draw(line: &LogLine, rows: &[String], view: &View, area: Rect, first: u16, buf: &mut Buffer) {
    let theme = &view.theme;
    let style = match line.level {
        Level::Info => theme.text,
        Level::Good => theme.good,
        Level::Warn => theme.warn,
        Level::Bad => theme.bad,
    };
    let step = text::fit_right(&text::count(line.step), 8);
    let head = [
        (" ", theme.text),
        (&*line.clock, theme.dim),
        (&*step, theme.dim),
        ("  ", theme.text),
        (&*text::fit(line.topic().get(view.lang), 9), style),
    ];
    paint::line(buf, area, first, &head);
    let body = Rect {
        x: area.x + PREFIX.min(area.width),
        width: area.width.saturating_sub(PREFIX),
        ..area
    };
    let style = if line.level >= Level::Warn {
        style
    } else {
        theme.text
    };
    for (row, text) in rows.iter().enumerate() {
        paint::line(buf, body, first + row as u16, &[(text, style)]);
    }
}

/// The last lines without a frame, for other screens.
pub fn lines(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    // From the last line upwards, as far as there is room.
    let mut shown: Vec<(&LogLine, Vec<String>)> = Vec::new();
    let mut left = area.height;
    for line in scene.state.log.iter().rev() {
        let rows = wrapped(line, scene.view.lang, area.width);
        let Some(rest) = left.checked_sub(rows.len() as u16) else {
            break;
        };
        left = rest;
        shown.push((line, rows));
    }
    let mut row = 0;
    for (line, rows) in shown.into_iter().rev() {
        draw(line, &rows, scene.view, area, row, buf);
        row += rows.len() as u16;
    }
}

/// The last lines in a frame, for other screens.
pub fn recent(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let theme = &scene.view.theme;
    let inner = paint::frame(
        buf,
        area,
        scene.view,
        &[(
            Text::new("events", "事件").get(scene.view.lang),
            theme.title,
        )],
        &[],
    );
    lines(scene, inner, buf);
}
