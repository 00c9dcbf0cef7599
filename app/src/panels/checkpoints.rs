//! The checkpoints on the disk: when, why, how large, how good.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

/// The screen; see the module's page.
#[derive(Default)]
pub struct Checkpoints {
    place: Place,
}

impl Panel for Checkpoints {
    fn title(&self) -> Text {
        Text::new("Checkpoints", "检查点")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[list::KEYS];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        self.place.handle(key, state.checkpoints.len())
    }

    fn place(&mut self) -> Option<&mut Place> {
        Some(&mut self.place)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = &state.checkpoints;
        let written = text::bytes(rows.iter().map(|c| c.bytes).sum());
        let num = text::count(rows.len() as u64);
        let title = [
            ("checkpoints ", theme.title),
            (&*num, theme.strong),
            ("  written ", theme.dim),
            (&*written, theme.text),
        ];
        let notes = [("keep_last deletes older ones on the disk", theme.dim)];
        let inner = paint::frame(buf, area, view, &title, &notes);
        if rows.is_empty() {
            paint::centred(
                buf,
                inner,
                &lang::NO_CHECKPOINTS.with_key(view, "ckpt"),
                theme.dim,
            );
            return;
        }
        let head = format!(
            " {} {} {} {}  {}",
            text::fit_right("step", 10),
            text::fit_right("loss", 8),
            text::fit_right("size", 9),
            text::fit_right("time", 7),
            text::fit("why", 11)
        );
        paint::line(buf, inner, 0, &[(&head, theme.dim), ("path", theme.dim)]);
        let list = Rect {
            y: inner.y + 1,
            height: inner.height.saturating_sub(1),
            ..inner
        };
        let selected = self.place.row(rows.len());
        let best = state.best_eval().map(|e| e.step);
        for (row, index) in self.place.visible_in(rows.len(), list).enumerate() {
            let c = &rows[index];
            let loss = c
                .loss
                .map_or_else(|| "-".to_owned(), |l| text::value(f64::from(l), 4));
            let figures = format!(
                "{} {} {} {}  ",
                text::fit_right(&text::count(c.step), 10),
                text::fit_right(&loss, 8),
                text::fit_right(&text::bytes(c.bytes), 9),
                text::fit_right(&text::duration(c.seconds), 7),
            );
            let why = text::fit(&text::escape(&c.reason), 11);
            let path = text::escape(&c.path);
            let mark = if best == Some(c.step) {
                "  best validation"
            } else {
                ""
            };
            let chosen = index == selected;
            let pieces = [
                (if chosen { ">" } else { " " }, theme.key),
                (&*figures, theme.text),
                (&*why, theme.text),
                (&*path, theme.dim),
                (mark, theme.good),
            ];
            paint::line(buf, list, row as u16, &pieces);
            if chosen {
                paint::highlight(buf, list, row as u16, theme.selected);
            }
        }
    }
}
