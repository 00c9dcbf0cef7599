//! A chart: curves as a band of extremes with a smoothed line, axes, markers, a floor and a data cursor.
//!
//! Each dot column shows the least and the greatest of all rows that fall into it (from [`super::series`]), so a spike of
//! one step shows at every zoom. What is not finite splits the curve and is marked at the top. Writes straight into the
//! buffer at any size, 0 x 0 included; what does not fit is left out in the order labels, axes, curve.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::axis::{Axis, Scale, Tick};
use super::columns::Columns;
use super::ema::Ema;
use super::glyph::{GlyphSet, Grid};
use super::means::Means;
use super::series::{Series, Track, XUnit};

/// The bright line of a curve.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A moving average over all rows.
    Ema(&'a Ema),
    /// The mean of each column's rows.
    Mean,
    /// None: the band is all there is.
    None,
}

/// One metric in a chart.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// The rows, drawn as a band from least to greatest.
    pub series: &'a Series,
    /// Where what falls into the columns is kept.
    pub columns: &'a Columns,
    /// The line on the band.
    pub line: Line<'a>,
    /// Colour of the band.
    pub band_style: Style,
    /// Colour of the line.
    pub line_style: Style,
}

/// The line of another run in a chart: the mean of each column's rows.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// Its horizontal coordinates.
    pub track: &'a Track,
    /// Its rows.
    pub series: &'a Series,
    /// Where its decimations are kept.
    pub means: &'a Means,
    /// Its colour.
    pub style: Style,
}

/// The colours of everything but the curves.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChartStyle {
    /// Axis lines.
    pub axis: Style,
    /// Tick labels.
    pub label: Style,
    /// Validation points.
    pub point: Style,
    /// The floor line and its label.
    pub floor: Style,
    /// The data cursor.
    pub cursor: Style,
    /// Marks of rows that are not finite.
    pub alert: Style,
}

/// An event below the axis.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    /// Horizontal coordinate in the chart's unit.
    pub x: f64,
    /// Its letter.
    pub symbol: char,
    /// Its colour.
    pub style: Style,
}

/// Everything that a chart shows; see the module's page.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// Horizontal coordinates of the rows.
    pub track: &'a Track,
    /// The metric.
    pub curve: Curve<'a>,
    /// What the horizontal axis counts.
    pub unit: XUnit,
    /// Horizontal window.
    pub window: (f64, f64),
    /// Vertical scale.
    pub scale: Scale,
    /// Separate points, such as validation losses: (x, y).
    pub points: &'a [(f64, f64)],
    /// A horizontal line that the curve cannot fall below, with its label.
    pub floor: Option<(f64, &'a str)>,
    /// Events below the axis; where several share a column the last one shows.
    pub markers: &'a [Marker],
    /// Horizontal coordinate of the data cursor.
    pub cursor: Option<f64>,
    /// Which characters draw the dots.
    pub glyphs: GlyphSet,
    /// Colours.
    pub style: ChartStyle,
}

/// Where the parts of a chart lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    plot: Rect,
    gutter: u16,
    axis_row: Option<u16>,
    label_row: Option<u16>,
}

/// Characters of everything that is not a dot.
struct Rules {
    corner: char,
    across: char,
    down: char,
    tick_y: char,
    tick_x: char,
    floor: char,
    point: char,
    alert: char,
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

impl Chart<'_> {
    /// Draws the chart alone.
    #[cfg(test)]
    pub fn render(&self, area: Rect, buf: &mut Buffer) -> Rect {
        self.render_over(&[], area, buf)
    }

