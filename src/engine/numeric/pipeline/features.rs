//! Values per day from the rows of one instrument, computed when a window first needs them. A missing value is NaN.

use std::cell::{Ref, RefCell};
use std::ops::Range;

use super::super::super::day::Day;
use super::super::super::linear::{map_all, map_with};
use super::super::super::logarithm::ln_lanes;
use super::super::super::simd::{Wide, wide};
use super::super::market::{returns, usable};
use super::super::series::{PriceSeries, ROW_BYTES, Row};
use super::rolling::{Column, Windows, higher, lower};
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

/// One column per channel, filled for the rows `done`; before that for every so many rows, where only the last window was
/// asked for and needs no others.
#[derive(Debug, Default)]
pub(crate) struct Values {
    done: Range<usize>,
    sampled: Option<(Range<usize>, usize)>,
    columns: Vec<Vec<f64>>,
}

impl Values {
    /// Whether every `step`-th row of `range` is computed.
    fn has(&self, range: &Range<usize>, step: usize) -> bool {
        let within = |known: &Range<usize>| known.start <= range.start && range.end <= known.end;
        let sampled = |(known, every): &(Range<usize>, usize)| {
            *every == step && within(known) && (range.start - known.start).is_multiple_of(step)
        };
        range.is_empty() || within(&self.done) || self.sampled.as_ref().is_some_and(sampled)
    }

    /// The values of channel `channel`, row by row; those of rows that were asked for are computed.
    pub(crate) fn column(&self, channel: usize) -> &[f64] {
        &self.columns[channel]
    }
}

impl Rows {
    /// Takes a sorted series.
    pub(crate) fn new(series: PriceSeries, spec: &PipelineSpec) -> Self {
        let rows = series.rows();
        let row_bytes = if spec.takes_volume() { ROW_BYTES } else { ROW_BYTES - size_of::<f64>() };
        let mut packed = vec![0; rows.len() * row_bytes];
        rows.iter().zip(packed.chunks_exact_mut(row_bytes)).for_each(|(row, slot)| row.pack(slot));
        let positive = |value: f64| if usable(value) { value } else { f64::NAN };
        let rule = |channel: &Channel| Rule {
            channel: *channel,
            feature: channel.feature,
            days: channel.days.unwrap_or(1) as usize,
            history: spec.history_days(channel),
        };
        Self {
            price: Column::new(rows.iter().map(|row| positive(row.price)).collect()),
            volume: Column::new(rows.iter().map(|row| positive(row.volume)).collect()),
            log_return: Column::new(returns(rows, spec.window.max_gap_days)),
            rules: spec.channels.iter().map(rule).collect(),
            values: RefCell::new(Values {
                columns: vec![vec![f64::NAN; rows.len()]; spec.channels.len()],
                ..Values::default()
            }),
            dates: rows.iter().map(|row| row.day.0).collect(),
            series,
            packed,
            row_bytes,
        }
    }

