//! The market of each day: how many instruments of a universe moved, by how much on average, and how far apart.
//!
//! Log returns are rounded to multiples of `2^-40` and summed as integers, so that a sum does not depend
//! on the order of the rows, on the plan or on how many workers made it.

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::super::linear::map_all;
use super::super::logarithm::ln_lanes;
use super::super::simd::{Wide, wide};
use super::series::{PriceSeries, Row};

/// One unit of a rounded return.
const UNIT: f64 = 1.0 / (1u64 << 40) as f64;

/// Bytes of one day in the packed form.
const DAY_BYTES: usize = 4 + 4 + 16 + 16;

/// A price that a return can be taken from.
#[inline(always)]
pub(crate) fn usable(price: f64) -> bool {
    // Without a branch between both.
    (price > 0.0) & (price < f64::INFINITY)
}

/// A rounded return as a number.
pub(crate) fn as_number(rounded: i128) -> f64 {
    // The same number either way; the CPU converts 64 bits by itself.
    i64::try_from(rounded).map_or_else(|_| rounded as f64, |rounded| rounded as f64) * UNIT
}

/// Log return of each row, `ln(price / previous)` to the nearest multiple of [`UNIT`]; NaN where there is none: the
/// previous usable row must lie at most `max_gap_days` calendar days earlier.
pub(crate) fn returns(rows: &[Row], max_gap_days: u32) -> Vec<f64> {
    let mut values = vec![f64::NAN; rows.len()];
    let mut previous: Option<&Row> = None;
    for (row, value) in rows.iter().zip(&mut values) {
        if !usable(row.price) {
            continue;
        }
        let near = |before: &&Row| i64::from(row.day.0) - i64::from(before.day.0) <= i64::from(max_gap_days);
        if let Some(before) = previous.filter(near) {
            *value = row.price / before.price;
        }
        previous = Some(row);
    }
    wide(Rounded(&mut values));
    values
}

/// A return in units; exact, as it was rounded to one.
fn units(rounded: f64) -> i64 {
    (rounded / UNIT) as i64
}

/// Ratios of prices to their logarithms, to the nearest unit.
struct Rounded<'a>(&'a mut [f64]);

impl Wide for Rounded<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        /// As many units as the sums can take.
        const MOST: f64 = i64::MAX as f64;
        ln_lanes(self.0);
        // A zero has no sign.
        map_all(self.0, |value| ((value / UNIT).round_ties_even().clamp(-MOST, MOST) + 0.0) * UNIT);
    }
}

/// Sums of one day over a universe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DaySums {
    day: Day,
    /// Instruments with a return.
    count: u32,
    sum: i128,
    squares: i128,
}

/// Sums of every day over a universe. Equal whatever the order its series were added in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarketSums {
    days: Vec<DaySums>,
}

