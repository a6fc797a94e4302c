//! Values per day from the rows of one instrument, computed when a window first needs them. A missing value is NaN.

use std::cell::{Ref, RefCell};
use std::ops::Range;

use super::super::super::logarithm::ln_lanes;
use super::super::super::simd::{Wide, wide};
use super::super::market::{as_number, returns, usable};
use super::super::series::{PriceSeries, ROW_BYTES, Row};
use super::spec::{Channel, DayFeature, PipelineSpec};
use super::standard;

/// Rows whose values are computed beyond those asked for, once somebody has come back for more.
const AHEAD: usize = 64;

/// Trading days of a year, by convention.
const YEAR: f64 = 252.0;

/// Rows of one instrument, their returns, and the value of every channel on the rows that windows reach.
///
/// A value depends on no row older than its feature's history, in calendar days, so that it is the same
/// whatever older rows were read.
#[derive(Debug)]
pub(crate) struct Rows {
    series: PriceSeries,
    /// What values depend on of each row, as bytes: day, price, and volume where it counts.
    packed: Vec<u8>,
    row_bytes: usize,
    /// Day of each row, side by side for fast loops.
    pub(crate) dates: Vec<i32>,
    /// Log return of each row in units of the market's sums; absent where there is none.
    pub(crate) returns: Vec<Option<i64>>,
    price: Column,
    volume: Column,
    log_return: Column,
    rules: Vec<Rule>,
    values: RefCell<Values>,
}

/// What a channel computes.
#[derive(Debug, Clone, Copy)]
struct Rule {
    channel: Channel,
    feature: DayFeature,
    days: usize,
    /// Calendar days that a rolling feature looks back.
    history: u32,
}

/// One column per channel, filled for the rows `done`.
#[derive(Debug)]
pub(crate) struct Values {
    done: Range<usize>,
    columns: Vec<Vec<f64>>,
}

impl Values {
    /// The values of channel `channel`, row by row; those of rows that were asked for are computed.
    pub(crate) fn column(&self, channel: usize) -> &[f64] {
        &self.columns[channel]
    }
}

/// A number per row, NaN where it is missing, and how many are missing before each row.
#[derive(Debug)]
struct Column {
    values: Vec<f64>,
    missing: Vec<u32>,
}

impl Column {
    fn new(values: Vec<f64>) -> Self {
        let mut missing = Vec::with_capacity(values.len() + 1);
        let mut count = 0;
        missing.push(count);
        for value in &values {
            count += u32::from(value.is_nan());
            missing.push(count);
        }
        Self { values, missing }
    }

    fn at(&self, index: usize) -> f64 {
        self.values[index]
    }

    /// Values that are there in `span`.
    fn count(&self, span: &Range<usize>) -> usize {
        span.len() - (self.missing[span.end] - self.missing[span.start]) as usize
    }

    /// Whether at least half of `days` values are there in `span`.
    fn is_half(&self, span: &Range<usize>, days: usize) -> bool {
        let count = self.count(span);
        count > 0 && count * 2 >= days
    }
}

impl Rows {
    /// Takes a sorted series.
    pub(crate) fn new(series: PriceSeries, spec: &PipelineSpec) -> Self {
        let mut known = vec![None; series.len()];
        for (index, rounded) in returns(series.rows(), spec.window.max_gap_days) {
            known[index] = Some(rounded);
        }
        let rows = series.rows();
        let row_bytes = if spec.takes_volume() { ROW_BYTES } else { ROW_BYTES - size_of::<f64>() };
        let mut packed = vec![0; rows.len() * row_bytes];
        rows.iter().zip(packed.chunks_exact_mut(row_bytes)).for_each(|(row, slot)| row.pack(slot));
        let positive = |value: f64| if usable(value) { value } else { f64::NAN };
        let number = |rounded: &Option<i64>| rounded.map_or(f64::NAN, |rounded| as_number(rounded.into()));
        let rule = |channel: &Channel| Rule {
            channel: *channel,
            feature: channel.feature,
            days: channel.days.unwrap_or(1) as usize,
            history: spec.history_days(channel),
        };
        Self {
            price: Column::new(rows.iter().map(|row| positive(row.price)).collect()),
            volume: Column::new(rows.iter().map(|row| positive(row.volume)).collect()),
            log_return: Column::new(known.iter().map(number).collect()),
            rules: spec.channels.iter().map(rule).collect(),
            values: RefCell::new(Values {
                done: 0..0,
                columns: vec![vec![f64::NAN; rows.len()]; spec.channels.len()],
            }),
            dates: rows.iter().map(|row| row.day.0).collect(),
            series,
            packed,
            row_bytes,
            returns: known,
        }
    }

