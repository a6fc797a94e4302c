//! A list of the best as bytes: what parallel workers hand over and what the reader of a search gets.
//!
//! Little endian: k (u32), hits (u32), three counts of what was left out (u64), then per hit cosine,
//! distance (f64), row (i64), day (i32), key and payload (u32 length and UTF-8).

use super::{Hit, LeftOut, TopK, check_top_k};
use crate::engine::error::{Error, Result};
use std::collections::BinaryHeap;

const HEAD: usize = 4 + 4 + 3 * 8;
const HIT: usize = 8 + 8 + 8 + 4 + 4 + 4;

impl TopK {
    /// Bytes of the packed form.
    pub fn packed_len(&self) -> usize {
        HEAD + self.kept.iter().map(|hit| HIT + hit.key.len() + hit.payload.len()).sum::<usize>()
    }

    /// Writes the packed form (shape `[packed_len]`), without the query.
    pub fn pack(&self, out: &mut [u8]) {
        let mut out = Writer(out);
        out.put(&(self.k as u32).to_le_bytes());
        out.put(&(self.kept.len() as u32).to_le_bytes());
        for count in [self.left_out.no_vector, self.left_out.other_dim, self.left_out.non_finite] {
            out.put(&count.to_le_bytes());
        }
        for hit in &self.kept {
            out.put(&hit.cosine.to_le_bytes());
            out.put(&hit.distance.to_le_bytes());
            out.put(&hit.row.to_le_bytes());
            out.put(&hit.day.to_le_bytes());
            for text in [&hit.key, &hit.payload] {
                out.put(&(text.len() as u32).to_le_bytes());
                out.put(text.as_bytes());
            }
        }
    }

    /// Reads the packed form, of which nothing is believed. The list can be merged and read, but compares no
    /// further vectors.
    ///
    /// Errors: [`Error::PackedList`].
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let malformed = || Error::PackedList { bytes: bytes.len() };
        let mut from = Reader(bytes);
        let mut read = || {
            let k = check_top_k(from.u32()?.into()).ok()?;
            let hits = from.u32()? as usize;
            let left_out =
                LeftOut { no_vector: from.u64()?, other_dim: from.u64()?, non_finite: from.u64()? };
            if hits > k || hits > from.0.len() / HIT {
                return None;
            }
            let kept = (0..hits).map(|_| from.hit()).collect::<Option<BinaryHeap<Hit>>>()?;
            from.0.is_empty().then_some(Self { query: None, k, kept, left_out, bound: None })
        };
        read().ok_or_else(malformed)
    }
}

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some((head, rest)) = std::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<Box<str>> {
        let len = self.u32()? as usize;
        Some(std::str::from_utf8(self.take(len)?).ok()?.into())
    }

    fn hit(&mut self) -> Option<Hit> {
        let (cosine, distance) = (f64::from_bits(self.u64()?), f64::from_bits(self.u64()?));
        let (row, day) = (self.u64()? as i64, self.u32()? as i32);
        Some(Hit { cosine, distance, row, day, key: self.text()?, payload: self.text()? })
    }
}
