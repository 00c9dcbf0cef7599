//! What the model writes: the samples of each step as a list or as a table of prompts and steps, the chosen one in full, and
//! beside it what another run wrote after the same prompt.
//!
//! Text comes from the model and may hold anything, so it is shown escaped. `grid.rs` says what is chosen, `matrix.rs` draws
//! the table, `page.rs` a sample, `other.rs` another run's.

use std::cell::Cell;
use std::time::Duration;

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::list::{self, Place, Shown};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::errand::{Errand, News};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{Sample, State};
use crate::text;
use crate::view::{Scene, View};

mod diff;
mod grid;
mod matrix;
mod other;
mod page;
#[cfg(test)]
mod tests;

use grid::{Chosen, Grid};
use other::Other;
use page::Page;

/// Least width at which the list stands beside the sample.
const LIST: u16 = 70;
/// Least height at which the table stands above the sample.
const ABOVE: u16 = 13;
/// Least width and height at which it stands beside it.
const BESIDE: (u16, u16) = (100, 5);

/// The screen; see the module's page.
#[derive(Default)]
pub struct Samples {
    chosen: Chosen,
    shown: Shown,
    drawn: matrix::Drawn,
    /// Whether the table is wanted.
    table: bool,
    /// Whether it had no room when it was last drawn.
    cramped: Cell<bool>,
    /// Whether what the sample that is compared with did not say is marked.
    marked: bool,
    other: Other,
    errands: Vec<Errand>,
}

/// How the screen is parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    /// The table's place, or the list's; empty where there is room for neither.
    choice: Rect,
    is_table: bool,
    page: Rect,
}

impl Parts {
    /// The list of runs above the sample, else over it.
    fn asking(area: Rect, rows: u16) -> Self {
        let height = if area.height >= ABOVE {
            rows.min(area.height / 2)
        } else {
            area.height
        };
        let (choice, page) = paint::top(area, height);
        Self {
            choice,
            is_table: false,
            page,
        }
    }

    /// The table above or beside the sample, else the list beside it, else the sample alone.
    fn new(area: Rect, grid: &Grid<'_>, table: bool) -> Self {
        if table && area.height >= ABOVE && matrix::fits(area.width) {
            let (choice, page) = paint::top(area, matrix::height(grid, area.height / 2));
            return Self {
                choice,
                is_table: true,
                page,
            };
        }
        let is_table = table && area.width >= BESIDE.0 && area.height >= BESIDE.1;
        let width = match area.width {
            width if is_table => width * 3 / 5,
            width if width >= LIST => (width / 3).min(44),
            _ => 0,
        };
        let (choice, page) = paint::left(area, width);
        Self {
            choice,
            is_table,
            page,
        }
    }
}

impl Samples {
    /// Whether keys move in the table.
    fn in_table(&self) -> bool {
        self.table && !self.cramped.get()
    }

    fn sample_of(&self, grid: &Grid<'_>, state: &State, view: &View) -> Option<usize> {
        if self.in_table() {
            return grid.sample(self.chosen.cell(grid, &state.samples, view.cursor));
        }
        let len = state.samples_until(view.cursor);
        let row = self
            .chosen
            .place(grid, &state.samples, view.cursor)
            .row(len);
        (row < len).then_some(row)
    }

    /// Moves up and down.
    fn go(&mut self, key: &str, grid: &Grid<'_>, state: &State, cursor: Option<u64>) -> bool {
        if self.in_table() {
            let cell = self.chosen.cell(grid, &state.samples, cursor);
            let mut place = Place::at(cell.row);
            let taken = place.handle(key, grid.prompts.len());
            if taken {
                let row = place.row(grid.prompts.len());
                self.chosen.choose(grid, grid::Cell { row, ..cell }, cursor);
            }
            return taken;
        }
        let mut place = self.chosen.place(grid, &state.samples, cursor);
        let taken = place.handle(key, state.samples_until(cursor));
        if taken {
            self.chosen.put(grid, place, cursor);
        }
        taken
    }
}

