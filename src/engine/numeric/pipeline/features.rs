//! Values per day from the rows of one instrument. A missing value is NaN.

use super::super::market::{as_number, for_each_return, usable};
use super::super::series::{PriceSeries, ROW_BYTES, Row};
use super::spec::{Channel, DayFeature, PipelineSpec};

/// Trading days of a year, by convention.
const YEAR: f64 = 252.0;

/// Rows of one instrument, their returns, and the value of every channel on every row.
///
/// A value depends on no row older than its feature's history, in calendar days, so that it is the same
/// whatever older rows were read.
#[derive(Debug)]
pub(crate) struct Rows {
    series: PriceSeries,
    packed: Vec<u8>,
    /// One column per channel.
    columns: Vec<Vec<f64>>,
    /// Log return of each row in units of the market's sums; absent where there is none.
    pub(crate) returns: Vec<Option<i64>>,
}

impl Rows {
    /// Computes the values of a sorted series.
    pub(crate) fn new(series: PriceSeries, spec: &PipelineSpec) -> Self {
        let mut returns = vec![None; series.len()];
        for_each_return(series.rows(), spec.window.max_gap_days, |index, rounded| {
            returns[index] = Some(rounded)
        });
        let mut packed = vec![0; series.packed_len()];
        series.pack(&mut packed);
        let mut rows = Self { series, packed, columns: Vec::new(), returns };
        rows.columns = spec.channels.iter().map(|channel| rows.column(channel, spec)).collect();
        rows
    }

    /// The value of channel `channel` on row `index`, before the market is taken out and before scaling.
    pub(crate) fn value(&self, channel: usize, index: usize) -> f64 {
        self.columns[channel][index]
    }

    /// The rows `range` as bytes.
    pub(crate) fn packed(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.packed[range.start * ROW_BYTES..range.end * ROW_BYTES]
    }

    fn column(&self, channel: &Channel, spec: &PipelineSpec) -> Vec<f64> {
        let rows = self.rows();
        let history = spec.history_days(channel);
        let mut oldest = 0;
        (0..rows.len())
            .map(|index| {
                let from = rows[index].day.minus_days(history);
                oldest += rows[oldest..index].partition_point(|row| row.day < from);
                self.compute(channel.feature, channel.days, index, oldest)
            })
            .collect()
    }

    /// All rows, ascending.
    pub(crate) fn rows(&self) -> &[Row] {
        self.series.rows()
    }

    fn price(&self, index: usize) -> f64 {
        let price = self.rows()[index].price;
        if usable(price) { price } else { f64::NAN }
    }

    fn volume(&self, index: usize) -> f64 {
        let volume = self.rows()[index].volume;
        if volume.is_finite() && volume > 0.0 { volume } else { f64::NAN }
    }

    fn return_of(&self, index: usize) -> f64 {
        self.returns[index].map_or(f64::NAN, |rounded| as_number(rounded.into()))
    }

    /// The feature of row `index`, looking at no row before `oldest` and none after `index`.
    fn compute(&self, feature: DayFeature, days: Option<u32>, index: usize, oldest: usize) -> f64 {
        let days = days.unwrap_or(1) as usize;
        let start = (index + 1).saturating_sub(days).max(oldest);
        let span = start..index + 1;
        let value = match feature {
            DayFeature::Price => self.price(index),
            // The newest price is taken off when the window is known.
            DayFeature::LogPrice => libm::log(self.price(index)),
            DayFeature::LogReturn => self.return_of(index),
            DayFeature::AbsReturn => self.return_of(index).abs(),
            DayFeature::Volume => self.volume(index),
            DayFeature::LogVolume => libm::log(self.volume(index)),
            DayFeature::DollarVolume => libm::log(self.price(index) * self.volume(index)),
            DayFeature::RealisedVolatility => {
                let mean = mean(span.map(|i| self.return_of(i) * self.return_of(i)), days);
                if mean.is_nan() { mean } else { libm::log((YEAR * mean).sqrt().max(1e-4)) }
            }
            DayFeature::Drawdown => libm::log(self.price(index) / self.extremes(span, days).1),
            DayFeature::Range => {
                let (low, high) = self.extremes(span, days);
                let range = libm::log(high / low);
                if range.is_nan() { range } else { libm::log(range.max(1e-3)) }
            }
            DayFeature::Amihud => {
                let moved = mean(span.clone().map(|i| self.return_of(i).abs()), days);
                let traded = mean(span.map(|i| self.price(i) * self.volume(i)), days);
                if moved.is_nan() { f64::NAN } else { libm::log(moved.max(1e-6)) - libm::log(traded) }
            }
        };
        if value.is_finite() { value } else { f64::NAN }
    }

    /// Lowest and highest price of `span`; NaN when fewer than half of `days` have one.
    fn extremes(&self, span: std::ops::Range<usize>, days: usize) -> (f64, f64) {
        let prices = span.map(|i| self.price(i)).filter(|price| !price.is_nan());
        let (low, high, count) = prices.fold((f64::INFINITY, 0.0f64, 0), |(low, high, count), price| {
            (low.min(price), high.max(price), count + 1)
        });
        if count * 2 < days { (f64::NAN, f64::NAN) } else { (low, high) }
    }
}

/// Mean of the values that are there, in order; NaN when fewer than half of `days` are.
fn mean(values: impl Iterator<Item = f64>, days: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values.filter(|value| !value.is_nan()) {
        sum += value;
        count += 1;
    }
    if count == 0 || count * 2 < days { f64::NAN } else { sum / count as f64 }
}
