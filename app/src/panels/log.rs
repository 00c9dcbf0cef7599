//! The log: every event but the steps, with its time and weight.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::field::{Field, Typed};
use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{Level, LogLine, State};
use crate::text;
use crate::view::{Scene, View};

/// The screen; see the module's page.
#[derive(Default)]
pub struct Log {
    place: Place,
    filter: String,
    typing: Option<Field>,
}

impl Log {
    fn rows<'a>(&self, state: &'a State) -> Vec<&'a LogLine> {
        let matches = |l: &&LogLine| l.text.contains(&self.filter) || l.tag.contains(&self.filter);
        state.log.iter().filter(matches).collect()
    }
}

impl Panel for Log {
    fn title(&self) -> Text {
        Text::new("Log", "日志")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["/"],
                label: Text::new("filter", "筛选"),
                help: Text::new(
                    "show only lines that hold this text",
                    "只显示包含该文字的行",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        if let Some(field) = &mut self.typing {
            match field.handle(key) {
                Typed::Open => self.filter.clone_from(&field.text),
                Typed::Done => self.typing = None,
                Typed::Cancelled => {
                    self.typing = None;
                    self.filter.clear();
                }
            }
            return true;
        }
        match key {
            "/" => self.typing = Some(Field::with(&self.filter)),
            "esc" if !self.filter.is_empty() => self.filter.clear(),
            key => return self.place.handle(key, self.rows(state).len()),
        }
        true
    }

    fn paste(&mut self, text: &str) {
        if let Some(field) = &mut self.typing {
            field.paste(text);
            self.filter.clone_from(&field.text);
        }
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = self.rows(state);
        let count = text::count(rows.len() as u64);
        let filter = format!("  /{}", self.filter);
        let mut title = vec![("log ", theme.title), (&*count, theme.dim)];
        if !self.filter.is_empty() {
            title.push((&*filter, theme.warn));
        }
        let inner = paint::frame(buf, area, view, &title, &[("UTC", theme.dim)]);
        if rows.is_empty() && self.typing.is_none() {
            paint::centred(buf, inner, lang::NO_LOG.get(view.lang), theme.dim);
            return;
        }
        let foot = u16::from(self.typing.is_some()).min(inner.height);
        let list = Rect {
            height: inner.height - foot,
            ..inner
        };
        let selected = self.place.row(rows.len());
        for (row, index) in self
            .place
            .visible(rows.len(), usize::from(list.height))
            .enumerate()
        {
            draw(rows[index], view, list, row as u16, buf);
            if index == selected {
                paint::highlight(buf, list, row as u16, theme.selected);
            }
        }
        if let Some(field) = &self.typing {
            let at = Rect {
                y: inner.bottom() - foot,
                height: foot,
                ..inner
            };
            field.render("/", view, at, buf);
        }
    }
}

fn draw(line: &LogLine, view: &View, area: Rect, row: u16, buf: &mut Buffer) {
    let theme = &view.theme;
    let style = match line.level {
        Level::Info => theme.text,
        Level::Good => theme.good,
        Level::Warn => theme.warn,
        Level::Bad => theme.bad,
    };
    let step = text::fit_right(&text::count(line.step), 8);
    let pieces = [
        (" ", theme.text),
        (&*line.clock, theme.dim),
        (&*step, theme.dim),
        ("  ", theme.text),
        (&*text::fit(line.tag, 8), style),
        (
            &*line.text,
            if line.level >= Level::Warn {
                style
            } else {
                theme.text
            },
        ),
    ];
    paint::line(buf, area, row, &pieces);
}

/// The last lines without a frame, for other screens.
pub fn lines(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let log = &scene.state.log;
    let first = log.len().saturating_sub(usize::from(area.height));
    for (row, line) in log.range(first..).enumerate() {
        draw(line, scene.view, area, row as u16, buf);
    }
}

/// The last lines in a frame, for other screens.
pub fn recent(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let theme = &scene.view.theme;
    let inner = paint::frame(buf, area, scene.view, &[("events", theme.title)], &[]);
    lines(scene, inner, buf);
}
