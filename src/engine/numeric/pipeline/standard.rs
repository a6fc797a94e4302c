//! Steps that turn the values of a channel into comparable numbers. A missing value is NaN and stays so.

use super::super::super::linear::{dot, map_all, map_with, sum, sum_of};
use super::super::market::MarketWindow;
use super::spec::{Channel, Relative, Standardise};

/// Ratio of the standard deviation to the median absolute deviation of normal numbers.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Takes the market out of the log returns in `values` (one per session, NaN where missing) and divides
/// by the day's dispersion, as the channel asks. `means`: the mean return of the others on each session; used up.
#[inline(always)]
pub(crate) fn against_market(
    channel: &Channel,
    values: &mut [f64],
    means: &mut [f64],
    market: &MarketWindow,
) {
    match channel.relative {
        Relative::None => {}
        Relative::Market => map_with(values, means, |value, mean| value - mean),
        Relative::MarketBeta => take_out_fit(values, means),
    }
    if channel.dispersion {
        map_with(values, &market.dispersions, |value, dispersion| value / dispersion);
    }
}

/// Replaces `values` by what the least-squares line on `means` leaves of them, and `means` by the distance from their mean.
#[inline(always)]
fn take_out_fit(values: &mut [f64], means: &mut [f64]) {
    let count = count(values);
    if count == 0 {
        return;
    }
    if count < values.len() {
        return take_out_fit_of_known(values, means);
    }
    let (own, others) = (sum(values) / count as f64, sum(means) / count as f64);
    map_all(values, |value| value - own);
    map_all(means, |mean| mean - others);
    let squares = dot(means, means);
    let beta = if squares > 0.0 { dot(values, means) / squares } else { 0.0 };
    map_with(values, means, |value, mean| value - beta * mean);
}

/// The same where some are missing: they are 0 in both, and add nothing to any sum.
fn take_out_fit_of_known(values: &mut [f64], means: &mut [f64]) {
    let missing: Vec<bool> = values.iter().map(|value| value.is_nan()).collect();
    let count = missing.iter().filter(|&&missing| !missing).count() as f64;
    let center = |numbers: &mut [f64]| {
        let clear = |numbers: &mut [f64]| {
            numbers
                .iter_mut()
                .zip(&missing)
                .filter(|(_, missing)| **missing)
                .for_each(|(number, _)| *number = 0.0)
        };
        clear(numbers);
        let mean = sum(numbers) / count;
        numbers.iter_mut().for_each(|number| *number -= mean);
        clear(numbers);
    };
    center(values);
    center(means);
    let squares = dot(means, means);
    let beta = if squares > 0.0 { dot(values, means) / squares } else { 0.0 };
    for ((value, mean), missing) in values.iter_mut().zip(means).zip(&missing) {
        *value = if *missing { f64::NAN } else { *value - beta * *mean };
    }
}

/// Scales, clips and weighs a channel.
#[inline(always)]
pub(crate) fn finish(channel: &Channel, values: &mut [f64]) {
    let reference = match channel.standardise {
        Standardise::None {} => (0.0, 1.0),
        Standardise::Zscore {} => mean_and_deviation(values),
        Standardise::Rms {} => (0.0, mean_of(values, |x| x * x).sqrt()),
        Standardise::Robust {} => median_and_deviation(values),
        Standardise::Reference { center, scale } => (center, scale),
    };
    let (clip, weight) = (channel.clip.unwrap_or(f64::INFINITY), channel.weight);
    let (center, scale) = reference;
    if scale > 0.0 {
        // As [`scaled`], without asking anything value by value; what is NaN stays so.
        map_all(values, |value| {
            let scaled = (value - center) / scale;
            let kept = if scaled < -clip { -clip } else { scaled };
            (if kept > clip { clip } else { kept }) * weight
        });
    } else {
        values.iter_mut().for_each(|value| *value = scaled(channel, reference, *value));
    }
}

/// NaN stays NaN.
#[inline(always)]
fn scaled(channel: &Channel, (center, scale): (f64, f64), value: f64) -> f64 {
    let scaled = if scale > 0.0 { (value - center) / scale } else { value * 0.0 };
    let clipped = match channel.clip {
        Some(limit) => scaled.clamp(-limit, limit),
        None => scaled,
    };
    clipped * channel.weight
}

/// Values that are there.
#[inline(always)]
pub(crate) fn count(values: &[f64]) -> usize {
    // As numbers of the same kind as the values they are counted several at a time.
    sum_of(values, |value| if value.is_nan() { 0.0 } else { 1.0 }) as usize
}

