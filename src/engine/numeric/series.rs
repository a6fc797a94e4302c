//! Daily rows of one instrument, gathered in any order.

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::market::usable;

/// Rows a series may hold: more trading days than any exchange has had.
pub const MAX_ROWS: usize = 200_000;

/// Bytes of one row in the packed form.
pub(crate) const ROW_BYTES: usize = 4 + 8 + 8;

/// Prices and volumes by day, ascending and without repeats once [`PriceSeries::sort`] has run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriceSeries {
    rows: Vec<Row>,
    sorted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    pub(crate) day: Day,
    pub(crate) price: f64,
    pub(crate) volume: f64,
}

impl Row {
    /// Writes the packed form: the day as int32, price and volume as float64, little endian; what `out` has no room
    /// for is left out.
    #[inline(always)]
    pub(crate) fn pack(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.day.0.to_le_bytes());
        out[4..12].copy_from_slice(&self.price.to_le_bytes());
        if let Some(volume) = out.get_mut(12..ROW_BYTES) {
            volume.copy_from_slice(&self.volume.to_le_bytes());
        }
    }

    #[inline(always)]
    pub(crate) fn unpack(row: &[u8; ROW_BYTES]) -> Self {
        let (price, volume) = (first(&row[4..]), first(&row[12..]));
        Self {
            day: Day(i32::from_le_bytes(first(row))),
            price: f64::from_le_bytes(price),
            volume: f64::from_le_bytes(volume),
        }
    }
}

impl PriceSeries {
    /// A series without rows.
    pub fn new() -> Self {
        Self { rows: Vec::new(), sorted: true }
    }

    /// A series of consecutive days from two equally long columns, oldest first.
    ///
    /// Errors: [`Error::LengthMismatch`], [`Error::TooManyRows`], [`Error::OutOfMemory`].
    pub fn from_columns(prices: &[f64], volumes: &[f64]) -> Result<Self> {
        if prices.len() != volumes.len() {
            return Err(Error::LengthMismatch { left: prices.len(), right: volumes.len() });
        }
        let mut series = Self::new();
        for (day, (&price, &volume)) in (0..).zip(prices.iter().zip(volumes)) {
            series.push(Day(day), price, volume)?;
        }
        Ok(series)
    }

    /// Adds a row, in any order.
    ///
    /// Errors: [`Error::TooManyRows`], [`Error::OutOfMemory`].
    pub fn push(&mut self, day: Day, price: f64, volume: f64) -> Result<()> {
        if self.rows.len() == MAX_ROWS {
            return Err(Error::TooManyRows { max: MAX_ROWS });
        }
        self.rows.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.sorted = match self.rows.last() {
            Some(last) => self.sorted && last.day < day,
            None => true,
        };
        self.rows.push(Row { day, price, volume });
        Ok(())
    }

    /// Adds a row whose volume counts shares at `close`, where `price` is adjusted: the volume is multiplied by
    /// `close / price`, so that price times volume stays what was traded. Numbers out of all proportion leave
    /// the volume as it is.
    ///
    /// Errors: as [`PriceSeries::push`].
    pub fn push_adjusted(&mut self, day: Day, price: f64, volume: f64, close: Option<f64>) -> Result<()> {
        self.push(day, price, adjusted_volume(price, volume, close))
    }

    /// Adds the rows of another series.
    ///
    /// Errors: as [`PriceSeries::push`].
    pub fn append(&mut self, other: &PriceSeries) -> Result<()> {
        other.rows.iter().try_for_each(|row| self.push(row.day, row.price, row.volume))
    }

    /// Drops rows that [`PriceSeries::latest`] with the same `keep` does not look at, once they are about as
    /// many as those it does, so that a running state stays bounded whatever is fed to it.
    pub fn trim_to_latest(&mut self, keep: usize) {
        // One more than is asked for: it tells whether the oldest day of interest occurs twice.
        let keep = keep.saturating_add(1);
        if self.rows.len() / 2 >= keep {
            let older = self.rows.len() - keep;
            if !self.sorted {
                self.rows.select_nth_unstable_by_key(older, |row| row.day);
            }
            self.rows.drain(..older);
        }
    }

