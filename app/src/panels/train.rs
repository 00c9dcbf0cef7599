//! The first screen: loss, learning rate, gradient norm, speed and what happened.
//!
//! Three layouts by the cells there are: a dashboard with layers, samples and memory; a column of chart, strips and
//! events; or figures and one chart. What is shown where is decided here; [`charts`] and [`memory`] draw it.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Panel, PanelKey, layers, log, samples};
use crate::lang::Text;
use crate::paint;
use crate::state::{Quantity, State};
use crate::view::{Scene, View};

mod charts;
mod memory;

/// The screen; see the module's page.
pub struct Train;

impl Panel for Train {
    fn title(&self) -> Text {
        Text::new("Train", "训练")
    }

    fn keys(&self) -> &'static [PanelKey] {
        &[]
    }

    fn handle(&mut self, _: &str, _: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        false
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        match (area.width, area.height) {
            (136.., 36..) => dashboard(scene, area, buf),
            (60.., 16..) => column(scene, area, buf),
            _ => small(scene, area, buf),
        }
    }
}

/// Cuts `height` rows off the top of `area`.
fn top(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    let part = Rect { height, ..*area };
    area.y += height;
    area.height -= height;
    part
}

/// Cuts `width` columns off the left of `area`.
fn left(area: &mut Rect, width: u16) -> Rect {
    let width = width.min(area.width);
    let part = Rect { width, ..*area };
    area.x += width;
    area.width -= width;
    part
}

fn dashboard(scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
    let num_events = (area.height / 6).clamp(5, 12);
    let middle = (area.height / 4).clamp(9, 18);
    let upper_height = area.height - num_events - middle;
    let mut upper = top(&mut area, upper_height);
    let mut lower = top(&mut area, middle);

    let loss_width = upper.width * 5 / 8;
    charts::loss(scene, left(&mut upper, loss_width), buf);
    let third = upper.height / 3;
    let strips = [
        (charts::Which::Lr, third),
        (charts::Which::GradNorm, third),
        (charts::Which::Speed, upper.height - 2 * third),
    ];
    for (which, height) in strips {
        charts::strip(scene, which, top(&mut upper, height), buf);
    }

    let (map_width, sample_width) = (lower.width * 2 / 5, lower.width / 3);
    layers::map(
        scene,
        Quantity::Activation,
        left(&mut lower, map_width),
        buf,
    );
    samples::latest(scene, left(&mut lower, sample_width), buf);
    memory::render(scene, lower, buf);
    log::recent(scene, area, buf);
}

fn column(scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
    let num_events = if area.height >= 19 {
        (area.height / 5).clamp(3, 8)
    } else {
        0
    };
    let strip_height = if area.height >= 30 { 7 } else { 4 };
    let chart_height = area.height - num_events - strip_height;
    charts::loss(scene, top(&mut area, chart_height), buf);
    let mut strips = top(&mut area, strip_height);
    let third = strips.width / 3;
    charts::strip(scene, charts::Which::Lr, left(&mut strips, third), buf);
    charts::strip(
        scene,
        charts::Which::GradNorm,
        left(&mut strips, third),
        buf,
    );
    charts::strip(scene, charts::Which::Speed, strips, buf);
    // Without a frame: a line of the log is worth more than an edge here.
    log::lines(scene, area, buf);
}

/// Figures in one or two lines, then the bare chart.
fn small(scene: &Scene<'_>, mut area: Rect, buf: &mut Buffer) {
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
    charts::bare_loss(scene, area, buf);
}
