//! Daily rows of many instruments, gathered in any order.

use std::collections::HashMap;

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::series::PriceSeries;

/// Rows that are gathered: what they are packed into stays well below the gigabyte that a value may have.
const MAX_ROWS: usize = 1 << 25;

/// The series of many instruments. One that has got too many rows holds none.
#[derive(Debug, Clone, Default)]
pub struct PricePanel {
    series: Vec<(Box<[u8]>, PriceSeries)>,
    places: HashMap<Box<[u8]>, usize>,
    /// Instrument of the latest row.
    latest: usize,
    rows: usize,
    overfull: bool,
}

impl PricePanel {
    /// A panel without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The series of `name`, to add one row to.
    ///
    /// Errors: [`Error::OutOfMemory`].
    #[inline]
    pub fn series_of(&mut self, name: &[u8]) -> Result<Option<&mut PriceSeries>> {
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.overflow();
        }
        if self.overfull {
            return Ok(None);
        }
        let place = self.place(name)?;
        self.latest = place;
        Ok(self.series.get_mut(place).map(|(_, series)| series))
    }

    #[inline]
    fn place(&mut self, name: &[u8]) -> Result<usize> {
        // Rows come instrument by instrument, or date by date with the instruments in the same order each.
        let next = if self.latest + 1 < self.series.len() { self.latest + 1 } else { 0 };
        for place in [self.latest, next] {
            if self.series.get(place).is_some_and(|(there, _)| **there == *name) {
                return Ok(place);
            }
        }
        match self.places.get(name) {
            Some(&place) => Ok(place),
            None => self.add(name),
        }
    }

    #[cold]
    fn add(&mut self, name: &[u8]) -> Result<usize> {
        self.series.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.places.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.series.push((name.into(), PriceSeries::new()));
        self.places.insert(name.into(), self.series.len() - 1);
        Ok(self.series.len() - 1)
    }

    #[cold]
    fn overflow(&mut self) {
        *self = Self { overfull: true, ..Self::default() };
    }

    /// Adds the rows of another panel.
    ///
    /// Errors: as [`PriceSeries::push`].
    pub fn append(&mut self, other: &Self) -> Result<()> {
        if other.overfull {
            self.overflow();
        }
        for (name, series) in &other.series {
            self.rows += series.len().saturating_sub(1);
            if let Some(own) = self.series_of(name)? {
                own.append(series)?;
            }
        }
        Ok(())
    }

    /// Bytes of the packed form.
    pub fn packed_len(&self) -> usize {
        self.series.iter().map(|(name, series)| 8 + name.len() + series.packed_len()).sum()
    }

    /// Writes the packed form (shape `[packed_len]`): for each instrument its name and its series, either after
    /// its length in bytes as u32, little endian. That of a panel with too many rows is empty.
    pub fn pack(&self, out: &mut [u8]) {
        let mut rest = out;
        for (name, series) in &self.series {
            let (length, behind) = rest.split_at_mut(4);
            length.copy_from_slice(&(name.len() as u32).to_le_bytes());
            let (slot, behind) = behind.split_at_mut(name.len());
            slot.copy_from_slice(name);
            let (length, behind) = behind.split_at_mut(4);
            length.copy_from_slice(&(series.packed_len() as u32).to_le_bytes());
            let (slot, behind) = behind.split_at_mut(series.packed_len());
            series.pack(slot);
            rest = behind;
        }
    }

    /// Reads the packed form.
    ///
    /// Errors: [`Error::PackedSeries`] for what [`PricePanel::pack`] cannot have written, and as [`PriceSeries::unpack`].
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let mut panel = Self { overfull: bytes.is_empty(), ..Self::default() };
        for entry in Self::entries(bytes) {
            let (name, packed) = entry?;
            panel.rows += PriceSeries::packed_rows_until(packed, Day(i32::MAX)).0.saturating_sub(1);
            let series = PriceSeries::unpack(packed)?;
            if let Some(own) = panel.series_of(name)? {
                own.append(&series)?;
            }
        }
        Ok(panel)
    }

    /// The instruments of a packed form and their packed series, in any order; none of a panel that had too many rows.
    pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8])>> {
        let malformed = Error::PackedSeries { bytes: bytes.len() };
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = part(rest).and_then(|(name, rest)| Some((name, part(rest)?)));
            rest = entry.map_or(&[], |(_, (_, rest))| rest);
            Some(entry.map(|(name, (series, _))| (name, series)).ok_or_else(|| malformed.clone()))
        })
    }
}

/// What follows its own length, and what comes after it.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn panel(rows: &[(u8, i32)]) -> PricePanel {
        let mut panel = PricePanel::new();
        for &(name, day) in rows {
            let series = panel.series_of(&[b'x', name]).unwrap().unwrap();
            series.push(Day(day), f64::from(day), f64::from(name)).unwrap();
        }
        panel
    }

    /// Every instrument's rows, sorted.
    fn told(panel: &PricePanel) -> Vec<(Vec<u8>, Vec<i32>)> {
        let mut packed = vec![0; panel.packed_len()];
        panel.pack(&mut packed);
        let series = |entry: Result<(&[u8], &[u8])>| {
            let (name, packed) = entry.unwrap();
            let series = PriceSeries::unpack(packed).unwrap();
            let mut days: Vec<i32> = series.rows().iter().map(|row| row.day.0).collect();
            days.sort_unstable();
            (name.to_vec(), days)
        };
        let mut told: Vec<_> = PricePanel::entries(&packed).map(series).collect();
        told.sort();
        told
    }

    proptest! {
        #[test]
        fn neither_order_nor_workers_matter(
            (rows, shuffled) in prop::collection::hash_set((0u8..5, 0i32..50), 0..120)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>())
                .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
            cut in 0usize..120,
        ) {
            let mut expected = std::collections::BTreeMap::<Vec<u8>, Vec<i32>>::new();
            rows.iter().for_each(|&(name, day)| expected.entry(vec![b'x', name]).or_default().push(day));
            expected.values_mut().for_each(|days| days.sort_unstable());
            let expected: Vec<_> = expected.into_iter().collect();
            let whole = panel(&shuffled);
            prop_assert_eq!(&told(&whole), &expected);
            let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
            let mut joined = panel(left);
            let mut packed = vec![0; panel(right).packed_len()];
            panel(right).pack(&mut packed);
            if !right.is_empty() {
                joined.append(&PricePanel::unpack(&packed).unwrap()).unwrap();
            }
            prop_assert_eq!(&told(&joined), &expected);
        }

        #[test]
        fn packed_bytes_from_anywhere_are_read_or_refused(bytes in prop::collection::vec(0u8..30, 1..200)) {
            if let Ok(panel) = PricePanel::unpack(&bytes) {
                prop_assert!(panel.packed_len() <= bytes.len());
            }
        }
    }

    #[test]
    fn too_many_rows_leave_none() {
        let mut full = panel(&[(1, 1)]);
        full.rows = MAX_ROWS - 1;
        assert!(full.series_of(b"x").unwrap().is_some());
        assert!(full.series_of(b"x").unwrap().is_none() && full.packed_len() == 0);
        let mut other = panel(&[(1, 1), (2, 1)]);
        other.append(&PricePanel::unpack(&[]).unwrap()).unwrap();
        assert!(other.packed_len() == 0 && other.series_of(b"x").unwrap().is_none());
        let mut half = panel(&[(1, 1)]);
        half.rows = MAX_ROWS - 1;
        half.append(&panel(&[(1, 2), (1, 3)])).unwrap();
        assert_eq!(half.packed_len(), 0);
    }
}