/// Which days have a value of any channel.
pub(super) struct Found {
    days: Vec<bool>,
    /// How many, where that is known without asking day by day.
    count: Option<usize>,
    total: usize,
    channels: usize,
}

impl Found {
    pub(super) fn new(days: usize, channels: usize) -> Self {
        let flags = if channels > 1 { vec![false; days] } else { Vec::new() };
        Self { days: flags, count: None, total: days, channels }
    }

    /// Adds the values of a channel on the newest days.
    #[inline(always)]
    pub(super) fn add(&mut self, values: &[f64]) {
        let there = count(values);
        if there == self.total || self.channels == 1 {
            self.count = Some(there);
        } else if self.count.is_none() {
            let days = self.days.iter_mut().rev().zip(values.iter().rev());
            days.for_each(|(there, value)| *there |= !value.is_nan());
        }
    }

    pub(super) fn count(self) -> usize {
        self.count.unwrap_or_else(|| self.days.into_iter().filter(|&there| there).count())
    }
}

/// Mean of `f` over the values that are there; 0 of none.
#[inline(always)]
fn mean_of(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let count = count(values);
    let total = sum_of(values, |x| if x.is_nan() { 0.0 } else { f(x) });
    if count > 0 { total / count as f64 } else { 0.0 }
}

/// Mean and standard deviation (over n). Deviations that rounding alone explains count as none.
#[inline(always)]
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = mean_of(values, |x| x);
    let deviation = mean_of(values, |x| (x - mean) * (x - mean)).sqrt();
    (mean, if deviation > mean.abs() * 1e-12 { deviation } else { 0.0 })
}

/// Median and 1.4826 times the median distance from it.
pub(crate) fn median_and_deviation(values: &[f64]) -> (f64, f64) {
    let center = median(values.iter().copied());
    (center, MAD_TO_DEVIATION * median(values.iter().map(|x| (x - center).abs())))
}

/// Middle of the values that are there (mean of the two middle ones); 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(&upper), 1) => upper,
        (Some(&upper), _) => (sorted[middle - 1] + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(standardise: Standardise, clip: Option<f64>) -> Channel {
        let json = r#"{"feature": "volume", "weight": 2}"#;
        Channel { standardise, clip, ..serde_json::from_str(json).unwrap() }
    }

    fn finished(standardise: Standardise, clip: Option<f64>, values: &[f64]) -> Vec<f64> {
        let mut values = values.to_vec();
        finish(&channel(standardise, clip), &mut values);
        values
    }

    #[test]
    fn scalings_follow_their_formulas_and_skip_missing_days() {
        let values = [1.0, f64::NAN, 2.0, 6.0];
        let z = finished(Standardise::Zscore {}, None, &values);
        let deviation = (14.0f64 / 3.0).sqrt();
        assert!((z[0] + 4.0 / deviation).abs() < 1e-15 && z[1].is_nan());
        let rms = finished(Standardise::Rms {}, None, &values);
        assert!((rms[3] - 12.0 / (41.0f64 / 3.0).sqrt()).abs() < 1e-15);
        let robust = finished(Standardise::Robust {}, None, &values);
        assert!((robust[3] - 2.0 * 4.0 / 1.4826).abs() < 1e-14);
        let reference = finished(Standardise::Reference { center: 2.0, scale: 4.0 }, Some(0.5), &values);
        assert_eq!((reference[0], reference[2], reference[3]), (-0.5, 0.0, 1.0));
    }

    #[test]
    fn what_does_not_vary_becomes_zero() {
        for kind in [Standardise::Zscore {}, Standardise::Robust {}] {
            assert_eq!(finished(kind, None, &[0.1, 0.1, 0.1]), [0.0, 0.0, 0.0]);
        }
        assert_eq!(finished(Standardise::Rms {}, None, &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn the_fit_takes_out_mean_and_slope() {
        let means = [1.0, -2.0, 0.5, 3.0];
        let mut values: Vec<f64> = means.iter().map(|m| 0.25 + 1.5 * m).collect();
        values[2] = f64::NAN;
        take_out_fit(&mut values, &mut means.clone());
        assert!(values[2].is_nan());
        assert!(values.iter().filter(|v| !v.is_nan()).all(|v| v.abs() < 1e-15));
        let mut flat = [1.0, 3.0];
        take_out_fit(&mut flat, &mut [2.0, 2.0]);
        assert_eq!(flat, [-1.0, 1.0]);
    }
}
