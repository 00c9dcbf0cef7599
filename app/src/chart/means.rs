//! The line of a run that does not change any more, column by column, as it was last drawn.
//!
//! A comparison shows the same curves frame after frame: each is decimated once for a window and a width, not thirty times a
//! second. The curves of the run that goes on are in a new window with every step and have no use for this.

use std::cell::RefCell;
use std::rc::Rc;

use super::series::{Series, Track, XUnit};

/// Decimations that are kept of a line: one for its axis, one for its dots.
const KEPT: usize = 2;

/// What a decimation depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Of {
    unit: XUnit,
    window: (f64, f64),
    columns: usize,
    rows: usize,
    extent: Option<(f64, f64)>,
}

/// A mean for each column.
type Line = Rc<[Option<f64>]>;

/// The last decimations of one line.
#[derive(Clone, Debug, Default)]
pub struct Means(RefCell<Vec<(Of, Line)>>);

impl Means {
    /// Mean of the finite rows of each of `columns` equal columns of a window: NaN where no row of a column is finite, none
    /// where it has no rows.
    pub fn of(
        &self,
        (track, series): (&Track, &Series),
        unit: XUnit,
        window: (f64, f64),
        columns: usize,
    ) -> Line {
        let of = Of {
            unit,
            window,
            columns,
            rows: series.len(),
            extent: track.extent(unit),
        };
        let mut kept = self.0.borrow_mut();
        if let Some((_, means)) = kept.iter().find(|(known, _)| *known == of) {
            return Rc::clone(means);
        }
        let rows = track.columns(unit, window, columns).into_iter();
        let mean = |rows: std::ops::Range<usize>| {
            let rows = rows.start..rows.end.min(series.len());
            (!rows.is_empty()).then(|| series.query(rows).mean().unwrap_or(f64::NAN))
        };
        let means: Line = rows.map(mean).collect();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((of, Rc::clone(&means)));
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(rows: u64) -> (Track, Series) {
        let (mut track, mut series) = (Track::default(), Series::default());
        for row in 1..=rows {
            track.push(row, row * 10, row as f64);
            series.push(row as f64);
        }
        (track, series)
    }

    #[test]
    fn what_is_kept_is_what_would_be_computed_again() {
        let means = Means::default();
        for rows in [100, 101, 100] {
            let (track, series) = line(rows);
            for (window, columns) in [((1.0, 100.0), 10), ((1.0, 50.0), 10), ((1.0, 50.0), 7)] {
                for _ in 0..2 {
                    let found = means.of((&track, &series), XUnit::Step, window, columns);
                    let anew = Means::default();
                    let want = anew.of((&track, &series), XUnit::Step, window, columns);
                    assert_eq!(found, want);
                    assert_eq!(found.len(), columns);
                }
            }
            let tokens = means.of((&track, &series), XUnit::Tokens, (1.0, 50.0), 7);
            assert_eq!(tokens.iter().flatten().count(), 5);
        }
        assert_eq!(means.0.borrow().len(), KEPT);
    }
}
