//! Sums and extremes over the last rows up to each of many rows.

use std::ops::Range;

use super::super::super::linear::{map_all, map_with};

/// A number per row, NaN where it is missing.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) values: Vec<f64>,
    /// How many are missing before each row, and in all; empty where none is.
    missing: Vec<u32>,
}

impl Column {
    pub(super) fn new(values: Vec<f64>) -> Self {
        if values.iter().fold(true, |there, value| there & !value.is_nan()) {
            return Self { values, missing: Vec::new() };
        }
        let mut missing = Vec::with_capacity(values.len() + 1);
        let mut count = 0;
        missing.push(count);
        for value in &values {
            count += u32::from(value.is_nan());
            missing.push(count);
        }
        Self { values, missing }
    }

    pub(super) fn at(&self, index: usize) -> f64 {
        self.values[index]
    }

    /// Values that are there in `span`.
    #[inline(always)]
    pub(super) fn count(&self, span: &Range<usize>) -> usize {
        if self.missing.is_empty() {
            return span.len();
        }
        span.len() - (self.missing[span.end] - self.missing[span.start]) as usize
    }

    /// Whether at least half of `days` values are there in `span`.
    #[inline(always)]
    pub(super) fn is_half(&self, span: &Range<usize>, days: usize) -> bool {
        let count = self.count(span);
        count > 0 && count * 2 >= days
    }
}

/// Rows that features roll over: the window of row `first + i * step` ends with that row.
pub(super) struct Windows {
    /// Where each window begins; nothing where each has all of its `days` rows.
    pub(super) starts: Option<Vec<usize>>,
    pub(super) days: usize,
    pub(super) first: usize,
    pub(super) step: usize,
}

impl Windows {
    /// The first row of window `index`.
    #[inline(always)]
    pub(super) fn start(&self, index: usize) -> usize {
        match &self.starts {
            Some(starts) => starts[index],
            None => self.first + index * self.step + 1 - self.days,
        }
    }

    /// The rows of window `index`.
    #[inline(always)]
    fn span(&self, index: usize) -> Range<usize> {
        self.start(index)..self.first + index * self.step + 1
    }

    /// The same windows over the rows from `row` on.
    pub(super) fn since(self, row: usize) -> Self {
        let starts = self.starts.map(|starts| starts.into_iter().map(|start| start - row).collect());
        Self { starts, first: self.first - row, ..self }
    }

    /// Whether every window has a value on each of its days; `reach`: the rows of all windows.
    #[inline(always)]
    pub(super) fn are_full(&self, column: &Column, reach: &Range<usize>) -> bool {
        self.starts.is_none() && column.count(reach) == reach.len()
    }

    /// Mean of `f` over the values of each window that are there, in order; NaN when fewer than half of the days are.
    /// `reach`: the rows of all windows.
    #[inline(always)]
    pub(super) fn means(
        &self,
        column: &Column,
        reach: Range<usize>,
        f: impl Fn(f64) -> f64,
        out: &mut [f64],
    ) {
        let is_full = self.are_full(column, &reach);
        if self.step > 1 && !is_full {
            return self.means_each(|row| f(column.values[row]), out);
        }
        let from = reach.start;
        let mut values = column.values[reach].to_vec();
        map_all(&mut values, |value| if value.is_nan() { 0.0 } else { f(value) });
        self.sums(&values, from, out);
        if is_full {
            let days = self.days as f64;
            return map_all(out, |sum| sum / days);
        }
        for (index, sum) in out.iter_mut().enumerate() {
            let window = self.span(index);
            let count = column.count(&window) as f64;
            *sum = if column.is_half(&window, self.days) { *sum / count } else { f64::NAN };
        }
    }

