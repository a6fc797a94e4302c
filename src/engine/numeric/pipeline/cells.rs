//! Which rows fill the days of a window.

use std::ops::Range;

/// Per day of a window, oldest first, the row that fills it.
pub(super) enum Cells {
    /// Each day has one, `step` rows after that of the day before; `rows` begins with the oldest of them and ends behind
    /// the newest. The common case.
    Run {
        /// The rows of the first to the last day.
        rows: Range<usize>,
        /// Rows from one day to the next.
        step: usize,
    },
    /// Some day has none.
    Sparse(Vec<Option<usize>>),
}

impl Cells {
    /// Every `step`-th row of `rows`, counted from the newest, `most` of them at most.
    pub(super) fn run(rows: Range<usize>, step: usize, most: usize) -> Self {
        let days = rows.len().div_ceil(step).min(most);
        let start = rows.end.saturating_sub(days.saturating_sub(1) * step + 1).max(rows.start);
        Self::Run { rows: start..rows.end, step }
    }

    /// Days of the window that have a cell, filled or not.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Run { rows, step } => rows.len().div_ceil(*step),
            Self::Sparse(cells) => cells.len(),
        }
    }

    /// The span of rows that fill cells.
    pub(super) fn span(&self) -> Range<usize> {
        match self {
            Self::Run { rows, .. } => rows.clone(),
            Self::Sparse(cells) => {
                let mut filled = cells.iter().flatten().copied();
                let first = filled.next().unwrap_or(0);
                first..filled.next_back().unwrap_or(first) + 1
            }
        }
    }

    /// Rows from one filled cell to the next, where all are as far apart; else 1.
    pub(super) fn step(&self) -> usize {
        match self {
            Self::Run { step, .. } => *step,
            Self::Sparse(_) => 1,
        }
    }

    /// The oldest row that fills one of the `newest` days.
    pub(super) fn oldest(&self, newest: usize) -> Option<usize> {
        let skip = self.len().saturating_sub(newest);
        match self {
            Self::Run { rows, step } => Some(rows.start + skip * step).filter(|row| *row < rows.end),
            Self::Sparse(cells) => cells[skip..].iter().flatten().copied().next(),
        }
    }

    /// The values of the `newest` days out of those of all rows, into `values`; NaN where a cell is empty.
    #[inline(always)]
    pub(super) fn pick(&self, newest: usize, column: &[f64], values: &mut Vec<f64>) {
        values.clear();
        let skip = self.len().saturating_sub(newest);
        match self {
            Self::Run { rows, step: 1 } => {
                values.extend_from_slice(&column[rows.start + skip..rows.end.max(rows.start + skip)])
            }
            Self::Run { rows, step } => {
                let first = rows.end.min(rows.start + skip * step);
                values.extend(column[first..rows.end].chunks(*step).map(|chunk| chunk[0]));
            }
            Self::Sparse(cells) => {
                values.extend(cells[skip..].iter().map(|cell| cell.map_or(f64::NAN, |row| column[row])))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(cells: &Cells, newest: usize) -> Vec<f64> {
        let column: Vec<f64> = (0..20).map(f64::from).collect();
        let mut values = Vec::new();
        cells.pick(newest, &column, &mut values);
        values
    }

    #[test]
    fn a_run_counts_its_steps_from_the_newest_row() {
        let cells = Cells::run(3..15, 5, 9);
        assert_eq!((cells.len(), cells.span(), picked(&cells, 9)), (3, 4..15, vec![4.0, 9.0, 14.0]));
        assert_eq!((picked(&cells, 2), cells.oldest(2)), (vec![9.0, 14.0], Some(9)));
        let cells = Cells::run(3..15, 5, 2);
        assert_eq!((cells.len(), cells.span()), (2, 9..15));
        let cells = Cells::run(3..6, 1, 9);
        assert_eq!((picked(&cells, 9), picked(&cells, 1)), (vec![3.0, 4.0, 5.0], vec![5.0]));
        assert_eq!((picked(&cells, 0), cells.oldest(0)), (vec![], None));
        assert_eq!(Cells::run(3..3, 2, 9).len(), 0);
    }

    #[test]
    fn empty_cells_keep_their_day() {
        let cells = Cells::Sparse(vec![Some(2), None, Some(5), None]);
        let values = picked(&cells, 3);
        assert!(values[0].is_nan() && values[1] == 5.0 && values[2].is_nan());
        assert_eq!((cells.oldest(4), cells.oldest(3), cells.oldest(1)), (Some(2), Some(5), None));
        assert_eq!((cells.len(), cells.span()), (4, 2..6));
    }
}