    /// Brings rows into date order.
    ///
    /// Errors: [`Error::DuplicateDay`] when a day occurs twice: which row counts would be chance.
    pub fn sort(&mut self) -> Result<()> {
        if !self.sorted {
            self.rows.sort_unstable_by_key(|row| row.day);
            if let Some(pair) = self.rows.windows(2).find(|pair| pair[0].day == pair[1].day) {
                return Err(Error::DuplicateDay { day: pair[0].day });
            }
            self.sorted = true;
        }
        Ok(())
    }

    /// The latest `keep` rows in date order. Neither the order of arrival nor trimming changes the answer.
    ///
    /// Errors: [`Error::DuplicateDay`] when one of their days occurs twice, [`Error::OutOfMemory`].
    pub fn latest(&self, keep: usize) -> Result<PriceSeries> {
        let candidates = keep.saturating_add(1);
        let mut latest = Self::new();
        if self.sorted {
            latest.extend(&self.rows[self.rows.len().saturating_sub(candidates)..])?;
        } else {
            latest.extend(&self.rows)?;
            latest.rows.sort_unstable_by_key(|row| row.day);
            latest.rows.drain(..latest.rows.len().saturating_sub(candidates));
            latest.sorted = false;
            latest.sort()?;
        }
        latest.rows.drain(..latest.rows.len().saturating_sub(keep));
        Ok(latest)
    }

    fn extend(&mut self, rows: &[Row]) -> Result<()> {
        self.rows.try_reserve_exact(rows.len()).map_err(|_| Error::OutOfMemory)?;
        self.rows.extend_from_slice(rows);
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Bytes of the packed form.
    pub fn packed_len(&self) -> usize {
        self.rows.len() * ROW_BYTES
    }

    /// Writes the packed form (shape `[packed_len]`): per row the day as int32, price and volume as
    /// float64, little endian.
    pub fn pack(&self, out: &mut [u8]) {
        out.chunks_exact_mut(ROW_BYTES).zip(&self.rows).for_each(|(slot, row)| row.pack(slot));
    }

    /// Reads the packed form. The bytes may come from anywhere, so nothing about them is believed.
    ///
    /// Errors: [`Error::PackedSeries`] for a length that is no whole number of rows, and as
    /// [`PriceSeries::push`].
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let (packed, rest) = bytes.as_chunks::<ROW_BYTES>();
        if !rest.is_empty() {
            return Err(Error::PackedSeries { bytes: bytes.len() });
        }
        if packed.len() > MAX_ROWS {
            return Err(Error::TooManyRows { max: MAX_ROWS });
        }
        let mut rows = Vec::new();
        rows.try_reserve_exact(packed.len()).map_err(|_| Error::OutOfMemory)?;
        rows.extend(packed.iter().map(Row::unpack));
        let sorted = rows.windows(2).all(|pair| pair[0].day < pair[1].day);
        Ok(Self { rows, sorted })
    }

    /// As [`PriceSeries::unpack`], in date order. Errors: those, and as [`PriceSeries::sort`].
    pub fn unpack_sorted(bytes: &[u8]) -> Result<Self> {
        let mut series = Self::unpack(bytes)?;
        series.sort()?;
        Ok(series)
    }

    /// Rows up to `day`, that included, and how many of them have a price that a return can be taken from.
    pub fn rows_until(&self, day: Day) -> (usize, usize) {
        count(&self.rows, day, |row| *row)
    }

    /// The same of a packed form, in any order.
    pub fn packed_rows_until(bytes: &[u8], day: Day) -> (usize, usize) {
        count(bytes.as_chunks::<ROW_BYTES>().0, day, Row::unpack)
    }
}

/// The volume in the unit of an adjusted price.
#[inline(always)]
pub(crate) fn adjusted_volume(price: f64, volume: f64, close: Option<f64>) -> f64 {
    let sound = |value: f64| value > 1e-60 && value < 1e60;
    match close {
        Some(close) if sound(volume) && sound(close) && sound(price) => volume * close / price,
        _ => volume,
    }
}