impl MarketSums {
    /// Sums of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the returns of one instrument (sorted), as `returns` finds them.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn add(&mut self, series: &PriceSeries, max_gap_days: u32) -> Result<()> {
        let rows = series.rows();
        // Series of one market have nearly the same days: the next one is mostly where it is expected.
        let mut expected = 0;
        for (row, value) in rows.iter().zip(returns(rows, max_gap_days)) {
            if value.is_nan() {
                continue;
            }
            let rounded = i128::from(units(value));
            let found = DaySums { day: row.day, count: 1, sum: rounded, squares: rounded * rounded };
            self.merge_day(found, &mut expected)?;
        }
        Ok(())
    }

    /// Adds other sums.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let mut expected = 0;
        other.days.iter().try_for_each(|&day| self.merge_day(day, &mut expected))
    }

    fn merge_day(&mut self, found: DaySums, expected: &mut usize) -> Result<()> {
        let index = match self.days.get(*expected) {
            Some(there) if there.day == found.day => Ok(*expected),
            _ => self.days.binary_search_by_key(&found.day, |sums| sums.day),
        };
        *expected = index.unwrap_or_else(|at| at) + 1;
        match index {
            Ok(at) => {
                let there = &mut self.days[at];
                there.count = there.count.saturating_add(found.count);
                there.sum = there.sum.saturating_add(found.sum);
                there.squares = there.squares.saturating_add(found.squares);
            }
            Err(at) => {
                self.days.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                self.days.insert(at, found);
            }
        }
        Ok(())
    }

    /// Whether [`MarketSums::window`] is what it would be of all rows, where the sums of days before `since` are not
    /// whole: on none of those in `[from, since)` more than `most` instruments moved.
    pub fn is_certain(&self, from: Day, to: Day, sessions: usize, since: Day, most: u64) -> bool {
        if since <= from || most == 0 {
            return true;
        }
        let start = self.days.partition_point(|sums| sums.day < since);
        let end = self.days.partition_point(|sums| sums.day <= to).max(start);
        let days = &self.days[start..end];
        let busiest = days.iter().map(|sums| u64::from(sums.count)).max().unwrap_or(0);
        let mut found = 0;
        for sums in days.iter().rev() {
            let count = u64::from(sums.count) * 5;
            if found == sessions {
                break;
            } else if count >= busiest.max(most) {
                found += 1;
            } else if count >= busiest {
                return false;
            }
        }
        found == sessions
    }

    /// Number of days.
    pub fn len(&self) -> usize {
        self.days.len()
    }

    /// Whether there is no day.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// The packed form: per day the day as int32, the count as uint32, sum and sum of squares as int128,
    /// little endian, ascending.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.days.len() * DAY_BYTES);
        for sums in &self.days {
            out.extend_from_slice(&sums.day.0.to_le_bytes());
            out.extend_from_slice(&sums.count.to_le_bytes());
            out.extend_from_slice(&sums.sum.to_le_bytes());
            out.extend_from_slice(&sums.squares.to_le_bytes());
        }
        out
    }

    /// Reads the packed form.
    ///
    /// Errors: [`Error::PackedSeries`] for bytes that [`MarketSums::pack`] cannot have written.
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let malformed = Error::PackedSeries { bytes: bytes.len() };
        let mut days: Vec<DaySums> = Vec::new();
        let (records, rest) = bytes.as_chunks::<DAY_BYTES>();
        if !rest.is_empty() {
            return Err(malformed);
        }
        days.try_reserve_exact(records.len()).map_err(|_| Error::OutOfMemory)?;
        for record in records {
            let (mut day, mut count, mut sum, mut squares) = ([0; 4], [0; 4], [0; 16], [0; 16]);
            day.copy_from_slice(&record[..4]);
            count.copy_from_slice(&record[4..8]);
            sum.copy_from_slice(&record[8..24]);
            squares.copy_from_slice(&record[24..]);
            let day = Day(i32::from_le_bytes(day));
            if days.last().is_some_and(|last| last.day >= day) {
                return Err(malformed);
            }
            let count = u32::from_le_bytes(count);
            days.push(DaySums {
                day,
                count,
                sum: i128::from_le_bytes(sum),
                squares: i128::from_le_bytes(squares),
            });
        }
        Ok(Self { days })
    }

    /// The latest `sessions` sessions in `[from, to]`: days on which at least a fifth as many instruments
    /// moved as on the busiest of those days. `shrink` pulls a day's dispersion towards the window's, as if
    /// that many more instruments had been seen.
    ///
    /// Errors: [`Error::OutOfMemory`].
    pub fn window(&self, from: Day, to: Day, sessions: usize, shrink: f64) -> Result<MarketWindow> {
        let start = self.days.partition_point(|sums| sums.day < from);
        let end = self.days.partition_point(|sums| sums.day <= to).max(start);
        let days = &self.days[start..end];
        let busiest = days.iter().map(|sums| u64::from(sums.count)).max().unwrap_or(0);
        let mut kept: Vec<MarketDay> = Vec::new();
        kept.try_reserve_exact(days.len().min(sessions)).map_err(|_| Error::OutOfMemory)?;
        let is_session = |sums: &&DaySums| u64::from(sums.count) * 5 >= busiest && sums.count > 0;
        kept.extend(days.iter().rev().filter(is_session).take(sessions).map(MarketDay::new));
        kept.reverse();
        let (mut spread, mut count) = (0.0, 0.0);
        for day in &kept {
            spread += day.spread;
            count += f64::from(day.count);
        }
        let pooled = if count > 0.0 { spread / count } else { 0.0 };
        for day in &mut kept {
            let shrunk = (day.spread + shrink * pooled) / (f64::from(day.count) + shrink);
            day.dispersion = if shrunk > 0.0 { shrunk.sqrt() } else { 1.0 };
        }
        let dates = kept.iter().map(|day| day.day.0).collect();
        let dispersions = kept.iter().map(|day| day.dispersion).collect();
        Ok(MarketWindow { days: kept, dates, dispersions })
    }
}