    /// The values of every channel, before the market is taken out and before scaling, but for channels that
    /// are scaled day by day: those are finished. Every `step`-th row of `range` is computed, from its first on.
    pub(crate) fn values(&self, range: Range<usize>, step: usize) -> Ref<'_, Values> {
        if !self.values.borrow().has(&range, step) {
            let mut values = self.values.borrow_mut();
            // Rows behind the window are there for windows that end later.
            let only = range.end == self.rows().len();
            if step > 1 && only && values.done.is_empty() && values.sampled.is_none() {
                self.fill(&range, step, &mut values.columns);
                values.sampled = Some((range, step));
            } else {
                let Values { done, columns, .. } = &mut *values;
                // Who comes back for a later row will want those behind it, too.
                let ahead = (range.end.max(done.end) + AHEAD).min(self.rows().len());
                let known = done.clone();
                let parts = match known.is_empty() {
                    true if step == 1 => [range, 0..0],
                    true => [range.start..ahead, 0..0],
                    false if range.end > known.end => {
                        [range.start.min(known.start)..known.start, known.end..ahead]
                    }
                    false => [range.start..known.start, known.end..known.end],
                };
                parts.iter().for_each(|part| self.fill(part, 1, columns));
                *done = parts[0].start..parts[1].end.max(parts[0].end);
            }
        }
        self.values.borrow()
    }

    /// Computes every `step`-th row of `part`.
    fn fill(&self, part: &Range<usize>, step: usize, columns: &mut [Vec<f64>]) {
        if part.is_empty() {
            return;
        }
        let mut sampled = vec![f64::NAN; if step > 1 { part.len().div_ceil(step) } else { 0 }];
        for (rule, column) in self.rules.iter().zip(columns) {
            let out = if step > 1 { &mut sampled[..] } else { &mut column[part.clone()] };
            wide(Compute { rows: self, rule, first: part.start, step, out });
            let slots = column[part.clone()].iter_mut().step_by(step);
            slots.zip(&sampled).for_each(|(slot, value)| *slot = *value);
        }
    }

    /// What values depend on of the rows `range`, as bytes.
    pub(crate) fn packed(&self, range: Range<usize>) -> &[u8] {
        &self.packed[range.start * self.row_bytes..range.end * self.row_bytes]
    }

    /// The oldest row that any value of a channel depends on; `oldest`: by channel, the oldest row whose value counts, if
    /// there is one.
    pub(crate) fn reach(&self, oldest: impl Iterator<Item = Option<usize>>) -> Option<usize> {
        let reach = |(rule, first): (&Rule, usize)| {
            let start = self.start(rule, first);
            if !rule.feature.takes_returns() {
                return start;
            }
            // The first return is taken from the usable row before it.
            let returned = (start..=first).find(|&row| self.is_usable(row));
            let returned = returned.filter(|&row| !self.log_return(row).is_nan());
            returned
                .and_then(|row| (0..row).rev().find(|&row| self.is_usable(row)))
                .unwrap_or(start)
                .min(start)
        };
        let known = self.rules.iter().zip(oldest).filter_map(|(rule, first)| Some((rule, first?)));
        known.map(reach).min()
    }

    /// All rows, ascending.
    pub(crate) fn rows(&self) -> &[Row] {
        self.series.rows()
    }

    /// Log return of row `index`, as [`returns`] has it; NaN where there is none.
    pub(crate) fn log_return(&self, index: usize) -> f64 {
        self.log_return.at(index)
    }

    /// Whether row `index` has a price that a return can be taken from.
    pub(crate) fn is_usable(&self, index: usize) -> bool {
        !self.price.at(index).is_nan()
    }

    /// Whether all rows of `range` have one.
    pub(crate) fn are_usable(&self, range: &Range<usize>) -> bool {
        range.end <= self.rows().len() && self.price.count(range) == range.len()
    }

    /// Where the windows of every `step`-th of the rows `ends` begin; nothing where each has all of its days.
    #[inline(always)]
    fn starts(&self, rule: &Rule, ends: Range<usize>, step: usize) -> Option<Vec<usize>> {
        if ends.start + 1 >= rule.days {
            let newest = &self.dates[ends.clone()];
            let oldest = &self.dates[ends.start + 1 - rule.days..];
            let distances =
                newest.iter().zip(oldest).map(|(newest, oldest)| newest.wrapping_sub(*oldest) as u32);
            // Without a way out the loop takes several at a time.
            if distances.fold(true, |even, distance| even & (distance <= rule.history)) {
                return None;
            }
        }
        Some(ends.step_by(step).map(|end| self.start(rule, end)).collect())
    }

    /// Where the last `days` rows up to `row` begin, of those at most `history` calendar days older.
    #[inline(always)]
    fn start(&self, rule: &Rule, row: usize) -> usize {
        let dates = &self.dates[(row + 1).saturating_sub(rule.days)..=row];
        let from = Day(self.dates[row]).minus_days(rule.history).0;
        // Mostly none of them is too old.
        let old = if dates[0] >= from { 0 } else { dates.partition_point(|&day| day < from) };
        row + 1 - dates.len() + old
    }
}

/// The values of a channel on every `step`-th row from `first` on, as many as `out` has places. None depends on a later row.
struct Compute<'r> {
    rows: &'r Rows,
    rule: &'r Rule,
    first: usize,
    step: usize,
    out: &'r mut [f64],
}

impl Wide for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let rows = self.rows;
        match self.rule.feature {
            DayFeature::Price => self.pick(&rows.price),
            // The newest price is taken off when the window is known.
            DayFeature::LogPrice => {
                self.pick(&rows.price);
                ln_lanes(self.out);
            }
            DayFeature::LogReturn => self.pick(&rows.log_return),
            DayFeature::AbsReturn => {
                self.pick(&rows.log_return);
                map_all(self.out, f64::abs);
            }
            DayFeature::Volume => self.pick(&rows.volume),
            DayFeature::LogVolume => {
                self.pick(&rows.volume);
                ln_lanes(self.out);
            }
            DayFeature::DollarVolume => {
                self.pick(&rows.price);
                let volumes = rows.volume.values[self.first..].iter().step_by(self.step);
                self.out.iter_mut().zip(volumes).for_each(|(out, volume)| *out *= volume);
                ln_lanes(self.out);
            }
            _ => self.rolling(),
        }
        map_all(self.out, |value| if value.is_finite() { value } else { f64::NAN });
        if self.rule.channel.is_daily() {
            standard::finish(&self.rule.channel, self.out);
        }
    }
}

