//! Daily rows of many instruments, gathered in any order.

use std::collections::HashMap;

use super::super::day::Day;
use super::super::error::{Error, Result};
use super::series::{MAX_ROWS as MAX_SERIES, ROW_BYTES, Row, adjusted_volume};

/// Rows that are gathered: what they are packed into stays well below the gigabyte that a value may have.
const MAX_ROWS: usize = 1 << 24;

/// Rows of a piece of the list: one that grew as a whole would have to be moved, and be held twice meanwhile.
const PIECE: usize = 4_096;

/// The rows of many instruments, in the order in which they came: what is written side by side needs no look for its place.
/// A panel that has got too many rows holds none.
#[derive(Debug, Clone, Default)]
pub struct PricePanel {
    pieces: Vec<Vec<Placed>>,
    rows: usize,
    instruments: Vec<Instrument>,
    places: HashMap<Box<[u8]>, u32>,
    /// Instrument of the latest row.
    latest: u32,
    overfull: bool,
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    instrument: u32,
    row: Row,
}

#[derive(Debug, Clone)]
struct Instrument {
    key: Key,
    rows: u32,
    name: Box<[u8]>,
}

/// Length, first and last bytes of a name: of up to 16 bytes all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    length: usize,
    first: u64,
    last: u64,
}

impl Key {
    #[inline(always)]
    fn of(name: &[u8]) -> Self {
        let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => {
                let mut short = [0; 8];
                short.iter_mut().zip(name).for_each(|(slot, byte)| *slot = *byte);
                (short, [0; 8])
            }
        };
        Self { length: name.len(), first: u64::from_le_bytes(first), last: u64::from_le_bytes(last) }
    }
}

impl PricePanel {
    /// A panel without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row, in any order.
    ///
    /// Errors: [`Error::TooManyRows`] of one instrument, [`Error::OutOfMemory`].
    #[inline]
    pub fn push(&mut self, name: &[u8], day: Day, price: f64, volume: f64) -> Result<()> {
        let instrument = self.place(name)?;
        self.push_at(instrument, Row { day, price, volume })
    }

    /// As [`super::PriceSeries::push_adjusted`].
    ///
    /// Errors: as [`PricePanel::push`].
    #[inline]
    pub fn push_adjusted(
        &mut self,
        name: &[u8],
        day: Day,
        price: f64,
        volume: f64,
        close: Option<f64>,
    ) -> Result<()> {
        self.push(name, day, price, adjusted_volume(price, volume, close))
    }

    #[inline]
    fn push_at(&mut self, instrument: u32, row: Row) -> Result<()> {
        if self.overfull || self.rows == MAX_ROWS {
            self.overflow();
            return Ok(());
        }
        let Some(own) = self.instruments.get_mut(instrument as usize) else { return Ok(()) };
        if own.rows as usize == MAX_SERIES {
            return Err(Error::TooManyRows { max: MAX_SERIES });
        }
        own.rows += 1;
        self.latest = instrument;
        if self.rows.is_multiple_of(PIECE) {
            self.add_piece()?;
        }
        self.rows += 1;
        if let Some(piece) = self.pieces.last_mut() {
            piece.push(Placed { instrument, row });
        }
        Ok(())
    }

