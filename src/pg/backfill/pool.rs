//! Prices that a job reads at once for several of its batches.
//!
//! A batch is small, so that little is lost when a job is stopped, and the database reads about as much for few
//! instruments of a span of dates as for all. The procedure keeps the packed form between its transactions.

use std::collections::HashMap;

use crate::engine::numeric::PriceSeries;
use crate::pg::report::Fault;

/// The packed series of some instruments.
#[derive(Debug)]
pub struct Pool<'a>(HashMap<&'a str, &'a [u8]>);

impl<'a> Pool<'a> {
    /// The packed form of what `read` holds of `names`: for each its name and its series, either after its length
    /// in bytes as u32, little endian.
    pub fn pack(names: &[String], read: &HashMap<String, Vec<u8>>) -> Vec<u8> {
        let series = |name: &String| read.get(name).map_or(&[][..], Vec::as_slice);
        let size = names.iter().map(|name| 8 + name.len() + series(name).len()).sum();
        let mut out = Vec::with_capacity(size);
        for name in names {
            for part in [name.as_bytes(), series(name)] {
                out.extend((part.len() as u32).to_le_bytes());
                out.extend(part);
            }
        }
        out
    }

    /// Reads the packed form. Errors: [`Fault::MalformedScope`] (22P03).
    pub fn unpack(mut bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut series = HashMap::new();
        while !bytes.is_empty() {
            let (name, rest) = part(bytes)?;
            let (packed, rest) = part(rest)?;
            series.insert(std::str::from_utf8(name).map_err(|_| Fault::MalformedScope)?, packed);
            bytes = rest;
        }
        Ok(Self(series))
    }

    /// The series of `names`, as a batch reads them. Errors: [`Fault::MalformedScope`] for a name that the pool
    /// does not hold.
    pub fn series(
        &self,
        names: &[&str],
    ) -> Result<HashMap<String, crate::engine::Result<PriceSeries>>, Fault> {
        let found = |&name: &&str| {
            let packed = self.0.get(name).ok_or(Fault::MalformedScope)?;
            Ok((name.to_owned(), PriceSeries::unpack_sorted(packed)))
        };
        names.iter().map(found).collect()
    }
}

/// What follows its own length, and what comes after it.
fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Fault::MalformedScope)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(Fault::MalformedScope)
}
