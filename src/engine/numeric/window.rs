//! Which rows belong to the window of an as-of date.

use super::super::day::Day;
use super::series::Row;
use super::spec::WindowModel;

/// The rows of one window: `rows` of them from index `first`, then `padded` copies of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub(crate) first: usize,
    /// Rows read.
    pub rows: usize,
    /// Copies of the last row that fill the window.
    pub padded: usize,
    /// Day of the last row.
    pub last_day: Day,
}

/// A window that has fewer rows than its model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewRows {
    /// Rows found.
    pub found: usize,
    /// Rows needed.
    pub needed: usize,
    /// Window length, in rows.
    pub window_days: usize,
    /// Days searched, both included; absent where rows carry no dates.
    pub searched: Option<(Day, Day)>,
}

impl std::fmt::Display for TooFewRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "need at least {} of {} price rows", self.needed, self.window_days)?;
        if let Some((from, to)) = self.searched {
            write!(f, " in {from}..{to}")?;
        }
        write!(f, ", found {}", self.found)
    }
}

/// The window of sorted `rows` that ends on `as_of`: the latest `window_days` of the rows in
/// `[as_of - look_back_days, as_of]`. `expected`: how many rows there may be up to that day, which is looked at
/// first; over ascending days, one more than last time.
pub(crate) fn dated(
    rows: &[Row],
    model: &WindowModel,
    as_of: Day,
    expected: usize,
) -> Result<Window, TooFewRows> {
    let from = as_of.minus_days(model.look_back_days());
    let ends = |end: usize| {
        end <= rows.len()
            && end.checked_sub(1).is_none_or(|last| rows[last].day <= as_of)
            && rows.get(end).is_none_or(|next| next.day > as_of)
    };
    let end = if ends(expected) { expected } else { rows.partition_point(|row| row.day <= as_of) };
    let rows = &rows[..end];
    // Where the whole window lies in the span, what came before need not be counted.
    let first = end.checked_sub(model.window_days()).filter(|&first| rows[first].day >= from);
    let start = first.unwrap_or_else(|| rows.partition_point(|row| row.day < from));
    latest(rows, start, model).ok_or_else(|| too_few(end - start, model, Some((from, as_of))))
}

/// The window of the latest sorted `rows`, whatever their dates.
pub(crate) fn undated(rows: &[Row], model: &WindowModel) -> Result<Window, TooFewRows> {
    latest(rows, 0, model).ok_or_else(|| too_few(rows.len(), model, None))
}

fn latest(rows: &[Row], start: usize, model: &WindowModel) -> Option<Window> {
    let found = rows.len() - start;
    let last = rows.last()?;
    if found < model.min_rows() {
        return None;
    }
    let kept = found.min(model.window_days());
    let padded = model.window_days() - kept;
    Some(Window { first: rows.len() - kept, rows: kept, padded, last_day: last.day })
}

fn too_few(found: usize, model: &WindowModel, searched: Option<(Day, Day)>) -> TooFewRows {
    TooFewRows { found, needed: model.min_rows(), window_days: model.window_days(), searched }
}
