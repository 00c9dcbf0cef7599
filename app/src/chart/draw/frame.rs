//! What surrounds the curves: where the parts of a chart lie, axes with their ticks and labels, markers of events, the floor
//! and the data cursor.
//!
//! What does not fit is left out in the order labels, axes; the curves are the parent module's.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::axis::{Axis, Scale, Tick};
use super::super::glyph::GlyphSet;
use super::super::series::XUnit;
use super::{Chart, put, row_of};

/// Where the parts of a chart lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// What lies within the axes.
    pub plot: Rect,
    gutter: u16,
    axis_row: Option<u16>,
    label_row: Option<u16>,
}

/// Characters of everything that is not a dot.
pub(super) struct Rules {
    corner: char,
    across: char,
    down: char,
    tick_y: char,
    tick_x: char,
    floor: char,
    /// A validation point.
    pub point: char,
    /// A row that is not finite.
    pub alert: char,
    below: char,
}

const UNICODE: Rules = Rules {
    corner: '\u{2514}',
    across: '\u{2500}',
    down: '\u{2502}',
    tick_y: '\u{2524}',
    tick_x: '\u{252c}',
    floor: '\u{254c}',
    point: '\u{25c6}',
    alert: '\u{d7}',
    below: '\u{2193}',
};

const ASCII: Rules = Rules {
    corner: '+',
    across: '-',
    down: '|',
    tick_y: '+',
    tick_x: '+',
    floor: '-',
    point: 'o',
    alert: 'x',
    below: 'v',
};

impl Parts {
    /// Gives the gutter (labels and axis line), the axis row and the label row what they need, as far as the plot stays
    /// readable without it.
    pub(super) fn new(area: Rect, label_width: u16) -> Self {
        let gutter = label_width + 2;
        let gutter = if area.width >= gutter + 16 { gutter } else { 0 };
        let num_rows = match area.height {
            0..=2 => 0,
            3..=4 => 1,
            _ => 2,
        };
        let plot = Rect {
            x: area.x + gutter,
            y: area.y,
            width: area.width - gutter,
            height: area.height - num_rows,
        };
        Self {
            plot,
            gutter,
            axis_row: (num_rows > 0).then(|| plot.bottom()),
            label_row: (num_rows > 1).then(|| plot.bottom() + 1),
        }
    }
}

impl Rules {
    /// Those that go with the characters of the dots.
    pub(super) fn of(glyphs: GlyphSet) -> &'static Self {
        if glyphs == GlyphSet::Ascii {
            &ASCII
        } else {
            &UNICODE
        }
    }
}

impl Chart<'_> {
    /// Axis lines, ticks, labels and the markers of events.
    pub(super) fn axes(
        &self,
        parts: &Parts,
        vertical: Option<(&Axis, &[Tick])>,
        rules: &Rules,
        buf: &mut Buffer,
    ) {
        let plot = parts.plot;
        if parts.gutter > 0 {
            let x = plot.x - 1;
            for y in plot.top()..plot.bottom() {
                put(buf, x, y, rules.down, self.style.axis);
            }
            for tick in vertical.map_or(&[][..], |v| v.1) {
                let Some(row) = vertical.and_then(|v| row_of(v.0, tick.value, plot.height)) else {
                    continue;
                };
                let y = plot.y + row;
                put(buf, x, y, rules.tick_y, self.style.axis);
                let left = x.saturating_sub(tick.label.len() as u16 + 1);
                buf.set_string(left, y, &tick.label, self.style.label);
            }
        }
        if let Some(y) = parts.axis_row {
            if parts.gutter > 0 {
                put(buf, plot.x - 1, y, rules.corner, self.style.axis);
            }
            for x in plot.left()..plot.right() {
                put(buf, x, y, rules.across, self.style.axis);
            }
            self.horizontal_labels(parts, y, rules, buf);
            for marker in self.markers {
                if let Some(column) = self.column_of(marker.x, plot.width) {
                    put(buf, plot.x + column, y, marker.symbol, marker.style);
                }
            }
        }
    }

    fn horizontal_labels(&self, parts: &Parts, y: u16, rules: &Rules, buf: &mut Buffer) {
        let plot = parts.plot;
        let (lo, hi) = self.window;
        let horizontal = Axis {
            lo,
            hi,
            scale: Scale::Linear,
        };
        let ticks = if self.unit == XUnit::Time {
            time_ticks(lo, hi, usize::from(plot.width / 12))
        } else {
            horizontal.ticks(usize::from(plot.width / 10))
        };
        let mut free = plot.x;
        for tick in ticks {
            let Some(column) = self.column_of(tick.value, plot.width) else {
                continue;
            };
            put(buf, plot.x + column, y, rules.tick_x, self.style.axis);
            let Some(row) = parts.label_row else {
                continue;
            };
            let width = tick.label.len() as u16;
            let left = (plot.x + column)
                .saturating_sub(width / 2)
                .max(plot.x)
                .min(plot.right().saturating_sub(width));
            if left >= free && left + width <= plot.right() {
                buf.set_string(left, row, &tick.label, self.style.label);
                free = left + width + 1;
            }
        }
    }

    /// The cell column of a horizontal coordinate, if it lies in the window.
    pub(super) fn column_of(&self, x: f64, width: u16) -> Option<u16> {
        let (lo, hi) = self.window;
        let fraction = (x - lo) / (hi - lo);
        let fraction = if hi > lo { fraction } else { 0.0 };
        ((0.0..=1.0).contains(&fraction) && width > 0)
            .then(|| ((fraction * f64::from(width)) as u16).min(width - 1))
    }

    /// The floor, or where it has no room its name at the bottom.
    pub(super) fn floor_line(&self, parts: &Parts, axis: &Axis, rules: &Rules, buf: &mut Buffer) {
        let Some((value, label)) = self.floor else {
            return;
        };
        let plot = parts.plot;
        let width = label.len() as u16;
        let Some(row) = row_of(axis, value, plot.height) else {
            // Too far below to be drawn to scale: only its name, at the bottom.
            if value < axis.lo && width + 4 <= plot.width && plot.height > 2 {
                let text = format!("{label} {}", rules.below);
                buf.set_string(plot.x + 1, plot.bottom() - 1, text, self.style.floor);
            }
            return;
        };
        let y = plot.y + row;
        for x in plot.left()..plot.right() {
            put(buf, x, y, rules.floor, self.style.floor);
        }
        if width + 4 <= plot.width {
            buf.set_string(plot.x + 1, y, format!(" {label} "), self.style.floor);
        }
    }

    /// The data cursor.
    pub(super) fn cursor_line(&self, parts: &Parts, rules: &Rules, buf: &mut Buffer) {
        let plot = parts.plot;
        let Some(column) = self.cursor.and_then(|x| self.column_of(x, plot.width)) else {
            return;
        };
        for y in plot.top()..plot.bottom() {
            put(buf, plot.x + column, y, rules.down, self.style.cursor);
        }
    }
}

/// Ticks in the units of a clock.
fn time_ticks(lo: f64, hi: f64, most: usize) -> Vec<Tick> {
    const STEPS: [f64; 20] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
        10800.0, 21600.0, 43200.0, 86400.0, 172_800.0, 604_800.0,
    ];
    let fitting = STEPS.iter().find(|step| (hi - lo) / **step <= most as f64);
    let Some(&step) = fitting.filter(|_| hi > lo && most > 0) else {
        return Vec::new();
    };
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last)
        .map(|i| {
            let value = i as f64 * step;
            Tick {
                value,
                label: crate::text::duration(value),
            }
        })
        .collect()
}