    /// The same of what `value` says of each row, NaN where it is missing, to the bit: window by window, for few windows.
    #[inline(always)]
    pub(super) fn means_each(&self, value: impl Fn(usize) -> f64, out: &mut [f64]) {
        for (index, slot) in out.iter_mut().enumerate() {
            let (mut sum, mut count) = (0.0, 0);
            for row in self.span(index) {
                let value = value(row);
                let there = !value.is_nan();
                sum += if there { value } else { 0.0 };
                count += usize::from(there);
            }
            *slot = if count > 0 && count * 2 >= self.days { sum / count as f64 } else { f64::NAN };
        }
    }

    /// What `take` picks of the values of each window, such as the highest, into `out`; NaN when fewer than half of the
    /// days are there. `none` is picked over nothing; the order in which values are taken must not matter.
    #[inline(always)]
    pub(super) fn extremes(
        &self,
        column: &Column,
        reach: Range<usize>,
        none: f64,
        take: impl Fn(f64, f64) -> f64,
        out: &mut [f64],
    ) {
        let (from, is_full) = (reach.start, self.are_full(column, &reach));
        let mut known = column.values[reach].to_vec();
        map_all(&mut known, |value| if value.is_nan() { none } else { value });
        self.picks(&known, from, none, take, out);
        if is_full {
            return;
        }
        for (index, slot) in out.iter_mut().enumerate() {
            if !column.is_half(&self.span(index), self.days) {
                *slot = f64::NAN;
            }
        }
    }

    /// Where the windows from `index` on end that have as many rows as its own, so that they lie side by side, and how
    /// many these are; there are `count` windows.
    #[inline(always)]
    fn alike(&self, index: usize, count: usize) -> (usize, usize) {
        let Some(starts) = &self.starts else { return (count, self.days) };
        let (start, step) = (starts[index], self.step);
        let sides = (0..).map(|beside| start + beside * step);
        let beside = starts[index..].iter().zip(sides).take_while(|(own, side)| *own == side);
        (index + beside.count(), self.span(index).len())
    }

    /// Sum of each window, oldest value first; `values` begin with row `from`.
    #[inline(always)]
    fn sums(&self, values: &[f64], from: usize, out: &mut [f64]) {
        let mut index = 0;
        while index < out.len() {
            let (end, rows) = self.alike(index, out.len());
            let first = self.start(index) - from;
            let sums = &mut out[index..end];
            sums.fill(0.0);
            for row in first..first + rows {
                if self.step == 1 {
                    map_with(sums, &values[row..], |sum, value| sum + value);
                } else {
                    let values = values[row..].iter().step_by(self.step);
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
            index = end;
        }
    }

    /// What `take` picks of each window: of spans twice as long each time, then of two that cover the window. `values`
    /// begin with row `from`.
    #[inline(always)]
    fn picks(&self, values: &[f64], from: usize, none: f64, take: impl Fn(f64, f64) -> f64, out: &mut [f64]) {
        let mut index = 0;
        while index < out.len() {
            let (end, rows) = self.alike(index, out.len());
            let first = self.start(index) - from;
            let mut picked = values[first..first + rows + (end - index - 1) * self.step].to_vec();
            let mut covered = 1;
            while covered * 2 <= rows {
                for place in 0..picked.len() - covered {
                    picked[place] = take(picked[place], picked[place + covered]);
                }
                covered *= 2;
            }
            let behind = &picked[rows - covered..];
            if self.step == 1 {
                let slots = out[index..end].iter_mut().zip(picked.iter().zip(behind));
                slots.for_each(|(slot, (&older, &newer))| *slot = take(take(none, older), newer));
            } else {
                let pairs = picked.iter().zip(behind).step_by(self.step);
                let slots = out[index..end].iter_mut().zip(pairs);
                slots.for_each(|(slot, (&older, &newer))| *slot = take(take(none, older), newer));
            }
            index = end;
        }
    }
}

/// The larger and the smaller number; neither is NaN.
#[inline(always)]
pub(super) fn higher(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

#[inline(always)]
pub(super) fn lower(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}
