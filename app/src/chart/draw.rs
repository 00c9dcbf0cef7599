//! A chart: curves as a band of extremes with a smoothed line, axes, markers, a floor and a data cursor.
//!
//! Each dot column shows the least and the greatest of all rows that fall into it (from [`super::series`]), so a spike of
//! one step shows at every zoom. What is not finite splits the curve and is marked at the top. Writes straight into the
//! buffer at any size, 0 x 0 included; what does not fit is left out in the order labels, axes, curve. `frame.rs` draws what
//! surrounds the curves.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::axis::{Axis, Scale};
use super::columns::Columns;
use super::ema::Ema;
use super::glyph::{GlyphSet, Grid};
use super::means::Means;
use super::series::{Series, Track, XUnit};

mod frame;

use frame::{Parts, Rules};

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
        let rules = Rules::of(self.glyphs);
        let Some(axis) = self.vertical_axis(others, usize::from(area.width)) else {
            let parts = Parts::new(area, 0);
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
        let parts = Parts::new(area, gutter);
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