    /// The values of every channel, before the market is taken out and before scaling, but for channels that
    /// are scaled day by day: those are finished. The rows `range` are computed.
    pub(crate) fn values(&self, range: Range<usize>) -> Ref<'_, Values> {
        let done = self.values.borrow().done.clone();
        let known = range.is_empty() || (done.start <= range.start && range.end <= done.end);
        if !known {
            let mut values = self.values.borrow_mut();
            // Who comes back for a later row will want those behind it, too.
            let ahead = (done.end + AHEAD).min(self.rows().len());
            let parts = match done.is_empty() {
                true => [range, 0..0],
                false if range.end > done.end => {
                    [range.start.min(done.start)..done.start, done.end..range.end.max(ahead)]
                }
                false => [range.start..done.start, done.end..done.end],
            };
            for (rule, column) in self.rules.iter().zip(&mut values.columns) {
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    wide(Compute { rows: self, rule, first: part.start, out: &mut column[part.clone()] });
                }
            }
            values.done = parts[0].start..parts[1].end.max(parts[0].end);
        }
        self.values.borrow()
    }

    /// What values depend on of the rows `range`, as bytes.
    pub(crate) fn packed(&self, range: Range<usize>) -> &[u8] {
        &self.packed[range.start * self.row_bytes..range.end * self.row_bytes]
    }

    /// The oldest row that any value of row `first` depends on, or of a later one.
    pub(crate) fn reach(&self, first: usize) -> usize {
        let reach = |rule: &Rule| {
            let start = self.starts(rule, first..first + 1).next().unwrap_or(first);
            if !rule.feature.takes_returns() {
                return start;
            }
            // The first return is taken from the usable row before it.
            let returned = (start..=first).find(|&row| self.is_usable(row));
            let returned = returned.filter(|&row| self.returns[row].is_some());
            returned
                .and_then(|row| (0..row).rev().find(|&row| self.is_usable(row)))
                .unwrap_or(start)
                .min(start)
        };
        if first >= self.rows().len() {
            return first;
        }
        self.rules.iter().map(reach).min().unwrap_or(first)
    }

    /// All rows, ascending.
    pub(crate) fn rows(&self) -> &[Row] {
        self.series.rows()
    }

    /// Whether row `index` has a price that a return can be taken from.
    pub(crate) fn is_usable(&self, index: usize) -> bool {
        !self.price.at(index).is_nan()
    }

    /// Whether all rows of `range` have one.
    pub(crate) fn are_usable(&self, range: &Range<usize>) -> bool {
        range.end <= self.rows().len() && self.price.count(range) == range.len()
    }

    /// Where the last `days` rows up to each of `rows` begin, of those at most `history` calendar days older.
    fn starts(&self, rule: &Rule, rows: Range<usize>) -> impl Iterator<Item = usize> {
        let (days, history) = (rule.days, rule.history);
        rows.map(move |index| {
            let from = self.rows()[index].day.minus_days(history);
            let start = (index + 1).saturating_sub(days);
            // Mostly none of them is too old.
            match self.dates.get(start) {
                Some(&oldest) if oldest >= from.0 => start,
                _ => start + self.dates[start..index].partition_point(|&day| day < from.0),
            }
        })
    }
}

/// The values of a channel on the rows from `first` on, as many as `out` has places. None depends on a later row.
struct Compute<'r> {
    rows: &'r Rows,
    rule: &'r Rule,
    first: usize,
    out: &'r mut [f64],
}

impl Wide for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let (rows, span) = (self.rows, self.first..self.first + self.out.len());
        match self.rule.feature {
            DayFeature::Price => self.out.copy_from_slice(&rows.price.values[span]),
            // The newest price is taken off when the window is known.
            DayFeature::LogPrice => {
                self.out.copy_from_slice(&rows.price.values[span]);
                ln_lanes(self.out);
            }
            DayFeature::LogReturn => self.out.copy_from_slice(&rows.log_return.values[span]),
            DayFeature::AbsReturn => {
                let returns = self.out.iter_mut().zip(&rows.log_return.values[span]);
                returns.for_each(|(out, value)| *out = value.abs());
            }
            DayFeature::Volume => self.out.copy_from_slice(&rows.volume.values[span]),
            DayFeature::LogVolume => {
                self.out.copy_from_slice(&rows.volume.values[span]);
                ln_lanes(self.out);
            }
            DayFeature::DollarVolume => {
                let pairs = rows.price.values[span.clone()].iter().zip(&rows.volume.values[span]);
                self.out.iter_mut().zip(pairs).for_each(|(out, (price, volume))| *out = price * volume);
                ln_lanes(self.out);
            }
            _ => self.rolling(span),
        }
        let channel = &self.rule.channel;
        let daily = channel.is_daily();
        for value in self.out.iter_mut() {
            let finished = if daily { standard::finish_day(channel, *value) } else { *value };
            *value = if value.is_finite() { finished } else { f64::NAN };
        }
    }
}