impl Panel for Samples {
    fn title(&self) -> Text {
        Text::new("Samples", "样本")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["v"],
                label: Text::new("table", "表格"),
                help: Text::new(
                    "a table of prompts and steps, or a list",
                    "提示与步的表格, 或列表",
                ),
            },
            PanelKey {
                keys: &["d"],
                label: Text::new("diff", "差异"),
                help: Text::new(
                    "mark the words that the sample of the same prompt before it, or of the other run, does not have there",
                    "标出同一提示的上一个样本 (或另一运行的样本) 在该处没有的词",
                ),
            },
            PanelKey {
                keys: &["o"],
                label: Text::new("other run", "另一运行"),
                help: Text::new(
                    "choose a run whose sample of the same prompt is shown beside: the newest up to that step",
                    "选择一个运行, 并排显示其同一提示截至该步的最新样本",
                ),
            },
            PanelKey {
                keys: &["right", "left"],
                label: Text::new("step", "步"),
                help: Text::new(
                    "the sample of the same prompt after it or before it",
                    "同一提示的下/上一个样本",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        let cursor = view.cursor;
        let grid = table(state, cursor);
        if self.other.is_open() {
            return self.other.handle(key, state, &grid, &mut self.errands);
        }
        match key {
            "v" => self.table = !self.table,
            "d" => self.marked = !self.marked,
            "o" => self.other.ask(&mut self.errands),
            "right" | "left" => {
                let later = key == "right";
                if self.in_table() {
                    let cell = self.chosen.cell(&grid, &state.samples, cursor);
                    let column = cell
                        .column
                        .saturating_add_signed(if later { 1 } else { -1 });
                    let column = column.min(grid.steps.len().saturating_sub(1));
                    let cell = grid::Cell { column, ..cell };
                    self.chosen.choose(&grid, cell, cursor);
                } else {
                    self.chosen.go_along(&grid, &state.samples, cursor, later);
                }
            }
            key => return self.go(key, &grid, state, cursor),
        }
        true
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        let (state, view) = (scene.state, scene.view);
        let grid = table(state, view.cursor);
        let sample = &state.samples[self.sample_of(&grid, state, view)?];
        let lines = text::escape_lines(&format!("{}{}", sample.prompt, sample.text));
        Some(lines.join("\n") + "\n")
    }

    fn click(&mut self, at: Position, state: &State, view: &View) -> Option<bool> {
        if self.other.is_open() {
            return self.other.click(at);
        }
        let cursor = view.cursor;
        let grid = table(state, cursor);
        if self.in_table() {
            let clicked = self.drawn.at(at)?;
            let before = self.chosen.cell(&grid, &state.samples, cursor);
            self.chosen.choose(&grid, clicked, cursor);
            return Some(before == clicked);
        }
        let mut place = self.chosen.place(&grid, &state.samples, cursor);
        let clicked = self.shown.click(&mut place, at)?;
        self.chosen.put(&grid, place, cursor);
        Some(clicked)
    }

    fn tick(&mut self, now: Duration) {
        self.other.tick(now, &mut self.errands);
    }

    fn errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    fn hear(&mut self, news: &News) {
        self.other.hear(news);
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let len = state.samples_until(view.cursor);
        let grid = table(state, view.cursor);
        let parts = Parts::new(area, &grid, self.table);
        self.cramped.set(self.table && !parts.is_table);
        let asking = self
            .other
            .is_open()
            .then(|| Parts::asking(area, self.other.height(state, &grid)));
        if len == 0 {
            draw_none(scene, asking.map_or(area, |parts| parts.page), buf);
        }
        let at = if let Some(asking) = asking {
            self.other.render(scene, &grid, asking.choice, buf);
            asking.page
        } else {
            parts.page
        };
        if len == 0 {
            return;
        }
        let cell = self.chosen.cell(&grid, &state.samples, view.cursor);
        if asking.is_none() && parts.is_table {
            matrix::draw(scene, &grid, cell, &self.drawn, parts.choice, buf);
        } else if asking.is_none() && parts.choice.width > 0 {
            let place = self.chosen.place(&grid, &state.samples, view.cursor);
            draw_list(scene, (place, &self.shown), len, parts.choice, buf);
        }
        let note = if self.cramped.get() {
            matrix::no_room(view)
        } else {
            ""
        };
        match self.sample_of(&grid, state, view) {
            Some(index) => {
                let sample = &state.samples[index];
                let before = state.samples.range(..index).rev();
                let page = Page {
                    sample,
                    earlier: before.filter(|s| s.prompt == sample.prompt).collect(),
                    other: self.other.find(sample),
                    marked: self.marked,
                };
                page.draw(note, view, at, buf);
            }
            None => page::draw_missing(grid.steps[cell.column], note, view, at, buf),
        }
    }
}

/// The samples until the data cursor's step as a table.
fn table(state: &State, cursor: Option<u64>) -> Grid<'_> {
    let len = state.samples_until(cursor);
    Grid::new(&state.samples, len, state.samples_forgotten)
}

fn draw_list(
    scene: &Scene<'_>,
    (place, shown): (Place, &Shown),
    len: usize,
    area: Rect,
    buf: &mut Buffer,
) {
    let (samples, view) = (&scene.state.samples, scene.view);
    let theme = &view.theme;
    let count = text::count(len as u64);
    let mark = past_mark(view);
    let title = [
        (Text::new("samples ", "样本 ").get(view.lang), theme.title),
        (&*count, theme.dim),
        (&*mark, theme.warn),
    ];
    let notes = [(past_note(view), theme.dim)];
    let inner = paint::frame(buf, area, view, &title, &notes);
    let rows = shown.rows(place, len, inner);
    for (row, index) in rows.enumerate() {
        let sample = &samples[index];
        let chosen = index == place.row(len);
        let step = text::fit_right(&text::count(sample.step), 9);
        let share = page::share(sample);
        let prompt = text::escape(&sample.prompt);
        let pieces = [
            (&*step, if chosen { theme.strong } else { theme.text }),
            ("  ", theme.text),
            (&*share, theme.good),
            (&*prompt, theme.dim),
        ];
        paint::item(buf, inner, row as u16, chosen, theme, &pieces);
    }
}

/// A frame that says how to get a sample.
fn draw_none(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    let mark = past_mark(view);
    let title = [
        (
            Text::new("samples", "样本").get(view.lang),
            view.theme.title,
        ),
        (&*mark, view.theme.warn),
    ];
    let inner = paint::frame(buf, area, view, &title, &[]);
    paint::centred(buf, inner, &lang::NO_SAMPLES.get(scene), view.theme.dim);
}

/// The newest sample, at the data cursor's step where there is one, in a frame, for other screens.
pub fn latest(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    if let Some(sample) = scene.state.sample_at(view.cursor) {
        of(sample).draw("", view, area, buf);
        return;
    }
    let inner = paint::frame(
        buf,
        area,
        view,
        &[(Text::new("sample", "样本").get(view.lang), view.theme.title)],
        &[],
    );
    paint::centred(buf, inner, &lang::NO_SAMPLES.get(scene), view.theme.dim);
}

/// The page of a sample alone.
fn of(sample: &Sample) -> Page<'_> {
    Page {
        sample,
        earlier: Vec::new(),
        other: None,
        marked: false,
    }
}
