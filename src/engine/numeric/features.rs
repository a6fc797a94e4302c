//! Features of every day of a series, computed once, and windows of them copied into vectors.

use std::cell::Cell;

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::series::{PriceSeries, ROW_BYTES};
use super::spec::{Feature, WindowModel};
use super::window::{self, TooFewRows, Window};

/// Features of a sorted series: row-major float32 bytes, `features` per day.
///
/// Per-day features do not depend on the window but for the log return, which is 0 on a window's first
/// row and is set when the window is copied.
#[derive(Debug)]
pub struct FeatureRows<'a> {
    model: &'a WindowModel,
    series: PriceSeries,
    features: Vec<u8>,
    packed: Vec<u8>,
    /// Whether every feature of every day is finite.
    finite: bool,
    /// Rows up to the day that is likely to be asked for next.
    expected: Cell<usize>,
}

impl<'a> FeatureRows<'a> {
    /// Computes the features of `series`, which must be sorted.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn new(model: &'a WindowModel, series: PriceSeries) -> Result<Self> {
        let rows = series.rows();
        let features = &model.spec().features;
        let (mut bytes, mut packed) = (Vec::new(), Vec::new());
        bytes.try_reserve_exact(rows.len() * features.len() * 4).map_err(|_| Error::OutOfMemory)?;
        packed.try_reserve_exact(series.packed_len()).map_err(|_| Error::OutOfMemory)?;
        packed.resize(series.packed_len(), 0);
        series.pack(&mut packed);
        let (mut previous, mut finite) = (rows.first(), true);
        for row in rows {
            let before = previous.map_or(f64::NAN, |p| p.price);
            for &feature in features {
                let value = value(feature, before, row.price, row.volume);
                finite &= value.is_finite();
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            previous = Some(row);
        }
        Ok(Self { model, series, features: bytes, packed, finite, expected: Cell::new(0) })
    }

    /// The recipe.
    pub fn model(&self) -> &'a WindowModel {
        self.model
    }

    /// The window that ends on `as_of`, or how many rows it lacks.
    pub fn window(&self, as_of: Day) -> std::result::Result<Window, TooFewRows> {
        let window = window::dated(self.series.rows(), self.model, as_of, self.expected.get());
        if let Ok(window) = &window {
            self.expected.set(window.first + window.rows + 1);
        }
        window
    }

    /// Whether every component of the vector of `window` is known to be finite.
    pub fn is_finite(&self, window: &Window) -> bool {
        self.finite && window.padded == 0
    }

    /// The window of the latest rows, whatever their dates, or how many rows it lacks.
    pub fn latest_window(&self) -> std::result::Result<Window, TooFewRows> {
        window::undated(self.series.rows(), self.model)
    }

    /// Writes the vector of `window` into `out` (shape `[4 * dim]`, any content).
    pub fn encode(&self, window: &Window, out: &mut [u8]) {
        let features = &self.model.spec().features;
        let row_bytes = features.len() * 4;
        let start = window.first * row_bytes;
        let real = (window.rows * row_bytes).min(out.len());
        let (head, tail) = out.split_at_mut(real);
        head.copy_from_slice(&self.features[start..start + real]);
        for (slot, &feature) in head.chunks_exact_mut(4).zip(features) {
            if feature == Feature::LogReturn {
                slot.fill(0);
            }
        }
        let padded = (window.padded * row_bytes).min(tail.len());
        let (padding, zeros) = tail.split_at_mut(padded);
        self.repeat_last(window, padding);
        zeros.fill(0);
    }

    /// Copies of the last row, rounded to float32 before their features are computed: the first copy's
    /// log return is `ln(f32(price) / price)`, the others' `ln(1)`, NaN or infinite where the price is.
    fn repeat_last(&self, window: &Window, out: &mut [u8]) {
        let Some(last) = self.series.rows().get(window.first + window.rows - 1) else { return };
        let rounded = (f64::from(last.price as f32), f64::from(last.volume as f32));
        let features = &self.model.spec().features;
        let mut before = last.price;
        for row in out.chunks_mut(features.len() * 4) {
            for (slot, &feature) in row.chunks_exact_mut(4).zip(features) {
                slot.copy_from_slice(&value(feature, before, rounded.0, rounded.1).to_le_bytes());
            }
            before = rounded.0;
        }
    }

    /// Fingerprint of the rows behind `window` (dates, prices, volumes to the bit) under this model:
    /// changes when a restatement touches the window.
    pub fn digest(&self, window: &Window) -> [u8; 16] {
        let rows = &self.packed[window.first * ROW_BYTES..(window.first + window.rows) * ROW_BYTES];
        xxhash_rust::xxh3::xxh3_128(rows).to_be_bytes()
    }
}

