//! The chart against brute force: nothing is lost, nothing is made up.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::axis::{Axis, Scale, number};
use super::columns::Columns;
use super::draw::{Chart, ChartStyle, Curve, Line, Marker};
use super::ema::Ema;
use super::glyph::{GlyphSet, Grid};
use super::series::{Series, Track, XUnit};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => -5.0..5.0f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(1e6),
        1 => Just(1e300),
    ]
}

fn series(values: &[f64]) -> Series {
    let mut series = Series::default();
    for &v in values {
        series.push(v);
    }
    series
}

fn track(len: usize) -> Track {
    let mut track = Track::default();
    for i in 0..len as u64 {
        // Uneven steps and times, as after skipped rows.
        track.push(i * 3 + i % 2, i * 1000, i as f64 * 0.7);
    }
    track
}

/// Extremes of the finite values and number of others, the plain way.
fn brute(values: &[f32]) -> (Option<(f32, f32)>, u32) {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let extremes = finite().reduce(f32::min).zip(finite().reduce(f32::max));
    (extremes, (values.len() - finite().count()) as u32)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_query_equals_brute_force(values in prop::collection::vec(value(), 0..700), a in 0usize..800, b in 0usize..800) {
        let series = series(&values);
        let rows = a.min(b)..a.max(b);
        let bin = series.query(rows.clone());
        let end = rows.end.min(series.len());
        let expected = brute(&series.values()[rows.start.min(end)..end]);
        prop_assert_eq!((bin.extremes(), bin.num_nonfinite), expected);
    }

    #[test]
    fn truncating_and_appending_equals_building_anew(
        first in prop::collection::vec(value(), 0..400),
        keep in 0usize..400,
        second in prop::collection::vec(value(), 0..400),
    ) {
        let mut cut = series(&first);
        cut.truncate(keep);
        for &v in &second {
            cut.push(v);
        }
        let whole: Vec<f64> = first.iter().take(keep).chain(&second).copied().collect();
        let fresh = series(&whole);
        prop_assert_eq!(cut.len(), fresh.len());
        for start in [0, 1, 5, 64, 100] {
            let (a, b) = (cut.query(start..cut.len()), fresh.query(start..fresh.len()));
            prop_assert_eq!(a.extremes(), b.extremes());
            prop_assert_eq!(a.num_nonfinite, b.num_nonfinite);
            prop_assert_eq!(a.num_finite, b.num_finite);
        }
    }

    #[test]
    fn every_row_of_a_window_is_in_exactly_one_column(
        len in 1usize..500, lo in -100.0..900.0f64, span in 0.0..2000.0f64, columns in 1usize..120, unit in 0usize..3,
    ) {
        let unit = [XUnit::Step, XUnit::Tokens, XUnit::Time][unit];
        let track = track(len);
        let window = (lo, lo + span);
        let parts = track.columns(unit, window, columns);
        prop_assert_eq!(parts.len(), columns);
        let width = (window.1 - window.0) / columns as f64;
        for (column, rows) in parts.iter().enumerate() {
            let edge = |column: usize| window.0 + width * column as f64;
            let last = column + 1 == columns;
            for x in rows.clone().map(|row| track.x(row, unit)) {
                prop_assert!(x >= edge(column) && (last || x < edge(column + 1)), "{x} in column {column}");
            }
        }
        let shown: Vec<usize> = parts.into_iter().flatten().collect();
        let expected: Vec<usize> = (0..len)
            .filter(|&r| (window.0..=window.1).contains(&track.x(r, unit)))
            .collect();
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn the_drawn_band_reaches_the_extremes_of_each_column(
        values in prop::collection::vec(-5.0..5.0f64, 60..400), spike in 0usize..60,
    ) {
        let mut values = values;
        values[spike] = 100.0;
        let (track, series) = (track(values.len()), series(&values));
        let (lo, hi) = track.extent(XUnit::Step).unwrap();
        // Whole, and zoomed in around the spike.
        for zoom in [1.0, 3.0, 20.0] {
            let at = track.x(spike, XUnit::Step);
            let half = (hi - lo) / zoom / 2.0;
            let window = if zoom == 1.0 { (lo, hi) } else { (at - half, at + half) };
            let buffer = draw(&track, &series, Line::None, window, Rect::new(0, 0, 50, 12), GlyphSet::Braille, Scale::Linear);
            // Without a gutter the top row of the plot is row 0; only the spike reaches it.
            let reaches = (0..50).any(|x| {
                let symbol = buffer[(x, 0)].symbol().chars().next().unwrap();
                ('\u{2801}'..='\u{28ff}').contains(&symbol)
            });
            prop_assert!(reaches, "zoom {}", zoom);
        }
    }

    #[test]
    fn charts_draw_at_any_size(
        values in prop::collection::vec(value(), 0..80), w in 0u16..60, h in 0u16..20, log in any::<bool>(), set in 0usize..4,
        lo in -10.0..300.0f64, span in -1.0..300.0f64,
    ) {
        let glyphs = [GlyphSet::Braille, GlyphSet::Octant, GlyphSet::Block, GlyphSet::Ascii][set];
        let scale = if log { Scale::Log } else { Scale::Linear };
        let (track, series) = (track(values.len()), series(&values));
        let ema = Ema::over(0.9, &series);
        draw(&track, &series, if w % 2 == 0 { Line::Mean } else { Line::Ema(&ema) }, (lo, lo + span), Rect::new(3, 2, w, h), glyphs, scale);
    }

    #[test]
    fn ticks_are_round_few_rising_and_told_apart(lo in -1e6..1e6f64, span in 1e-3..1e6f64, most in 1usize..12) {
        let axis = Axis { lo, hi: lo + span, scale: Scale::Linear };
        let ticks = axis.ticks(most);
        prop_assert!(ticks.len() <= most);
        prop_assert!(ticks.iter().all(|t| (lo..=lo + span).contains(&t.value)));
        prop_assert!(ticks.windows(2).all(|p| p[0].value < p[1].value));
    }

    #[test]
    fn log_axes_are_true(lo in -8.0..3.0f64, decades in 0.01..9.0f64, f in 0.0..1.0f64, most in 1usize..10) {
        let axis = Axis { lo: 10f64.powf(lo), hi: 10f64.powf(lo + decades), scale: Scale::Log };
        let back = axis.fraction(10f64.powf(lo + decades * f)).unwrap();
        prop_assert!((back - f).abs() < 1e-9);
        let ticks = axis.ticks(most);
        prop_assert!(ticks.len() <= most);
        for tick in &ticks {
            // A label says the value it stands at.
            let shown = tick.label.trim_end_matches(['k', 'M', 'G', 'T']);
            let unit = match tick.label.chars().last().unwrap() { 'k' => 1e3, 'M' => 1e6, 'G' => 1e9, _ => 1.0 };
            let parsed: f64 = shown.parse::<f64>().unwrap() * unit;
            prop_assert!((parsed / tick.value - 1.0).abs() < 1e-6, "{} {}", tick.label, tick.value);
        }
    }

    #[test]
    fn a_line_of_dots_has_no_hole(x0 in 0usize..40, y0 in 0usize..40, x1 in 0usize..40, y1 in 0usize..40) {
        let mut grid = Grid::new(GlyphSet::Braille, 20, 10);
        let (from, to) = if x0 <= x1 { ((x0, y0), (x1, y1)) } else { ((x1, y1), (x0, y0)) };
        grid.line(from, to);
        let dot = |x: usize, y: usize| grid.cell(x / 2, y / 4) >> ((y % 4) * 2 + x % 2) & 1 == 1;
        prop_assert!(dot(from.0, from.1) && dot(to.0, to.1));
        let mut last: Option<(usize, usize)> = None;
        for x in from.0..=to.0 {
            let column: Vec<usize> = (0..40).filter(|&y| dot(x, y)).collect();
            prop_assert!(!column.is_empty());
            let (low, high) = (column[0], column[column.len() - 1]);
            prop_assert_eq!(high - low + 1, column.len());
            if let Some((l, h)) = last {
                prop_assert!(low <= h + 1 && l <= high + 1);
            }
            last = Some((low, high));
        }
    }
}

fn draw(
    track: &Track,
    series: &Series,
    line: Line<'_>,
    window: (f64, f64),
    area: Rect,
    glyphs: GlyphSet,
    scale: Scale,
) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, area.right(), area.bottom()));
    let markers = [Marker {
        x: window.0,
        symbol: 'C',
        style: Style::new(),
    }];
    let chart = Chart {
        track,
        curve: Curve {
            series,
            columns: &Columns::default(),
            line,
            band_style: Style::new().fg(Color::Blue),
            line_style: Style::new().fg(Color::Red),
        },
        unit: XUnit::Step,
        window,
        scale,
        points: &[(10.0, 2.0)],
        floor: Some((0.5, "floor 0.50")),
        markers: &markers,
        cursor: Some(window.0 + 5.0),
        glyphs,
        style: ChartStyle::default(),
    };
    chart.render(area, &mut buffer);
    buffer
}

