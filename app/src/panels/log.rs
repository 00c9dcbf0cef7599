//! The log: every event but the steps, with its time and weight.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::filter::{self, Filter};
use super::list::{self, Dated, Shown};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::past::log_row;
use crate::state::{Level, LogLine, State};
use crate::text;
use crate::view::{Scene, View};

/// The screen; see the module's page.
#[derive(Default)]
pub struct Log {
    place: Dated,
    shown: Shown,
    filter: Filter,
}

impl Log {
    fn rows<'a>(&self, state: &'a State) -> Vec<&'a LogLine> {
        let passes = |l: &&LogLine| self.filter.passes(&[&l.text, l.tag]);
        state.log.iter().filter(passes).collect()
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
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        let rows = self.rows(state);
        let (len, here) = (rows.len(), Self::row_at(&rows, view));
        let mut place = self.place.at(view.cursor, here);
        let before = place.row(len);
        let step = rows.get(before).map(|line| line.step);
        if self.filter.handle(key, &mut place, len) {
            if place.row(len) != before {
                self.place.put(place, view.cursor);
            }
            return true;
        }
        if key != "enter" {
            return self.place.handle(key, len, view.cursor, here);
        }
        if let Some(step) = step.filter(|step| *step > 0) {
            view.look_at(Some(step));
            view.to_charts = true;
        }
        true
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        let rows = self.rows(scene.state);
        let place = self
            .place
            .at(scene.view.cursor, Self::row_at(&rows, scene.view));
        let line = rows.get(place.row(rows.len()))?;
        Some(format!(
            "{} {} {} {}\n",
            line.clock, line.step, line.tag, line.text
        ))
    }

    fn click(&mut self, at: Position, state: &State, view: &View) -> Option<bool> {
        let here = Self::row_at(&self.rows(state), view);
        let mut place = self.place.at(view.cursor, here);
        let clicked = self.shown.click(&mut place, at);
        self.place.put(place, view.cursor);
        clicked
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = self.rows(state);
        let count = text::count(rows.len() as u64);
        let filter = self.filter.title();
        let mark = past_mark(view);
        let title = [
            ("log ", theme.title),
            (&*count, theme.dim),
            (&*filter, theme.warn),
            (&*mark, theme.warn),
        ];
        let notes = [("UTC  ", theme.dim), (past_note(view), theme.dim)];
        let mut inner = paint::frame(buf, area, view, &title, &notes);
        self.filter.render(view, &mut inner, buf);
        let place = self.place.at(view.cursor, Self::row_at(&rows, view));
        if rows.is_empty() && self.filter.is_empty() {
            paint::centred(buf, inner, lang::NO_LOG.get(view.lang), theme.dim);
            return;
        }
        let selected = place.row(rows.len());
        // The chosen line stands below in full where the list has to cut it.
        let whole = rows.get(selected).map_or_else(Vec::new, |l| {
            text::wrap(&l.text, usize::from(inner.width.saturating_sub(2)))
        });
        let room = usize::from(inner.width.saturating_sub(PREFIX + 1));
        let cut = rows
            .get(selected)
            .is_some_and(|l| text::width(&l.text) > room);
        let cut = cut && usize::from(inner.height) > whole.len() + 6;
        let detail = if cut { whole.len() as u16 + 1 } else { 0 };
        let list = Rect {
            height: inner.height.saturating_sub(detail),
            ..inner
        };
        for (row, index) in self.shown.rows(place, rows.len(), list).enumerate() {
            let text = [text::truncate(&rows[index].text, room)];
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

/// Cells before a line's text.
const PREFIX: u16 = 28;

/// Rows that a line takes: warnings and errors are shown whole, the rest is cut.
fn wrapped(line: &LogLine, width: u16) -> Vec<String> {
    let room = usize::from(width.saturating_sub(PREFIX + 1));
    if line.level >= Level::Warn && room >= 12 {
        text::wrap(&line.text, room)
    } else {
        vec![text::truncate(&line.text, room)]
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
        (&*text::fit(line.tag, 9), style),
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
        let rows = wrapped(line, area.width);
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
    let inner = paint::frame(buf, area, scene.view, &[("events", theme.title)], &[]);
    lines(scene, inner, buf);
}