    /// Draws the chart into `area`, over the lines of other runs. Returns where the plot within its axes lies.
    pub fn render_over(&self, others: &[Other<'_>], area: Rect, buf: &mut Buffer) -> Rect {
        let area = area.intersection(buf.area);
        if area.is_empty() {
            return area;
        }
        let rules = if self.glyphs == GlyphSet::Ascii {
            &ASCII
        } else {
            &UNICODE
        };
        let Some(axis) = self.vertical_axis(others, usize::from(area.width)) else {
            let parts = parts(area, 0);
            self.axes(&parts, None, rules, buf);
            return parts.plot;
        };
        // A label every other row at most.
        let most = usize::from(area.height.saturating_sub(1) / 2).clamp(2, 9);
        let ticks = axis.ticks(most);
        let gutter = ticks
            .iter()
            .map(|t| t.label.len() as u16)
            .max()
            .unwrap_or(0);
        let parts = parts(area, gutter);
        self.axes(&parts, Some((&axis, &ticks)), rules, buf);
        self.floor_line(&parts, &axis, rules, buf);
        self.cursor_line(&parts, rules, buf);
        for other in others {
            self.other(other, &parts, &axis, buf);
        }
        self.curves(&parts, &axis, rules, buf);
        self.validation(&parts, &axis, rules, buf);
        parts.plot
    }

    /// The vertical window: all that is visible, and the floor where that leaves the curve at least half the height.
    fn vertical_axis(&self, others: &[Other<'_>], columns: usize) -> Option<Axis> {
        let (first, last) = (
            self.track.rows_before(self.window.0, self.unit),
            self.track.rows_up_to(self.window.1, self.unit),
        );
        let bin = self.curve.series.query(first..last);
        let mut values: Vec<f64> = Vec::new();
        if let Some((min, max)) = bin.extremes() {
            values.extend([f64::from(min), f64::from(max)]);
        }
        if let Line::Ema(ema) = self.curve.line
            && first < last
            && let Some(edge) = ema.at(first)
        {
            values.push(f64::from(edge));
        }
        for other in others {
            // What is drawn is the columns' means.
            let line = (other.track, other.series);
            let means = other.means.of(line, self.unit, self.window, columns.max(1));
            values.extend(means.iter().flatten());
        }
        let (lo, hi) = self.window;
        values.extend(
            self.points
                .iter()
                .filter(|(x, _)| (lo..=hi).contains(x))
                .map(|p| p.1),
        );
        let has_place = |v: &f64| v.is_finite() && (self.scale == Scale::Linear || *v > 0.0);
        values.retain(has_place);
        if self.scale == Scale::Log && bin.min <= 0.0 && bin.num_finite > 0 {
            // The least positive row is not in the pyramid; the columns' extremes come close enough for an axis.
            for rows in self.track.columns(self.unit, self.window, columns * 2) {
                let part = self.curve.series.query(rows);
                values.extend(
                    [f64::from(part.min), f64::from(part.max)]
                        .iter()
                        .filter(|v| has_place(v)),
                );
            }
        }
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        let near = |axis: &Axis, floor: f64| axis.fraction(floor).is_some_and(|f| f > -1.0);
        let axis = Axis::around(min, max, self.scale, 0.03);
        match self.floor {
            Some((floor, _)) if floor < min && has_place(&floor) && near(&axis, floor) => {
                Some(Axis::around(floor, max, self.scale, 0.03))
            }
            _ => Some(axis),
        }
    }

    /// Axis lines, ticks, labels and the markers of events.
    fn axes(
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
    fn column_of(&self, x: f64, width: u16) -> Option<u16> {
        let (lo, hi) = self.window;
        let fraction = (x - lo) / (hi - lo);
        let fraction = if hi > lo { fraction } else { 0.0 };
        ((0.0..=1.0).contains(&fraction) && width > 0)
            .then(|| ((fraction * f64::from(width)) as u16).min(width - 1))
    }

    fn floor_line(&self, parts: &Parts, axis: &Axis, rules: &Rules, buf: &mut Buffer) {
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

    fn cursor_line(&self, parts: &Parts, rules: &Rules, buf: &mut Buffer) {
        let plot = parts.plot;
        let Some(column) = self.cursor.and_then(|x| self.column_of(x, plot.width)) else {
            return;
        };
        for y in plot.top()..plot.bottom() {
            put(buf, plot.x + column, y, rules.down, self.style.cursor);
        }
    }

    fn curves(&self, parts: &Parts, axis: &Axis, rules: &Rules, buf: &mut Buffer) {
        let plot = parts.plot;
        let (width, height) = (usize::from(plot.width), usize::from(plot.height));
        let mut band = Grid::new(self.glyphs, width, height);
        let mut line = Grid::new(self.glyphs, width, height);
        let (dots_x, dots_y) = band.size();
        let ema = match self.curve.line {
            Line::Ema(ema) => Some(ema),
            Line::Mean | Line::None => None,
        };
        let rows = (self.track, self.curve.series);
        let columns = self
            .curve
            .columns
            .of(rows, ema, self.unit, self.window, dots_x);
        let place = |value: f32| dot_of(axis, f64::from(value), dots_y);
        // The last dot of each line, to be joined with the next one; none after a row that is not finite.
        let (mut open, mut open_line) = (None, None);
        for (x, column) in columns.iter().enumerate() {
            if column.rows.is_empty() {
                continue;
            }
            let bin = &column.bin;
            if let Some((min, max)) = bin.extremes() {
                // On a logarithmic axis the part below zero ends at the bottom.
                if let Some(top) = place(max) {
                    band.vertical(x, top, place(min).unwrap_or(dots_y.saturating_sub(1)));
                }
                if let (Some(from), Some(to)) = (open, column.first.and_then(place)) {
                    band.line(from, (x, to));
                }
            }
            open = column.last.and_then(place).map(|y| (x, y));
            if bin.num_nonfinite > 0 {
                let cell = x / self.glyphs.dots().0;
                put(
                    buf,
                    plot.x + cell as u16,
                    plot.y,
                    rules.alert,
                    self.style.alert,
                );
            }
            let smooth = match self.curve.line {
                Line::Ema(_) => column.smooth,
                Line::Mean => bin.mean().map(|mean| mean as f32),
                Line::None => None,
            };
            let here = smooth.and_then(place).map(|y| (x, y));
            let here = here.filter(|_| bin.num_finite > 0);
            if let Some(to) = here {
                line.line(open_line.unwrap_or(to), to);
            }
            open_line = here;
        }
        paint(&band, plot, self.curve.band_style, false, buf);
        paint(&line, plot, self.curve.line_style, true, buf);
    }

    fn other(&self, other: &Other<'_>, parts: &Parts, axis: &Axis, buf: &mut Buffer) {
        let plot = parts.plot;
        let mut grid = Grid::new(
            self.glyphs,
            usize::from(plot.width),
            usize::from(plot.height),
        );
        let (dots_x, dots_y) = grid.size();
        let mut open = None;
        let line = (other.track, other.series);
        let means = other.means.of(line, self.unit, self.window, dots_x);
        for (x, mean) in means.iter().enumerate() {
            // Where no row falls into a column the line goes on to the next.
            let Some(mean) = mean else { continue };
            let dot = mean.is_finite().then(|| dot_of(axis, *mean, dots_y));
            let here = dot.flatten().map(|y| (x, y));
            if let Some(to) = here {
                grid.line(open.unwrap_or(to), to);
            }
            open = here;
        }
        paint(&grid, plot, other.style, true, buf);
    }

    fn validation(&self, parts: &Parts, axis: &Axis, rules: &Rules, buf: &mut Buffer) {
        let plot = parts.plot;
        for &(x, y) in self.points {
            let column = self.column_of(x, plot.width);
            if let (Some(column), Some(row)) = (column, row_of(axis, y, plot.height)) {
                put(
                    buf,
                    plot.x + column,
                    plot.y + row,
                    rules.point,
                    self.style.point,
                );
            }
        }
    }
}

/// Gives the gutter (labels and axis line), the axis row and the label row what they need, as far as the plot stays
/// readable without it.
fn parts(area: Rect, label_width: u16) -> Parts {
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
    Parts {
        plot,
        gutter,
        axis_row: (num_rows > 0).then(|| plot.bottom()),
        label_row: (num_rows > 1).then(|| plot.bottom() + 1),
    }
}

/// Copies the dots of a canvas into the buffer; empty cells stay as they are.
pub(super) fn paint(grid: &Grid, plot: Rect, style: Style, line: bool, buf: &mut Buffer) {
    for row in 0..plot.height {
        for column in 0..plot.width {
            let bits = grid.cell(usize::from(column), usize::from(row));
            if bits != 0 {
                let symbol = grid.glyphs().symbol(bits, line);
                put(buf, plot.x + column, plot.y + row, symbol, style);
            }
        }
    }
}

fn put(buf: &mut Buffer, x: u16, y: u16, symbol: char, style: Style) {
    if let Some(cell) = buf.cell_mut((x, y)) {
        cell.set_char(symbol).set_style(style);
    }
}

/// The dot row of a value, 0 at the top; values beyond the axis go to its end.
fn dot_of(axis: &Axis, value: f64, dots: usize) -> Option<usize> {
    let last = dots.checked_sub(1)? as f64;
    let fraction = axis.fraction(value)?.clamp(0.0, 1.0);
    Some(((1.0 - fraction) * last).round() as usize)
}

/// The cell row of a value, if it lies on the axis.
fn row_of(axis: &Axis, value: f64, height: u16) -> Option<u16> {
    let fraction = axis.fraction(value)?;
    ((0.0..=1.0).contains(&fraction) && height > 0)
        .then(|| (((1.0 - fraction) * f64::from(height)) as u16).min(height - 1))
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