fn count<T>(rows: &[T], until: Day, row: impl Fn(&T) -> Row) -> (usize, usize) {
    let known = rows.iter().map(row).filter(|row| row.day <= until);
    known.fold((0, 0), |(rows, priced), row| (rows + 1, priced + usize::from(usable(row.price))))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(days: &[i32]) -> PriceSeries {
        let mut series = PriceSeries::new();
        for &day in days {
            series.push(Day(day), f64::from(day) + 0.5, 2.0).unwrap();
        }
        series
    }

    fn days(series: &PriceSeries) -> Vec<i32> {
        series.rows().iter().map(|row| row.day.0).collect()
    }

    proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(mut order in prop::collection::hash_set(any::<i32>(), 1..200)
            .prop_map(|set| set.into_iter().collect::<Vec<_>>()))
        {
            let mut shuffled = series(&order);
            shuffled.sort().unwrap();
            order.sort_unstable();
            prop_assert_eq!(days(&shuffled), order);
        }

        #[test]
        fn trimming_keeps_the_latest_rows(order in Just((0..500).collect::<Vec<i32>>()).prop_shuffle(), keep in 1usize..80) {
            let mut trimmed = PriceSeries::new();
            for day in order {
                trimmed.push(Day(day), 1.0, 1.0).unwrap();
                trimmed.trim_to_latest(keep);
                prop_assert!(trimmed.len() < 2 * (keep + 1));
            }
            let latest: Vec<i32> = (500 - keep as i32..500).collect();
            prop_assert_eq!(days(&trimmed.latest(keep).unwrap()), latest);
        }

        #[test]
        fn trimming_and_order_do_not_change_what_is_latest(days in prop::collection::vec(0..40i32, 0..80)
            .prop_flat_map(|days| (Just(days.clone()), Just(days).prop_shuffle())), keep in 1usize..30)
        {
            let (whole, mut trimmed) = (series(&days.0), PriceSeries::new());
            for day in days.1 {
                trimmed.push(Day(day), f64::from(day) + 0.5, 2.0).unwrap();
                trimmed.trim_to_latest(keep);
            }
            prop_assert_eq!(whole.latest(keep), trimmed.latest(keep));
        }

        #[test]
        fn packed_bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            match PriceSeries::unpack(&bytes) {
                Ok(series) => {
                    let mut again = vec![0; series.packed_len()];
                    series.pack(&mut again);
                    prop_assert_eq!(again, bytes);
                }
                Err(error) => prop_assert_eq!(error, Error::PackedSeries { bytes: bytes.len() }),
            }
        }
    }

    #[test]
    fn adjusted_volumes_keep_what_was_traded() {
        let mut series = PriceSeries::new();
        for (day, volume, close) in
            [(0, 1e6, Some(8.0)), (1, 1e6, None), (2, 1e300, Some(8.0)), (3, -1.0, Some(8.0))]
        {
            series.push_adjusted(Day(day), 2.0, volume, close).unwrap();
        }
        let volumes: Vec<f64> = series.rows().iter().map(|row| row.volume).collect();
        assert_eq!(volumes, [4e6, 1e6, 1e300, -1.0]);
    }

    #[test]
    fn a_day_twice_is_refused() {
        assert_eq!(series(&[3, 1, 3]).sort(), Err(Error::DuplicateDay { day: Day(3) }));
        assert_eq!(series(&[1, 3, 3]).sort(), Err(Error::DuplicateDay { day: Day(3) }));
    }

    #[test]
    fn a_day_twice_counts_only_among_the_latest() {
        assert_eq!(days(&series(&[1, 1, 2, 3]).latest(2).unwrap()), [2, 3]);
        assert_eq!(series(&[1, 2, 2, 3]).latest(2), Err(Error::DuplicateDay { day: Day(2) }));
        assert_eq!(series(&[3, 2, 1, 3]).latest(1), Err(Error::DuplicateDay { day: Day(3) }));
        assert_eq!(series(&[1, 1]).latest(5), Err(Error::DuplicateDay { day: Day(1) }));
    }

    #[test]
    fn columns_of_different_length_are_refused() {
        assert_eq!(
            PriceSeries::from_columns(&[1.0, 2.0], &[1.0]),
            Err(Error::LengthMismatch { left: 2, right: 1 })
        );
    }
}