/// One session as encoders see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MarketDay {
    pub(crate) day: Day,
    count: u32,
    sum: i128,
    /// Sum of squared differences from the mean return.
    spread: f64,
    /// Typical distance of a return from the mean, never 0.
    pub(crate) dispersion: f64,
}

impl MarketDay {
    fn new(sums: &DaySums) -> Self {
        let sum = as_number(sums.sum);
        let spread = sums.squares as f64 * (UNIT * UNIT) - sum * sum / f64::from(sums.count);
        Self { day: sums.day, count: sums.count, sum: sums.sum, spread: spread.max(0.0), dispersion: 1.0 }
    }

    /// Mean return of the universe without the instrument whose own return, as [`returns`] has it, is `own`; NaN where it
    /// has none or does not belong to it.
    pub(crate) fn mean_of_others(&self, own: f64) -> f64 {
        let (count, sum) = match own.is_nan() {
            false => (self.count.saturating_sub(1), self.sum - i128::from(units(own))),
            true => (self.count, self.sum),
        };
        if count == 0 { 0.0 } else { as_number(sum) / f64::from(count) }
    }
}

/// The sessions of one as-of date, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketWindow {
    pub(crate) days: Vec<MarketDay>,
    /// Their days since 2000-01-01, side by side for fast loops.
    pub(crate) dates: Vec<i32>,
    /// Their dispersions, likewise.
    pub(crate) dispersions: Vec<f64>,
}

impl MarketWindow {
    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.days.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Fingerprint of the days and their sums.
    pub fn digest(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for day in &self.days {
            hasher.update(&day.day.0.to_le_bytes());
            hasher.update(&day.count.to_le_bytes());
            hasher.update(&day.sum.to_le_bytes());
            hasher.update(&day.dispersion.to_le_bytes());
        }
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(rows: &[(i32, f64)]) -> PriceSeries {
        let mut series = PriceSeries::new();
        rows.iter().for_each(|&(day, price)| series.push(Day(day), price, 1.0).unwrap());
        series
    }

    fn sums(all: &[PriceSeries]) -> MarketSums {
        let mut sums = MarketSums::new();
        all.iter().for_each(|series| sums.add(series, 10).unwrap());
        sums
    }

    proptest! {
        #[test]
        fn order_and_partition_do_not_matter(
            prices in prop::collection::vec(prop::collection::vec(0.01f64..1e4, 2..30), 1..8),
            cut in 0usize..8,
        ) {
            let all: Vec<_> = prices.iter().map(|column| {
                series(&column.iter().zip(0..).map(|(&p, day)| (day, p)).collect::<Vec<_>>())
            }).collect();
            let whole = sums(&all);
            let reversed: Vec<_> = all.iter().rev().cloned().collect();
            prop_assert_eq!(&sums(&reversed), &whole);
            let cut = cut.min(all.len());
            let mut merged = sums(&all[cut..]);
            merged.merge(&sums(&all[..cut])).unwrap();
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(MarketSums::unpack(&whole.pack()).unwrap(), whole);
        }

        #[test]
        fn packed_bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(sums) = MarketSums::unpack(&bytes) {
                prop_assert_eq!(sums.pack(), bytes);
            }
        }
    }

