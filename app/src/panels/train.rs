//! The first screen: loss, learning rate, gradient norm, speed and what happened.
//!
//! Three layouts by the cells there are: a dashboard with layers, samples and memory; a column of chart, strips and
//! events; or figures and one chart. Any pane can have the whole area. What is shown where is decided here; [`charts`] and
//! [`memory`] draw it.

use std::cell::RefCell;

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::{Panel, PanelKey, layers, log, samples};
use crate::lang::Text;
use crate::mouse::{Mouse, What};
use crate::paint;
use crate::state::{Quantity, State};
use crate::view::{Scene, View};

mod charts;
mod memory;

use charts::Which;

/// A part of the screen that can have all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pane {
    Loss,
    Strip(Which),
    Layers,
    Sample,
    Memory,
    Events,
}

impl Pane {
    /// In the order in which the keys walk through them.
    const ALL: [Self; 8] = [
        Self::Loss,
        Self::Strip(Which::Lr),
        Self::Strip(Which::GradNorm),
        Self::Strip(Which::Speed),
        Self::Layers,
        Self::Sample,
        Self::Memory,
        Self::Events,
    ];
}

/// Where a pane was drawn: all of it, and the plot of its chart if it is one.
type Drawn = (Pane, Rect, Rect);

/// The screen; see the module's page.
#[derive(Default)]
pub struct Train {
    /// The pane that was chosen.
    chosen: Option<Pane>,
    /// Whether it has the whole area.
    expanded: bool,
    /// What the last frame drew where, for the mouse.
    drawn: RefCell<Vec<Drawn>>,
}

impl Train {
    fn walk(&mut self, forward: bool) {
        let num = Pane::ALL.len();
        let here = Pane::ALL.iter().position(|p| Some(*p) == self.chosen);
        let to = match (here, forward) {
            (None, true) => 0,
            (None, false) => num - 1,
            (Some(at), true) => (at + 1) % num,
            (Some(at), false) => (at + num - 1) % num,
        };
        self.chosen = Some(Pane::ALL[to]);
    }

    fn under(&self, at: Position) -> Option<Drawn> {
        let drawn = self.drawn.borrow();
        drawn.iter().find(|(_, area, _)| area.contains(at)).copied()
    }

    fn draw(&self, pane: Pane, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let plot = draw(pane, scene, area, buf);
        if self.chosen == Some(pane) && !self.expanded {
            paint::mark_frame(buf, area, scene.view);
        }
        self.drawn.borrow_mut().push((pane, area, plot));
    }
}

impl Panel for Train {
    fn title(&self) -> Text {
        Text::new("Train", "训练")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["x", "enter"],
                label: Text::new("expand", "放大面板"),
                help: Text::new(
                    "the chosen pane (else the loss) gets the whole area; again: all panes",
                    "所选面板 (默认 loss) 占满界面; 再按恢复",
                ),
            },
            PanelKey {
                keys: &["j", "k", "down", "up"],
                label: Text::new("pane", "选面板"),
                help: Text::new(
                    "choose the next or previous pane",
                    "选择下一个 / 上一个面板",
                ),
            },
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, _: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        match key {
            "x" | "enter" => {
                self.expanded = !self.expanded;
                self.chosen.get_or_insert(Pane::Loss);
            }
            "j" | "down" => self.walk(true),
            "k" | "up" => self.walk(false),
            "esc" if self.expanded => self.expanded = false,
            "esc" if self.chosen.is_some() => self.chosen = None,
            _ => return false,
        }
        true
    }

    fn point(&mut self, mouse: Mouse, state: &State, view: &mut View) -> bool {
        let Some((pane, _, plot)) = self.under(mouse.at) else {
            return false;
        };
        if !plot.contains(mouse.at) {
            if mouse.what == What::Press {
                self.chosen = Some(pane);
            }
            return true;
        }
        // The middle of the cell, as a share of the plot.
        let column = f64::from(mouse.at.x - plot.x) + 0.5;
        let share = column / f64::from(plot.width);
        match mouse.what {
            What::Press | What::Drag => view.point_at(share, &state.track),
            What::Up => view.zoom_at(share, true, &state.track),
            What::Down => view.zoom_at(share, false, &state.track),
        }
        true
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        self.drawn.borrow_mut().clear();
        if let (true, Some(pane)) = (self.expanded, self.chosen) {
            self.draw(pane, scene, area, buf);
            return;
        }
        match (area.width, area.height) {
            (136.., 36..) => self.dashboard(scene, area, buf),
            (60.., 16..) => self.column(scene, area, buf),
            _ => self.small(scene, area, buf),
        }
    }
}

