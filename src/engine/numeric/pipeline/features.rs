//! Values per day from the rows of one instrument, computed when a window first needs them. A missing value is NaN.

use std::cell::{Ref, RefCell};
use std::ops::Range;

use super::super::market::{as_number, for_each_return, usable};
use super::super::series::{PriceSeries, ROW_BYTES, Row};
use super::spec::{Channel, DayFeature, PipelineSpec};
use super::standard;

/// Trading days of a year, by convention.
const YEAR: f64 = 252.0;

/// Rows of one instrument, their returns, and the value of every channel on the rows that windows reach.
///
/// A value depends on no row older than its feature's history, in calendar days, so that it is the same
/// whatever older rows were read.
#[derive(Debug)]
pub(crate) struct Rows {
    series: PriceSeries,
    packed: Vec<u8>,
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

    /// Lowest and highest value of `span`; NaN when fewer than half of `days` are there.
    fn extremes(&self, span: Range<usize>, days: usize) -> (f64, f64) {
        if self.count(&span) * 2 < days {
            return (f64::NAN, f64::NAN);
        }
        let (mut low, mut high) = ([f64::INFINITY; 8], [0.0f64; 8]);
        // A comparison with NaN is false, so what is missing changes nothing.
        let mut take = |lane: usize, value: f64| {
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
        };
        let (blocks, tail) = self.values[span].as_chunks::<8>();
        blocks.iter().for_each(|block| (0..8).for_each(|lane| take(lane, block[lane])));
        tail.iter().enumerate().for_each(|(lane, &value)| take(lane, value));
        (low.into_iter().fold(f64::INFINITY, f64::min), high.into_iter().fold(0.0, f64::max))
    }

    /// Mean of `f` over the values of `span` that are there, in order; NaN when fewer than half of `days` are.
    fn mean(&self, span: Range<usize>, days: usize, f: impl Fn(f64) -> f64) -> f64 {
        let count = self.count(&span);
        if count == 0 || count * 2 < days {
            return f64::NAN;
        }
        let values = self.values[span].iter().map(|&value| if value.is_nan() { 0.0 } else { f(value) });
        values.fold(0.0, |sum, value| sum + value) / count as f64
    }
}

impl Rows {
    /// Takes a sorted series.
    pub(crate) fn new(series: PriceSeries, spec: &PipelineSpec) -> Self {
        let mut returns = vec![None; series.len()];
        for_each_return(series.rows(), spec.window.max_gap_days, |index, rounded| {
            returns[index] = Some(rounded)
        });
        let mut packed = vec![0; series.packed_len()];
        series.pack(&mut packed);
        let rows = series.rows();
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
            log_return: Column::new(returns.iter().map(number).collect()),
            rules: spec.channels.iter().map(rule).collect(),
            values: RefCell::new(Values {
                done: 0..0,
                columns: vec![vec![f64::NAN; rows.len()]; spec.channels.len()],
            }),
            dates: rows.iter().map(|row| row.day.0).collect(),
            series,
            packed,
            returns,
        }
    }

    /// The values of every channel, before the market is taken out and before scaling, but for channels that
    /// are scaled day by day: those are finished. The rows `range` are computed.
    pub(crate) fn values(&self, range: Range<usize>) -> Ref<'_, Values> {
        let done = self.values.borrow().done.clone();
        let known = range.is_empty() || (done.start <= range.start && range.end <= done.end);
        if !known {
            let mut values = self.values.borrow_mut();
            let whole = match done.is_empty() {
                true => range,
                false => done.start.min(range.start)..done.end.max(range.end),
            };
            let (before, after) = match done.is_empty() {
                true => (whole.clone(), 0..0),
                false => (whole.start..done.start, done.end..whole.end),
            };
            for (rule, column) in self.rules.iter().zip(&mut values.columns) {
                let fresh = before.clone().chain(after.clone());
                fresh.for_each(|index| column[index] = self.compute(rule, index));
            }
            values.done = whole;
        }
        self.values.borrow()
    }

    /// The rows `range` as bytes.
    pub(crate) fn packed(&self, range: Range<usize>) -> &[u8] {
        &self.packed[range.start * ROW_BYTES..range.end * ROW_BYTES]
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

    /// The value of row `index`: it depends on no row after it.
    fn compute(&self, rule: &Rule, index: usize) -> f64 {
        let Rule { channel, feature, days, history } = rule;
        let value = match *feature {
            DayFeature::Price => self.price.at(index),
            // The newest price is taken off when the window is known.
            DayFeature::LogPrice => libm::log(self.price.at(index)),
            DayFeature::LogReturn => self.log_return.at(index),
            DayFeature::AbsReturn => self.log_return.at(index).abs(),
            DayFeature::Volume => self.volume.at(index),
            DayFeature::LogVolume => libm::log(self.volume.at(index)),
            DayFeature::DollarVolume => libm::log(self.price.at(index) * self.volume.at(index)),
            _ => self.rolling(*feature, *days, self.span(*days, *history, index)),
        };
        match value.is_finite() {
            true if channel.is_daily() => standard::finish_day(channel, value),
            true => value,
            false => f64::NAN,
        }
    }

    /// The last `days` rows up to `index` that are at most `history` calendar days older.
    fn span(&self, days: usize, history: u32, index: usize) -> Range<usize> {
        let from = self.rows()[index].day.minus_days(history);
        let start = (index + 1).saturating_sub(days);
        start + self.rows()[start..index].partition_point(|row| row.day < from)..index + 1
    }

    /// A feature over `span`, which ends with the row that it is of.
    fn rolling(&self, feature: DayFeature, days: usize, span: Range<usize>) -> f64 {
        match feature {
            DayFeature::RealisedVolatility => {
                let mean = self.log_return.mean(span, days, |r| r * r);
                if mean.is_nan() { mean } else { libm::log((YEAR * mean).sqrt().max(1e-4)) }
            }
            DayFeature::Drawdown => {
                libm::log(self.price.at(span.end - 1) / self.price.extremes(span, days).1)
            }
            DayFeature::Range => {
                let (low, high) = self.price.extremes(span, days);
                let range = libm::log(high / low);
                if range.is_nan() { range } else { libm::log(range.max(1e-3)) }
            }
            DayFeature::Amihud => {
                let moved = self.log_return.mean(span.clone(), days, f64::abs);
                let traded = self.traded(span, days);
                if moved.is_nan() { f64::NAN } else { libm::log(moved.max(1e-6)) - libm::log(traded) }
            }
            _ => f64::NAN,
        }
    }

    /// Mean of price times volume over the rows of `span` that have both, in order.
    fn traded(&self, span: Range<usize>, days: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0usize);
        for (price, volume) in self.price.values[span.clone()].iter().zip(&self.volume.values[span]) {
            let product = price * volume;
            if !product.is_nan() {
                sum += product;
                count += 1;
            }
        }
        if count == 0 || count * 2 < days { f64::NAN } else { sum / count as f64 }
    }
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
