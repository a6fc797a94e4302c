//! Vectors that are made one by one, of portfolios and scenarios: written with the rules of every backfill.

use std::collections::HashSet;

use super::OnExisting;
use crate::engine::{Day, simd};
use crate::pg::ffi::interrupts;
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;
use crate::pg::spi::numeric_rows::NumericTarget;

/// Rows per statement.
const CHUNK_ROWS: usize = 1_000;

/// What was made of one entity.
#[derive(Debug)]
pub struct Made {
    /// The entity.
    pub entity: String,
    /// Values that its vector was made from.
    pub values: usize,
    /// The vector as stored, or why there is none.
    pub vector: Result<Vec<u8>, String>,
    /// What else a reader should know.
    pub note: Option<String>,
}

/// A row of the result.
#[derive(Debug)]
pub struct Told {
    /// The entity.
    pub entity: String,
    /// `inserted`, `replaced`, `skipped` or `failed`.
    pub status: &'static str,
    /// Components of the vector.
    pub dim: Option<i32>,
    /// Values that it was made from.
    pub values: Option<i32>,
    /// Why it failed, or what is odd about it.
    pub detail: Option<String>,
}

/// Writes the vectors, all of one day, and tells what became of each entity, in the order given.
///
/// Errors: [`Fault::AppendToUnique`], and whatever writing raises.
pub fn write(
    made: Vec<Made>,
    day: Day,
    target: &NumericTarget,
    on_existing: OnExisting,
) -> Result<Vec<Told>, Fault> {
    transaction::refuse_read_only();
    target.allows(on_existing)?;
    if !target.unique() && on_existing != OnExisting::Append {
        target.lock()?;
    }
    let mut told = Vec::with_capacity(made.len());
    for chunk in made.chunks(CHUNK_ROWS) {
        interrupts::check();
        let keys: Vec<(&str, Day)> =
            chunk.iter().filter(|m| m.vector.is_ok()).map(|m| (m.entity.as_str(), day)).collect();
        let existing: HashSet<&str> = match on_existing {
            OnExisting::Append => HashSet::new(),
            _ => {
                let found = target.existing(&keys)?.into_iter().zip(&keys);
                found.filter_map(|(row, key)| row.map(|_| key.0)).collect()
            }
        };
        let there = |m: &Made| existing.contains(m.entity.as_str());
        if on_existing == OnExisting::Replace && !target.unique() && !existing.is_empty() {
            let keys: Vec<(&str, Day)> = existing.iter().map(|id| (*id, day)).collect();
            target.delete(&keys)?;
        }
        let skips = |m: &Made| on_existing == OnExisting::Skip && there(m);
        let rows: Vec<&Made> = chunk.iter().filter(|m| m.vector.is_ok() && !skips(m)).collect();
        if !rows.is_empty() {
            target.insert(&mut Rows { rows: rows.iter(), day })?;
        }
        told.extend(chunk.iter().map(|m| tell(m, there(m), skips(m))));
    }
    Ok(told)
}

fn tell(made: &Made, there: bool, skipped: bool) -> Told {
    let entity = made.entity.clone();
    let values = Some(made.values as i32);
    match &made.vector {
        Err(reason) => Told { entity, status: "failed", dim: None, values, detail: Some(reason.clone()) },
        Ok(vector) => {
            let dim = vector.len() / 4;
            let odd = simd::count_non_finite(vector);
            let odd = (odd > 0).then(|| format!("{odd} of {dim} values are not finite"));
            let parts: Vec<String> = made.note.iter().cloned().chain(odd).collect();
            let detail = if skipped {
                Some("row exists".to_owned())
            } else {
                (!parts.is_empty()).then(|| parts.join("; "))
            };
            let status = match (skipped, there) {
                (true, _) => "skipped",
                (false, true) => "replaced",
                (false, false) => "inserted",
            };
            Told { entity, status, dim: Some(dim as i32), values: values.filter(|_| !skipped), detail }
        }
    }
}

struct Rows<'a> {
    rows: std::slice::Iter<'a, &'a Made>,
    day: Day,
}

impl RowSource for Rows<'_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let Some(made) = self.rows.next() else { return Ok(false) };
        let vector = made.vector.as_deref().unwrap_or_default();
        cells.text(0, &made.entity);
        cells.date(1, self.day);
        cells.bytes(2, vector.len(), |out| {
            out.copy_from_slice(vector);
            Ok(())
        })?;
        cells.int(3, made.values as i32);
        cells.int(4, 0);
        cells.uuid(6, xxhash_rust::xxh3::xxh3_128(vector).to_be_bytes());
        Ok(true)
    }
}