/// Draws a pane in its frame. Returns where the plot of its chart lies, if it is one.
fn draw(pane: Pane, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Rect {
    match pane {
        Pane::Loss => return charts::loss(scene, area, buf),
        Pane::Strip(which) => return charts::strip(scene, which, area, buf),
        Pane::Layers => layers::map(scene, Quantity::Activation, area, buf),
        Pane::Sample => samples::latest(scene, area, buf),
        Pane::Memory => memory::render(scene, area, buf),
        Pane::Events => log::recent(scene, area, buf),
    }
    Rect::default()
}

/// Cuts `height` rows off the top of `area`.
fn top(area: &mut Rect, height: u16) -> Rect {
    let (part, rest) = paint::top(*area, height);
    *area = rest;
    part
}

/// Cuts `width` columns off the left of `area`.
fn left(area: &mut Rect, width: u16) -> Rect {
    let (part, rest) = paint::left(*area, width);
    *area = rest;
    part
}

impl Train {
    fn dashboard(&self, scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
        let num_events = (area.height / 6).clamp(5, 12);
        let middle = (area.height / 4).clamp(9, 18);
        let upper_height = area.height - num_events - middle;
        let mut upper = top(&mut area, upper_height);
        let mut lower = top(&mut area, middle);

        let loss_width = upper.width * 5 / 8;
        self.draw(Pane::Loss, scene, left(&mut upper, loss_width), buf);
        let third = upper.height / 3;
        let strips = [
            (Which::Lr, third),
            (Which::GradNorm, third),
            (Which::Speed, upper.height - 2 * third),
        ];
        for (which, height) in strips {
            let at = top(&mut upper, height);
            self.draw(Pane::Strip(which), scene, at, buf);
        }

        let (map_width, sample_width) = (lower.width * 2 / 5, lower.width / 3);
        self.draw(Pane::Layers, scene, left(&mut lower, map_width), buf);
        self.draw(Pane::Sample, scene, left(&mut lower, sample_width), buf);
        self.draw(Pane::Memory, scene, lower, buf);
        self.draw(Pane::Events, scene, area, buf);
    }

    fn column(&self, scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
        let num_events = if area.height >= 19 {
            (area.height / 5).clamp(3, 8)
        } else {
            0
        };
        let strip_height = if area.height >= 30 { 7 } else { 4 };
        let chart_height = area.height - num_events - strip_height;
        self.draw(Pane::Loss, scene, top(&mut area, chart_height), buf);
        let mut strips = top(&mut area, strip_height);
        let third = strips.width / 3;
        let lr = left(&mut strips, third);
        let norm = left(&mut strips, third);
        for (which, at) in [
            (Which::Lr, lr),
            (Which::GradNorm, norm),
            (Which::Speed, strips),
        ] {
            self.draw(Pane::Strip(which), scene, at, buf);
        }
        // Without a frame: a line of the log is worth more than an edge here.
        log::lines(scene, area, buf);
    }

    /// Figures in one or two lines, then the bare chart.
    fn small(&self, scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
        let num_lines = match area.height {
            0..=3 => 1,
            _ => 2,
        };
        let figures = top(&mut area, num_lines);
        let title = charts::figures(scene);
        let rows = [charts::borrow(&title.loss), charts::borrow(&title.rest)];
        for (row, groups) in rows.iter().enumerate() {
            let inner = Rect {
                x: figures.x + u16::from(figures.width > 0),
                width: figures.width.saturating_sub(1),
                ..figures
            };
            let pieces = crate::bars::fitting(groups, inner.width);
            paint::line(buf, inner, row as u16, &pieces);
        }
        let plot = charts::bare_loss(scene, area, buf);
        self.drawn.borrow_mut().push((Pane::Loss, area, plot));
    }
}