impl Compute<'_> {
    #[inline(always)]
    fn rolling(&mut self, span: Range<usize>) {
        let (rows, days) = (self.rows, self.rule.days);
        let starts: Vec<usize> = rows.starts(self.rule, span.clone()).collect();
        let Some(&first) = starts.first() else { return };
        let reach = first..span.end;
        let windows = Windows { starts: &starts, days, from: first, first: span.start };
        match self.rule.feature {
            DayFeature::RealisedVolatility => {
                windows.means(&rows.log_return, reach, |r| r * r, self.out);
                self.out.iter_mut().for_each(|mean| *mean = at_least((YEAR * *mean).sqrt(), 1e-4));
                ln_lanes(self.out);
            }
            DayFeature::Drawdown => {
                let high = windows.extremes(&rows.price, reach, 0.0, higher);
                let prices = rows.price.values[span].iter().zip(&high);
                self.out.iter_mut().zip(prices).for_each(|(out, (price, high))| *out = price / high);
                ln_lanes(self.out);
            }
            DayFeature::Range => {
                let low = windows.extremes(&rows.price, reach.clone(), f64::INFINITY, lower);
                let high = windows.extremes(&rows.price, reach, 0.0, higher);
                self.out
                    .iter_mut()
                    .zip(low.iter().zip(&high))
                    .for_each(|(out, (low, high))| *out = high / low);
                ln_lanes(self.out);
                self.out.iter_mut().for_each(|range| *range = at_least(*range, 1e-3));
                ln_lanes(self.out);
            }
            DayFeature::Amihud => {
                windows.means(&rows.log_return, reach.clone(), f64::abs, self.out);
                self.out.iter_mut().for_each(|moved| *moved = at_least(*moved, 1e-6));
                ln_lanes(self.out);
                let pairs = rows.price.values[reach.clone()].iter().zip(&rows.volume.values[reach.clone()]);
                let product = Column::new(pairs.map(|(price, volume)| price * volume).collect());
                let mut traded = vec![0.0; self.out.len()];
                let windows = Windows {
                    from: 0,
                    starts: &starts.iter().map(|start| start - first).collect::<Vec<_>>(),
                    days,
                    first: span.start - first,
                };
                windows.means(&product, 0..reach.len(), |product| product, &mut traded);
                ln_lanes(&mut traded);
                self.out.iter_mut().zip(&traded).for_each(|(moved, traded)| *moved -= traded);
            }
            _ => self.out.fill(f64::NAN),
        }
    }
}

/// The larger of both; NaN stays NaN.
#[inline(always)]
fn at_least(value: f64, least: f64) -> f64 {
    if value < least { least } else { value }
}

/// Rows that features roll over: the window of row `first + i` begins at `starts[i]` and ends with that row.
struct Windows<'s> {
    starts: &'s [usize],
    days: usize,
    /// Row that the first number of what is rolled over is of.
    from: usize,
    first: usize,
}

