//! The columns of a chart, kept from frame to frame: only those that new rows fall into are computed again.
//!
//! A chart of a million rows has a few hundred columns, and of them a step changes the last one, as long as the window stands
//! still ([`crate::view::View::window`] moves it in small jumps for that reason). Who takes rows away, or changes the
//! smoothing, forgets the columns: what is kept is only ever appended to.

use std::cell::{Ref, RefCell};
use std::ops::Range;

use super::ema::Ema;
use super::series::{Bin, Series, Track, XUnit};

/// What a chart shows of the rows that fall into a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The rows.
    pub rows: Range<usize>,
    /// Their extremes and mean.
    pub bin: Bin,
    /// The first row's value.
    pub first: Option<f32>,
    /// The last row's value.
    pub last: Option<f32>,
    /// The moving average after the last row.
    pub smooth: Option<f32>,
}

impl Column {
    fn new(rows: Range<usize>, series: &Series, ema: Option<&Ema>) -> Self {
        let rows = rows.start..rows.end.min(series.len()).max(rows.start);
        if rows.is_empty() {
            return Self {
                rows,
                bin: Bin::EMPTY,
                first: None,
                last: None,
                smooth: None,
            };
        }
        Self {
            bin: series.query(rows.clone()),
            first: series.at(rows.start),
            last: series.at(rows.end - 1),
            smooth: ema.and_then(|ema| ema.at(rows.end - 1)),
            rows,
        }
    }
}

/// What columns depend on, but for the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Of {
    unit: XUnit,
    window: (f64, f64),
    beta: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    of: Option<Of>,
    columns: Vec<Column>,
    /// Rows of the track when they were computed.
    rows: usize,
}

/// The columns of one metric as they were last drawn; see the module's page.
#[derive(Clone, Debug, Default)]
pub struct Columns(RefCell<Kept>);

impl Columns {
    /// Forgets them.
    pub fn forget(&mut self) {
        *self.0.get_mut() = Kept::default();
    }

    /// What falls into each of `count` equal columns of a window; every row of the window is in exactly one.
    pub fn of(
        &self,
        (track, series): (&Track, &Series),
        ema: Option<&Ema>,
        unit: XUnit,
        window: (f64, f64),
        count: usize,
    ) -> Ref<'_, [Column]> {
        self.update((track, series), ema, unit, window, count);
        Ref::map(self.0.borrow(), |kept| &*kept.columns)
    }

    fn update(
        &self,
        (track, series): (&Track, &Series),
        ema: Option<&Ema>,
        unit: XUnit,
        window: (f64, f64),
        count: usize,
    ) {
        let mut kept = self.0.borrow_mut();
        let of = Of {
            unit,
            window,
            beta: ema.map(Ema::beta),
        };
        let same = kept.of == Some(of) && kept.columns.len() == count && kept.rows <= track.len();
        if same && kept.rows == track.len() {
            return;
        }
        let first = if same {
            // Only from the column of the last row on can a new one have come in.
            let old = kept.rows;
            kept.columns.partition_point(|column| column.rows.end < old)
        } else {
            0
        };
        kept.columns.truncate(first);
        let start = kept.columns.last().map(|column| column.rows.end);
        for rows in track.columns_from(unit, window, count, (first, start)) {
            kept.columns.push(Column::new(rows, series, ema));
        }
        kept.of = Some(of);
        kept.rows = track.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_kept_is_what_would_be_computed_anew(
            parts in proptest::collection::vec(0_usize..40, 1..12),
            hi in 20_u32..400,
            count in 1_usize..60,
        ) {
            let (mut track, mut series) = (Track::default(), Series::default());
            let mut ema = Ema::new(0.9);
            let columns = Columns::default();
            let mut row = 0_u32;
            for part in parts {
                for _ in 0..part {
                    row += 1;
                    let value = if row.is_multiple_of(17) { f64::NAN } else { f64::from(row % 29) };
                    track.push(u64::from(row), u64::from(row) * 8, f64::from(row) * 0.25);
                    series.push(value);
                    ema.push(value as f32);
                }
                for unit in [XUnit::Step, XUnit::Time] {
                    let hi = if unit == XUnit::Step { f64::from(hi) } else { f64::from(hi) * 0.25 };
                    for window in [(1.0, hi), (1.0, hi)] {
                        let line = (&track, &series);
                        let kept = columns.of(line, Some(&ema), unit, window, count).to_vec();
                        let anew = Columns::default();
                        let anew = anew.of(line, Some(&ema), unit, window, count);
                        // Sums may be folded in another order; NaN is not equal to itself.
                        prop_assert_eq!(format!("{kept:?}"), format!("{:?}", &*anew));
                    }
                }
                // The same once more without the other unit in between.
                let line = (&track, &series);
                let window = (1.0, f64::from(hi));
                drop(columns.of(line, Some(&ema), XUnit::Step, window, count));
            }
        }
    }
}
