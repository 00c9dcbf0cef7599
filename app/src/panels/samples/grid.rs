//! Samples as a table: prompts by steps, and which cell is chosen.

use std::collections::{HashMap, VecDeque};

use crate::panels::list::{Dated, Place};
use crate::state::Sample;

/// The table of the first samples of a run.
#[derive(Debug)]
pub(super) struct Grid<'a> {
    /// The rows: the prompts as the newest step has them, then those that it lacks.
    pub prompts: Vec<&'a str>,
    /// The columns: the steps at which the model wrote, the newest last.
    pub steps: Vec<u64>,
    /// The sample of a column and a row.
    cells: HashMap<(u64, &'a str), usize>,
    /// Number of samples.
    len: usize,
    /// Samples before them that are kept no more.
    forgotten: u64,
}

impl<'a> Grid<'a> {
    /// The table of the first `len` samples, before which `forgotten` are kept no more.
    pub(super) fn new(samples: &'a VecDeque<Sample>, len: usize, forgotten: u64) -> Self {
        let shown = || samples.iter().take(len).enumerate();
        let mut steps: Vec<u64> = shown().map(|(_, sample)| sample.step).collect();
        steps.sort_unstable();
        steps.dedup();
        let newest = steps.last().copied();
        let (new, old): (Vec<&Sample>, Vec<&Sample>) = shown()
            .map(|(_, sample)| sample)
            .partition(|sample| Some(sample.step) == newest);
        let mut prompts: Vec<&str> = Vec::new();
        for sample in new.into_iter().chain(old) {
            if !prompts.contains(&&*sample.prompt) {
                prompts.push(&sample.prompt);
            }
        }
        // Of several samples of a prompt at one step the last counts.
        let cells = shown().map(|(index, sample)| ((sample.step, &*sample.prompt), index));
        Self {
            cells: cells.collect(),
            prompts,
            steps,
            len: samples.len().min(len),
            forgotten,
        }
    }

    /// The row of a sample in the list, by its number.
    fn row_of(&self, number: u64) -> usize {
        number.saturating_sub(self.forgotten) as usize
    }

    /// The sample of a cell.
    pub(super) fn sample(&self, cell: Cell) -> Option<usize> {
        let step = *self.steps.get(cell.column)?;
        self.cells
            .get(&(step, *self.prompts.get(cell.row)?))
            .copied()
    }

    /// The nearest cell of the same row that has a sample, on one side of a step.
    fn beside(&self, cell: Cell, later: bool) -> Option<Cell> {
        let mut columns: Vec<usize> = if later {
            (cell.column + 1..self.steps.len()).collect()
        } else {
            (0..cell.column.min(self.steps.len())).rev().collect()
        };
        columns.retain(|&column| self.sample(Cell { column, ..cell }).is_some());
        let column = *columns.first()?;
        Some(Cell { column, ..cell })
    }
}

/// A place in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// Of which prompt.
    pub row: usize,
    /// Of which step.
    pub column: usize,
}

/// What was chosen, as it was chosen: a row of the list or a cell of the table. The other view derives its place from it.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// A row of the list.
    Row(Dated),
    /// A cell of the table.
    Cell {
        /// Its prompt.
        prompt: String,
        /// Its step; none follows the newest one.
        step: Option<u64>,
        /// Where the data cursor stood: elsewhere the newest step counts.
        cursor: Option<u64>,
    },
}

impl Default for Chosen {
    fn default() -> Self {
        Self::Row(Dated::default())
    }
}

impl Chosen {
    /// The chosen cell while the data cursor stands at `cursor`.
    pub(super) fn cell(
        &self,
        grid: &Grid<'_>,
        samples: &VecDeque<Sample>,
        cursor: Option<u64>,
    ) -> Cell {
        let last = grid.steps.len().saturating_sub(1);
        let row_of = |prompt: &str| grid.prompts.iter().position(|have| *have == prompt);
        let column_of = |step: u64| grid.steps.partition_point(|have| *have <= step);
        match self {
            Self::Row(place) => {
                let here = grid.len.saturating_sub(1);
                let place = place.at(cursor, here, |number| grid.row_of(number));
                let Some(sample) = samples.get(place.row(grid.len)) else {
                    return Cell { row: 0, column: 0 };
                };
                Cell {
                    row: row_of(&sample.prompt).unwrap_or(0),
                    column: column_of(sample.step).saturating_sub(1).min(last),
                }
            }
            Self::Cell {
                prompt,
                step,
                cursor: then,
            } => Cell {
                row: row_of(prompt).unwrap_or(0),
                column: match step {
                    Some(step) if *then == cursor => column_of(*step).saturating_sub(1).min(last),
                    _ => last,
                },
            },
        }
    }

    /// The chosen row of the list while the data cursor stands at `cursor`.
    pub(super) fn place(
        &self,
        grid: &Grid<'_>,
        samples: &VecDeque<Sample>,
        cursor: Option<u64>,
    ) -> Place {
        let last = grid.len.saturating_sub(1);
        match self {
            Self::Row(place) => place.at(cursor, last, |number| grid.row_of(number)),
            Self::Cell { .. } => {
                let cell = self.cell(grid, samples, cursor);
                let found = grid.sample(cell);
                let earlier = || grid.sample(grid.beside(cell, false)?);
                let mut place = Place::default();
                place.choose(found.or_else(earlier).unwrap_or(last), grid.len);
                place
            }
        }
    }