    #[cold]
    fn add_piece(&mut self) -> Result<()> {
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE).map_err(|_| Error::OutOfMemory)?;
        self.pieces.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.pieces.push(piece);
        Ok(())
    }

    #[inline]
    fn place(&mut self, name: &[u8]) -> Result<u32> {
        // Rows come instrument by instrument, or date by date with the instruments in the same order each.
        let next = if (self.latest as usize) + 1 < self.instruments.len() { self.latest + 1 } else { 0 };
        let key = Key::of(name);
        for place in [self.latest, next] {
            let there = self.instruments.get(place as usize);
            if there.is_some_and(|there| there.key == key && (key.length <= 16 || *there.name == *name)) {
                return Ok(place);
            }
        }
        match self.places.get(name) {
            Some(&place) => Ok(place),
            None => self.add(name),
        }
    }

    #[cold]
    fn add(&mut self, name: &[u8]) -> Result<u32> {
        if self.overfull {
            return Ok(0);
        }
        self.instruments.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.places.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let place = self.instruments.len() as u32;
        self.instruments.push(Instrument { key: Key::of(name), rows: 0, name: name.into() });
        self.places.insert(name.into(), place);
        Ok(place)
    }

    #[cold]
    fn overflow(&mut self) {
        *self = Self { overfull: true, ..Self::default() };
    }

    /// Adds the rows of another panel.
    ///
    /// Errors: as [`PricePanel::push`].
    pub fn append(&mut self, other: &Self) -> Result<()> {
        if other.overfull {
            self.overflow();
        }
        let places = other.instruments.iter().map(|theirs| self.place(&theirs.name));
        let places = places.collect::<Result<Vec<u32>>>()?;
        other
            .pieces
            .iter()
            .flatten()
            .try_for_each(|theirs| self.push_at(places[theirs.instrument as usize], theirs.row))
    }

    /// Bytes of the packed form.
    pub fn packed_len(&self) -> usize {
        let names: usize = self.instruments.iter().map(|instrument| 8 + instrument.name.len()).sum();
        names + self.rows * ROW_BYTES
    }

    /// Writes the packed form (shape `[packed_len]`): for each instrument its name and its series, either after
    /// its length in bytes as u32, little endian. That of a panel with too many rows is empty.
    pub fn pack(&self, out: &mut [u8]) {
        fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at + bytes.len()
        }
        let mut end = 0;
        let mut slots = Vec::with_capacity(self.instruments.len());
        for instrument in &self.instruments {
            let bytes = instrument.rows as usize * ROW_BYTES;
            end = put(out, end, &(instrument.name.len() as u32).to_le_bytes());
            end = put(out, end, &instrument.name);
            end = put(out, end, &(bytes as u32).to_le_bytes());
            slots.push(end);
            end += bytes;
        }
        for placed in self.pieces.iter().flatten() {
            let slot = &mut slots[placed.instrument as usize];
            placed.row.pack(&mut out[*slot..*slot + ROW_BYTES]);
            *slot += ROW_BYTES;
        }
    }

    /// Reads the packed form.
    ///
    /// Errors: [`Error::PackedSeries`] for what [`PricePanel::pack`] cannot have written, and as [`PricePanel::push`].
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let mut panel = Self { overfull: bytes.is_empty(), ..Self::default() };
        for entry in Self::entries(bytes) {
            let (name, packed) = entry?;
            let (rows, rest) = packed.as_chunks::<ROW_BYTES>();
            if !rest.is_empty() {
                return Err(Error::PackedSeries { bytes: packed.len() });
            }
            let place = panel.place(name)?;
            rows.iter().try_for_each(|row| panel.push_at(place, Row::unpack(row)))?;
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
    use super::super::PriceSeries;
    use super::*;
    use proptest::prelude::*;

    /// Short names and long ones, some of which begin and end alike.
    fn named(name: u8) -> Vec<u8> {
        match name {
            0 => b"x".to_vec(),
            1 => b"xy".to_vec(),
            2 => b"I00001.US".to_vec(),
            _ => format!("begins alike {name} and ends alike").into_bytes(),
        }
    }

    fn panel(rows: &[(u8, i32)]) -> PricePanel {
        let mut panel = PricePanel::new();
        for &(name, day) in rows {
            panel.push(&named(name), Day(day), f64::from(day), f64::from(name)).unwrap();
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
            rows.iter().for_each(|&(name, day)| expected.entry(named(name)).or_default().push(day));
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
        full.push(b"x", Day(2), 1.0, 1.0).unwrap();
        assert!(full.packed_len() > 0);
        let mut both = full.clone();
        full.push(b"x", Day(3), 1.0, 1.0).unwrap();
        assert_eq!((full.packed_len(), full.rows, full.pieces.len()), (0, 0, 0));
        full.push(b"y", Day(3), 1.0, 1.0).unwrap();
        assert_eq!(full.packed_len(), 0);
        both.append(&panel(&[(1, 2), (3, 3)])).unwrap();
        assert_eq!(both.packed_len(), 0);
        let mut other = panel(&[(1, 1), (2, 1)]);
        other.append(&PricePanel::unpack(&[]).unwrap()).unwrap();
        assert_eq!(other.packed_len(), 0);
    }

    #[test]
    fn an_instrument_has_a_bound() {
        let mut panel = panel(&[(1, 1)]);
        panel.instruments[0].rows = MAX_SERIES as u32;
        assert_eq!(panel.push(&named(1), Day(2), 1.0, 1.0), Err(Error::TooManyRows { max: MAX_SERIES }));
    }
}