impl Compute<'_> {
    /// The numbers of a column on the rows in question.
    #[inline(always)]
    fn pick(&mut self, column: &Column) {
        let numbers = column.values[self.first..].iter().step_by(self.step);
        self.out.iter_mut().zip(numbers).for_each(|(out, number)| *out = *number);
    }

    #[inline(always)]
    fn rolling(&mut self) {
        let (rows, days, step) = (self.rows, self.rule.days, self.step);
        if self.out.is_empty() {
            return;
        }
        let end = self.first + (self.out.len() - 1) * step + 1;
        let starts = rows.starts(self.rule, self.first..end, step);
        let windows = Windows { starts, days, first: self.first, step };
        let reach = windows.start(0)..end;
        match self.rule.feature {
            DayFeature::RealisedVolatility => {
                windows.means(&rows.log_return, reach, |r| r * r, self.out);
                map_all(self.out, |mean| at_least((YEAR * mean).sqrt(), 1e-4));
                ln_lanes(self.out);
            }
            DayFeature::Drawdown => {
                let mut high = vec![0.0; self.out.len()];
                windows.extremes(&rows.price, reach, 0.0, higher, &mut high);
                self.pick(&rows.price);
                map_with(self.out, &high, |price, high| price / high);
                ln_lanes(self.out);
            }
            DayFeature::Range => {
                let mut low = vec![0.0; self.out.len()];
                windows.extremes(&rows.price, reach.clone(), f64::INFINITY, lower, &mut low);
                windows.extremes(&rows.price, reach, 0.0, higher, self.out);
                map_with(self.out, &low, |high, low| high / low);
                ln_lanes(self.out);
                map_all(self.out, |range| at_least(range, 1e-3));
                ln_lanes(self.out);
            }
            DayFeature::Amihud => {
                windows.means(&rows.log_return, reach.clone(), f64::abs, self.out);
                map_all(self.out, |moved| at_least(moved, 1e-6));
                ln_lanes(self.out);
                let mut traded = vec![0.0; self.out.len()];
                let is_full = windows.are_full(&rows.price, &reach) && windows.are_full(&rows.volume, &reach);
                if step > 1 && !is_full {
                    windows.means_each(|row| rows.price.at(row) * rows.volume.at(row), &mut traded);
                } else {
                    let mut product = rows.price.values[reach.clone()].to_vec();
                    map_with(&mut product, &rows.volume.values[reach.clone()], |price, volume| {
                        price * volume
                    });
                    let product = Column::new(product);
                    windows.since(reach.start).means(
                        &product,
                        0..reach.len(),
                        |product| product,
                        &mut traded,
                    );
                }
                ln_lanes(&mut traded);
                map_with(self.out, &traded, |moved, traded| moved - traded);
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
        rows_of(SPEC)
    }

    fn rows_of(spec: &str) -> Rows {
        let mut series = PriceSeries::new();
        for day in (0..200).filter(|day| day % 7 < 5 && day % 41 != 3) {
            let price = if day % 50 == 9 { f64::NAN } else { 50.0 + 9.0 * f64::from(day).sin() };
            series.push(Day(day), price, f64::from(day % 13) * 1e5).unwrap();
        }
        Rows::new(series, &PipelineSpec::from_json(spec).unwrap())
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
            let _ = piecewise.values(range, 1);
        }
        for channel in 0..5 {
            assert_eq!(
                bits(&whole.values(0..last, 1), channel),
                bits(&piecewise.values(0..last, 1), channel)
            );
        }
    }

    #[test]
    fn every_third_row_has_the_values_that_it_has_among_all() {
        let whole = rows();
        let last = whole.rows().len();
        let spec = SPEC.replace("\"max_gap_days\"", "\"every\": 3, \"max_gap_days\"");
        let sampled = rows_of(&spec);
        let first = last - 37;
        let rows = (first..last).step_by(3);
        let newest = sampled.values(first..last, 3);
        for channel in 0..5 {
            let (some, all) = (bits(&newest, channel), bits(&whole.values(0..last, 1), channel));
            assert!(rows.clone().all(|row| some[row] == all[row]));
        }
        drop(newest);
        for (range, step) in
            [(90..100, 3), (64..71, 3), (62..101, 3), (5..6, 3), (100..last, 1), (1..last - 1, 3)]
        {
            let _ = sampled.values(range, step);
        }
        let there = sampled.values(0..last, 1);
        for channel in 0..5 {
            assert_eq!(bits(&whole.values(0..last, 1), channel), bits(&there, channel));
        }
    }

    #[test]
    fn of_every_third_row_no_other_is_computed_for_the_last_window() {
        let spec = SPEC.replace("\"max_gap_days\"", "\"every\": 3, \"max_gap_days\"");
        let computed = |end_before: usize| {
            let rows = rows_of(&spec);
            let end = rows.rows().len() - end_before;
            let values = rows.values(end - 31..end, 3);
            let computed = (end - 31..end).filter(|&row| !values.column(4)[row].is_nan());
            computed.map(|row| row - (end - 31)).collect::<Vec<_>>()
        };
        let (last, earlier) = (computed(0), computed(5));
        assert!(last.len() > 8 && last.iter().all(|place| place % 3 == 0), "{last:?}");
        assert!(earlier.iter().any(|place| place % 3 != 0), "{earlier:?}");
    }

    #[test]
    fn only_what_is_asked_for_is_computed() {
        let rows = rows();
        let values = rows.values(100..110, 1);
        let there = |range: Range<usize>| values.column(0)[range].iter().filter(|v| !v.is_nan()).count();
        assert_eq!((there(0..100), there(110..rows.rows().len())), (0, 0));
        assert!(there(100..110) > 5);
    }

    #[test]
    fn rolling_features_follow_their_formulas() {
        let rows = rows();
        let at = 110;
        let values = rows.values(at..at + 1, 1);
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