/// One feature of one day, rounded to float32 at the end.
#[inline]
fn value(feature: Feature, previous_price: f64, price: f64, volume: f64) -> f32 {
    match feature {
        Feature::Close => price as f32,
        Feature::Volume => volume as f32,
        // libm's logarithm is the same code on every CPU, which the C library's is not.
        Feature::LogReturn => libm::log(price / previous_price) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::NumericSpec;
    use super::*;

    fn model(encoder: &str, days: i32) -> WindowModel {
        let json = format!(
            r#"{{"features": ["close", "volume", "log_return"], "price_column": "close",
            "window": {{"min_fill": 0.5, "look_back": 3, "short_history": "repeat_last"}}, {encoder}}}"#
        );
        WindowModel::new(NumericSpec::from_json(&json).unwrap(), days).unwrap()
    }

    fn encode(model: &WindowModel, prices: &[f64], volumes: &[f64]) -> Vec<f32> {
        let series = PriceSeries::from_columns(prices, volumes).unwrap();
        let rows = FeatureRows::new(model, series).unwrap();
        let window = rows.latest_window().unwrap();
        let mut out = vec![0xAA; model.dim() * 4];
        rows.encode(&window, &mut out);
        out.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
    }

    #[test]
    fn full_windows_are_row_major_with_a_zero_first_return() {
        let model = model(r#""encoder": "flatten""#, 2);
        let vector = encode(&model, &[9.0, 10.0, 11.0], &[1.0, 2.0, 3.0]);
        assert_eq!(vector, [10.0, 2.0, 0.0, 11.0, 3.0, (11.0f64 / 10.0).ln() as f32]);
    }

    #[test]
    fn short_windows_repeat_the_last_row_rounded_to_float32() {
        let model = model(r#""encoder": "flatten""#, 4);
        let close = 101.123_456_789;
        let vector = encode(&model, &[100.0, close], &[7.0, 1e10 + 1.0]);
        let rounded = close as f32;
        assert_eq!(&vector[6..9], [rounded, 1e10, (f64::from(rounded) / close).ln() as f32]);
        assert_eq!(&vector[9..], [rounded, 1e10, 0.0]);
    }

    #[test]
    fn long_windows_keep_their_first_components_and_short_ones_end_in_zeros() {
        let long = model(r#""encoder": "pad_to_dim", "dim": 7"#, 3);
        let vector = encode(&long, &[1.0, 2.0, 4.0], &[1.0, 2.0, 3.0]);
        assert_eq!(vector, [1.0, 1.0, 0.0, 2.0, 2.0, 2.0f64.ln() as f32, 4.0]);
        let short = model(r#""encoder": "pad_to_dim", "dim": 8"#, 2);
        let vector = encode(&short, &[1.0, 2.0], &[1.0, 2.0]);
        assert_eq!(vector[6..], [0.0, 0.0]);
        // A cut inside the padding.
        let cut = model(r#""encoder": "pad_to_dim", "dim": 5"#, 2);
        assert_eq!(encode(&cut, &[3.0], &[2.0]), [3.0, 2.0, 0.0, 3.0, 2.0]);
    }

    #[test]
    fn odd_prices_follow_float_arithmetic() {
        let model = model(r#""encoder": "flatten""#, 4);
        let vector = encode(&model, &[0.0, 0.0, 5.0, -5.0], &[1.0; 4]);
        assert!(vector[5].is_nan());
        assert_eq!(vector[8], f32::INFINITY);
        assert!(vector[11].is_nan());
        let vector = encode(&model, &[-2.0, -4.0, 1e300, f64::NAN], &[1.0; 4]);
        assert_eq!(vector[5], 2.0f64.ln() as f32);
        assert!(vector[6] == f32::INFINITY && vector[8].is_nan() && vector[11].is_nan());
    }

    #[test]
    fn windows_follow_dates() {
        let model = model(r#""encoder": "flatten""#, 4);
        let mut series = PriceSeries::new();
        for day in [-20, 1, 3, 5, 9, 12] {
            series.push(Day(day), 1.0, 1.0).unwrap();
        }
        let rows = FeatureRows::new(&model, series).unwrap();
        let window = rows.window(Day(10)).unwrap();
        assert_eq!((window.rows, window.padded, window.last_day), (4, 0, Day(9)));
        let window = rows.window(Day(4)).unwrap();
        assert_eq!((window.rows, window.padded, window.last_day), (2, 2, Day(3)));
        let missing = rows.window(Day(2)).unwrap_err();
        assert_eq!(missing.to_string(), "need at least 2 of 4 price rows in 1999-12-22..2000-01-03, found 1");
        assert_eq!(rows.window(Day(-30)).unwrap_err().found, 0);
    }

    #[test]
    fn windows_do_not_depend_on_the_order_of_the_days_asked_for() {
        let model = model(r#""encoder": "flatten""#, 4);
        let mut series = PriceSeries::new();
        for day in [-300, 1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 40] {
            series.push(Day(day), 1.0, 1.0).unwrap();
        }
        let alone = |day| FeatureRows::new(&model, series.clone()).unwrap().window(Day(day));
        for step in [1, -1, 3, -7_i32] {
            let rows = FeatureRows::new(&model, series.clone()).unwrap();
            for at in 0..400_i32 {
                let day = (at * step).rem_euclid(400) - 320;
                assert_eq!(rows.window(Day(day)), alone(day), "day {day}, step {step}");
            }
        }
    }

    #[test]
    fn only_windows_without_a_component_that_is_not_finite_are_said_to_be_finite() {
        let finite = |prices: &[f64]| {
            let model = model(r#""encoder": "flatten""#, 3);
            let series = PriceSeries::from_columns(prices, &vec![1.0; prices.len()]).unwrap();
            let rows = FeatureRows::new(&model, series).unwrap();
            let window = rows.latest_window().unwrap();
            rows.is_finite(&window)
        };
        assert!(finite(&[1.0, 2.0, 3.0, 4.0]));
        assert!(!finite(&[1.0, 2.0, 0.0, 4.0]));
        assert!(!finite(&[1.0, 2.0, 1e300, 4.0]));
        // Copies of the last row have features of their own.
        assert!(!finite(&[1.0, 2.0]));
    }

    #[test]
    fn digests_change_with_any_bit_of_the_window_and_with_nothing_else() {
        let model = model(r#""encoder": "flatten""#, 2);
        let digest = |prices: &[f64]| {
            let series = PriceSeries::from_columns(prices, &[1.0, 1.0, 1.0]).unwrap();
            let rows = FeatureRows::new(&model, series).unwrap();
            rows.digest(&rows.latest_window().unwrap())
        };
        assert_eq!(digest(&[1.0, 2.0, 3.0]), digest(&[9.0, 2.0, 3.0]));
        assert_ne!(digest(&[1.0, 2.0, 3.0]), digest(&[1.0, 2.0, 3.000_000_000_000_001]));
    }
}