#[test]
fn the_average_is_unbiased_from_the_first_row_and_skips_what_is_not_finite() {
    let ema = Ema::over(0.9, &series(&[f64::NAN, 4.0, f64::INFINITY, 2.0]));
    assert!(ema.at(0).unwrap().is_nan());
    assert_eq!(
        (ema.at(1), ema.at(2), ema.at(4)),
        (Some(4.0), Some(4.0), None)
    );
    // (0.9 * 0.1 * 4 + 0.1 * 2) / (1 - 0.81)
    assert!((ema.at(3).unwrap() - 0.56 / 0.19).abs() < 1e-6);
    let raw = Ema::over(0.0, &series(&[1.0, 5.0]));
    assert_eq!((raw.at(0), raw.at(1)), (Some(1.0), Some(5.0)));
}

#[test]
fn the_average_does_not_depend_on_when_rows_arrive() {
    let rows: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 0.37).sin()).collect();
    let mut grown = Ema::new(0.98);
    for &row in &rows {
        grown.push(row as f32);
    }
    let whole = Ema::over(0.98, &series(&rows));
    assert!((0..1000).all(|row| grown.at(row).is_some() && grown.at(row) == whole.at(row)));
}

#[test]
fn a_row_that_is_not_finite_parts_the_curve() {
    let values = [1.0, 1.0, 1.0, 1.0, f64::NAN, 1.0, 1.0, 1.0, 1.0];
    let mut track = Track::default();
    (0..9).for_each(|i| track.push(i, i, i as f64));
    let buffer = draw(
        &track,
        &series(&values),
        Line::None,
        (0.0, 8.0),
        Rect::new(0, 0, 17, 2),
        GlyphSet::Ascii,
        Scale::Linear,
    );
    let rows: Vec<String> = (0..2)
        .map(|y| {
            (0..17)
                .map(|x| buffer[(x, y)].symbol().to_owned())
                .collect()
        })
        .collect();
    // One dot column a cell: the rows lie two cells apart and are joined, but not across the fifth.
    assert!(rows[0].contains('x'), "{rows:?}");
    let drawn: Vec<bool> = (0..17)
        .map(|x| {
            rows.iter()
                .any(|r| matches!(r.as_bytes()[x], b'.' | b'\'' | b':'))
        })
        .collect();
    assert!(drawn[1] && drawn[3] && drawn[11] && drawn[13], "{rows:?}");
    assert!(!drawn[7] && !drawn[9], "{rows:?}");
}