    /// Chooses a cell.
    pub(super) fn choose(&mut self, grid: &Grid<'_>, cell: Cell, cursor: Option<u64>) {
        let Some(prompt) = grid.prompts.get(cell.row) else {
            return;
        };
        let is_last = cell.column + 1 >= grid.steps.len();
        *self = Self::Cell {
            prompt: (*prompt).to_owned(),
            step: grid.steps.get(cell.column).copied().filter(|_| !is_last),
            cursor,
        };
    }

    /// Chooses a row of the list.
    pub(super) fn put(&mut self, grid: &Grid<'_>, place: Place, cursor: Option<u64>) {
        let mut dated = Dated::default();
        dated.put(place, cursor, |row| grid.forgotten + row as u64);
        *self = Self::Row(dated);
    }

    /// Goes to the sample of the same prompt that was written before, or after.
    pub(super) fn go_along(
        &mut self,
        grid: &Grid<'_>,
        samples: &VecDeque<Sample>,
        cursor: Option<u64>,
        later: bool,
    ) {
        let here = self.cell(grid, samples, cursor);
        let Some(there) = grid.beside(here, later) else {
            return;
        };
        match self {
            Self::Cell { .. } => self.choose(grid, there, cursor),
            Self::Row(_) => {
                if let Some(row) = grid.sample(there) {
                    let mut place = Place::default();
                    place.choose(row, grid.len);
                    self.put(grid, place, cursor);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: &[(u64, &str)]) -> VecDeque<Sample> {
        let sample = |(step, prompt): &(u64, &str)| Sample {
            step: *step,
            prompt: (*prompt).to_owned(),
            text: format!("{prompt}{step}"),
            readable: None,
        };
        of.iter().map(sample).collect()
    }

    fn at(row: usize, column: usize) -> Cell {
        Cell { row, column }
    }

    #[test]
    fn rows_are_prompts_and_columns_are_steps() {
        // The record of a run whose prompts were changed, its oldest samples forgotten.
        let all = samples(&[
            (1, "b"),
            (1, "gone"),
            (2, "a"),
            (2, "b"),
            (2, "b"),
            (3, "a"),
            (3, "b"),
            (3, "new"),
        ]);
        let grid = Grid::new(&all, all.len(), 0);
        assert_eq!(grid.prompts, ["a", "b", "new", "gone"]);
        assert_eq!(grid.steps, [1, 2, 3]);
        assert_eq!(grid.sample(at(1, 1)), Some(4), "the last of a step counts");
        assert_eq!(grid.sample(at(0, 0)), None);
        assert_eq!(grid.sample(at(9, 9)), None);
        assert_eq!(grid.beside(at(2, 2), false), None);
        assert_eq!(grid.beside(at(3, 2), false), Some(at(3, 0)));
        let past = Grid::new(&all, 5, 0);
        assert_eq!(
            (past.prompts, past.steps),
            (vec!["a", "b", "gone"], vec![1, 2])
        );
        let none = Grid::new(&all, 0, 0);
        assert_eq!(Chosen::default().cell(&none, &all, None), at(0, 0));
    }

    #[test]
    fn both_views_choose_the_same_sample() {
        let mut all = samples(&[(1, "a"), (1, "b"), (2, "a"), (2, "b")]);
        let grid = Grid::new(&all, all.len(), 0);
        let mut chosen = Chosen::default();
        assert_eq!(chosen.cell(&grid, &all, None), at(1, 1));
        chosen.go_along(&grid, &all, None, false);
        assert_eq!(chosen.place(&grid, &all, None).row(4), 1);
        assert_eq!(chosen.cell(&grid, &all, None), at(1, 0));
        chosen.choose(&grid, at(0, 0), None);
        assert_eq!(chosen.place(&grid, &all, None).row(4), 0);
        chosen.go_along(&grid, &all, None, true);
        chosen.go_along(&grid, &all, None, true);
        assert_eq!(chosen.cell(&grid, &all, None), at(0, 1));
        // The newest step is followed, the prompt stays.
        all.extend(samples(&[(3, "a"), (3, "b")]));
        let grid = Grid::new(&all, all.len(), 0);
        assert_eq!(chosen.cell(&grid, &all, None), at(0, 2));
        assert_eq!(chosen.place(&grid, &all, None).row(6), 4);
        // A chosen step holds for the place of the data cursor at which it was chosen.
        chosen.choose(&grid, at(1, 0), None);
        let past = Grid::new(&all, 4, 0);
        assert_eq!(chosen.cell(&past, &all, Some(2)), at(1, 1));
        assert_eq!(chosen.cell(&grid, &all, None), at(1, 0));
    }

    #[test]
    fn a_cell_without_a_sample_stands_for_the_one_before_it() {
        let all = samples(&[(1, "a"), (2, "b"), (3, "b")]);
        let grid = Grid::new(&all, all.len(), 0);
        let mut chosen = Chosen::default();
        chosen.choose(&grid, at(1, 1), None);
        assert_eq!((grid.prompts[1], grid.sample(at(1, 1))), ("a", None));
        assert_eq!(chosen.place(&grid, &all, None).row(3), 0);
    }
}