impl Windows<'_> {
    /// Mean of `f` over the values of each window that are there, in order; NaN when fewer than half of the days are.
    #[inline(always)]
    fn means(&self, column: &Column, reach: Range<usize>, f: impl Fn(f64) -> f64, out: &mut [f64]) {
        let values = column.values[reach].iter().map(|&value| if value.is_nan() { 0.0 } else { f(value) });
        let values: Vec<f64> = values.collect();
        self.sums(&values, out);
        for (index, sum) in out.iter_mut().enumerate() {
            let window = self.starts[index]..self.first + index + 1;
            let count = column.count(&window) as f64;
            *sum = if column.is_half(&window, self.days) { *sum / count } else { f64::NAN };
        }
    }

    /// What `take` picks of the values of each window, such as the highest; NaN when fewer than half of the days are
    /// there. `none` is picked over nothing; the order in which values are taken must not matter.
    #[inline(always)]
    fn extremes(
        &self,
        column: &Column,
        reach: Range<usize>,
        none: f64,
        take: impl Fn(f64, f64) -> f64,
    ) -> Vec<f64> {
        let known = column.values[reach].iter().map(|&value| if value.is_nan() { none } else { value });
        let known: Vec<f64> = known.collect();
        let mut out = vec![none; self.starts.len()];
        self.picks(&known, none, take, &mut out);
        for (index, slot) in out.iter_mut().enumerate() {
            if !column.is_half(&(self.starts[index]..self.first + index + 1), self.days) {
                *slot = f64::NAN;
            }
        }
        out
    }

    /// Where the windows from `index` on end that have as many rows as its own, so that they lie side by side, and how
    /// many these are.
    fn alike(&self, index: usize) -> (usize, usize) {
        let start = self.starts[index];
        let beside = self.starts[index..].iter().zip(start..).take_while(|(own, side)| *own == side);
        (index + beside.count(), self.first + index + 1 - start)
    }

    /// Sum of each window, oldest value first.
    #[inline(always)]
    fn sums(&self, values: &[f64], out: &mut [f64]) {
        let mut index = 0;
        while index < out.len() {
            let (end, rows) = self.alike(index);
            let from = self.starts[index] - self.from;
            let sums = &mut out[index..end];
            sums.fill(0.0);
            for row in from..from + rows {
                sums.iter_mut().zip(&values[row..]).for_each(|(sum, value)| *sum += value);
            }
            index = end;
        }
    }

    /// What `take` picks of each window: of spans twice as long each time, then of two that cover the window.
    #[inline(always)]
    fn picks(&self, values: &[f64], none: f64, take: impl Fn(f64, f64) -> f64, out: &mut [f64]) {
        let mut index = 0;
        while index < out.len() {
            let (end, rows) = self.alike(index);
            let from = self.starts[index] - self.from;
            let mut picked = values[from..from + rows + end - index - 1].to_vec();
            let mut covered = 1;
            while covered * 2 <= rows {
                for place in 0..picked.len() - covered {
                    picked[place] = take(picked[place], picked[place + covered]);
                }
                covered *= 2;
            }
            let behind = &picked[rows - covered..];
            let pairs = picked.iter().zip(behind).map(|(&older, &newer)| take(take(none, older), newer));
            out[index..end].iter_mut().zip(pairs).for_each(|(slot, picked)| *slot = picked);
            index = end;
        }
    }
}

/// The larger and the smaller number; neither is NaN.
#[inline(always)]
fn higher(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

#[inline(always)]
fn lower(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::day::Day;
    use super::*;

    const SPEC: &str = r#"{"encoder": "pipeline", "price_column": "close",
        "window": {"min_fill": 0.5, "look_back": 1.5, "short_history": "mask", "max_gap_days": 10, "max_age_days": 10},
        "channels": [{"feature": "realised_volatility", "days": 21}, {"feature": "drawdown", "days": 63},
                     {"feature": "range", "days": 21}, {"feature": "amihud", "days": 5}, {"feature": "log_volume"}],
        "layout": "newest_first", "projection": {"kind": "truncate"}, "dim": 8, "normalise": "none"}"#;

    fn rows() -> Rows {
        let mut series = PriceSeries::new();
        for day in (0..200).filter(|day| day % 7 < 5 && day % 41 != 3) {
            let price = if day % 50 == 9 { f64::NAN } else { 50.0 + 9.0 * f64::from(day).sin() };
            series.push(Day(day), price, f64::from(day % 13) * 1e5).unwrap();
        }
        Rows::new(series, &PipelineSpec::from_json(SPEC).unwrap())
    }

    fn bits(values: &Values, channel: usize) -> Vec<u64> {
        values.column(channel).iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn values_do_not_depend_on_what_was_asked_for_first() {
        let whole = rows();
        let last = whole.rows().len();
        let piecewise = rows();
        for range in [90..100, 60..70, 120..last, 0..5, 0..0, 30..last] {
            let _ = piecewise.values(range);
        }
        for channel in 0..5 {
            assert_eq!(bits(&whole.values(0..last), channel), bits(&piecewise.values(0..last), channel));
        }
    }

    #[test]
    fn only_what_is_asked_for_is_computed() {
        let rows = rows();
        let values = rows.values(100..110);
        let there = |range: Range<usize>| values.column(0)[range].iter().filter(|v| !v.is_nan()).count();
        assert_eq!((there(0..100), there(110..rows.rows().len())), (0, 0));
        assert!(there(100..110) > 5);
    }

    #[test]
    fn rolling_features_follow_their_formulas() {
        let rows = rows();
        let at = 110;
        let values = rows.values(at..at + 1);
        let span = 90..111;
        let known = |column: &Column| -> Vec<f64> {
            column.values[span.clone()].iter().copied().filter(|value| !value.is_nan()).collect()
        };
        let returns = known(&rows.log_return);
        let mean = returns.iter().map(|r| r * r).sum::<f64>() / returns.len() as f64;
        assert!((values.column(0)[at] - (252.0 * mean).sqrt().ln()).abs() < 1e-12);
        let prices = known(&rows.price);
        let (low, high) = prices.iter().fold((f64::INFINITY, 0.0f64), |(l, h), p| (l.min(*p), h.max(*p)));
        assert!((values.column(2)[at] - (high / low).ln().ln()).abs() < 1e-12);
        assert!(values.column(1)[at] <= 0.0);
    }
}