#[test]
fn numbers_are_short_and_right() {
    for (value, digits, text) in [
        (1234.0, 2, "1.2k"),
        (999.96, 4, "1k"),
        (0.00031, 2, "3.1e-4"),
        (12.0, 3, "12"),
        (0.25, 3, "0.25"),
        (-18_240.0, 3, "-18.2k"),
        (3.0e9, 3, "3G"),
        (f64::NEG_INFINITY, 3, "-inf"),
        (120.0, 1, "100"),
        (1e20, 3, "1e20"),
    ] {
        assert_eq!(number(value, digits), text);
    }
    let labels = |lo, hi, scale, most| -> Vec<String> {
        Axis { lo, hi, scale }
            .ticks(most)
            .into_iter()
            .map(|t| t.label)
            .collect()
    };
    assert_eq!(
        labels(2.4, 4.1, Scale::Linear, 5),
        ["2.5", "3.0", "3.5", "4.0"]
    );
    assert_eq!(
        labels(0.0, 60_000.0, Scale::Linear, 4),
        ["0", "20k", "40k", "60k"]
    );
    assert_eq!(labels(0.5, 2000.0, Scale::Log, 4), ["1", "10", "100", "1k"]);
    assert_eq!(labels(2.1, 11.0, Scale::Log, 4), ["4", "6", "8", "10"]);
}