    #[test]
    fn mean_and_dispersion_are_those_of_the_definition() {
        let all = sums(&[
            series(&[(0, 1.0), (1, 1.1)]),
            series(&[(0, 2.0), (1, 1.8)]),
            series(&[(0, 5.0), (1, 5.0)]),
        ]);
        let window = all.window(Day(0), Day(1), 10, 0.0).unwrap();
        assert_eq!(window.len(), 1);
        let returns = [1.1f64.ln(), 0.9f64.ln(), 0.0];
        let mean = returns.iter().sum::<f64>() / 3.0;
        let day = window.days[0];
        assert!((day.mean_of_others(f64::NAN) - mean).abs() < 1e-11);
        assert!((day.mean_of_others(0.0) - (returns[0] + returns[1]) / 2.0).abs() < 1e-11);
        let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 3.0;
        assert!((day.dispersion - variance.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn one_instrument_alone_has_no_others_and_no_dispersion() {
        let only = series(&[(0, 1.0), (1, 1.1)]);
        let window = sums(std::slice::from_ref(&only)).window(Day(0), Day(1), 5, 5.0).unwrap();
        let own = returns(only.rows(), 10)[1];
        assert!(own > 0.0);
        assert_eq!(window.days[0].mean_of_others(own), 0.0);
        assert_eq!(window.days[0].dispersion, 1.0);
    }

    #[test]
    fn gaps_and_unusable_prices_give_no_return() {
        let series = series(&[(0, 1.0), (1, f64::NAN), (2, 0.0), (3, -1.0), (4, 2.0), (15, 2.0), (16, 4.0)]);
        let returns = returns(series.rows(), 10);
        let days = series.rows().iter().map(|row| row.day.0);
        let found: Vec<_> = days.zip(returns).filter(|(_, value)| !value.is_nan()).collect();
        let expected = (libm::log(2.0) / UNIT).round_ties_even() * UNIT;
        assert_eq!(found, [(4, expected), (16, expected)]);
    }

    #[test]
    fn returns_beyond_all_numbers_are_as_large_as_sums_can_take() {
        let series = series(&[(0, 1e-300), (1, 1e300), (2, 1e-300), (3, 1e-300)]);
        let found = returns(series.rows(), 10);
        assert!(found[0].is_nan());
        assert_eq!(found[1..].iter().map(|&value| units(value)).collect::<Vec<_>>(), [i64::MAX, i64::MIN, 0]);
        assert!(found[3].is_sign_positive());
    }

    #[test]
    fn days_on_which_few_instruments_move_are_no_sessions() {
        let mut all: Vec<_> = (0..10).map(|_| series(&[(0, 1.0), (1, 1.5), (3, 1.0)])).collect();
        all.push(series(&[(0, 1.0), (1, 1.0), (2, 3.0), (3, 1.0)]));
        let sums = sums(&all);
        let days = |to| -> Vec<i32> {
            sums.window(Day(0), Day(to), 9, 5.0).unwrap().days.iter().map(|d| d.day.0).collect()
        };
        assert_eq!(sums.len(), 3);
        assert_eq!(days(9), [1, 3]);
        assert_eq!(days(0), [] as [i32; 0]);
    }

    proptest! {
        #[test]
        fn a_certain_window_is_that_of_all_rows(
            starts in prop::collection::vec((0i32..40, 0u32..4), 3..30), since in 3i32..40, sessions in 1usize..20,
        ) {
            let gap = 2;
            let all: Vec<PriceSeries> = starts.iter().map(|&(start, skip)| {
                let rows: Vec<_> = (start..44).filter(|day| skip == 0 || day % (skip as i32 + 1) > 0)
                    .map(|day| (day, 50.0 + f64::from(day * (start + 3) % 17))).collect();
                series(&rows)
            }).collect();
            let newer = |series: &PriceSeries| {
                let mut cut = PriceSeries::new();
                let rows = series.rows().iter().filter(|row| row.day.0 >= since - gap);
                rows.for_each(|row| cut.push(row.day, row.price, row.volume).unwrap());
                cut
            };
            let of = |all: &mut dyn Iterator<Item = PriceSeries>| {
                let mut sums = MarketSums::new();
                all.for_each(|series| sums.add(&series, gap as u32).unwrap());
                sums
            };
            let (whole, part) = (of(&mut all.iter().cloned()), of(&mut all.iter().map(newer)));
            let rows = |day: i32| all.iter().filter(|s| s.rows().iter().any(|row| row.day.0 == day)).count() as u64;
            let most = (0..since).map(rows).max().unwrap();
            for to in since..44 {
                if part.is_certain(Day(0), Day(to), sessions, Day(since), most) {
                    prop_assert_eq!(
                        part.window(Day(0), Day(to), sessions, 5.0).unwrap(),
                        whole.window(Day(0), Day(to), sessions, 5.0).unwrap()
                    );
                }
            }
        }
    }

    #[test]
    fn sessions_are_certain_unless_older_days_could_be_much_busier() {
        let days = |from: i32| -> Vec<(i32, f64)> {
            (from..40).map(|day| (day, 1.0 + f64::from(day % 3))).collect()
        };
        let sums = sums(&[series(&days(20)), series(&days(20))]);
        let certain = |sessions, most| sums.is_certain(Day(0), Day(39), sessions, Day(21), most);
        assert!(certain(19, 2) && certain(19, 10) && !certain(19, 11) && !certain(20, 2) && certain(20, 0));
    }
}
