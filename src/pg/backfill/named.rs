//! The backfill of named features: the newest row of each entity, encoded and written in chunks.

use super::OnExisting;
use super::ledger::{Entry, Fate, Vector};
use crate::engine::named::{NamedSpec, encode};
use crate::engine::{Day, simd};
use crate::pg::ffi::interrupts;
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;
use crate::pg::spi::named_rows::NamedRow;
use crate::pg::spi::numeric_rows::NumericTarget;

/// Vectors per statement.
const CHUNK_ROWS: usize = 1_000;

/// Everything one call needs to know.
pub struct NamedBackfill<'a> {
    /// The recipe.
    pub spec: &'a NamedSpec,
    /// The rows of the entities, in the order of the result.
    pub rows: &'a [NamedRow],
    /// The as-of date of the vectors.
    pub as_of: Day,
    /// Calendar days that a row may be old.
    pub max_age_days: u32,
    /// Where vectors go.
    pub target: &'a NumericTarget,
    /// What to do with keys that have a row.
    pub on_existing: OnExisting,
}

/// A vector that is not yet written.
struct Made {
    row: usize,
    vector: Vec<u8>,
    features: usize,
    /// Whether its key has a row.
    there: bool,
}

impl NamedBackfill<'_> {
    /// Computes and writes all vectors; one entry per row.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), and whatever writing raises; then nothing is written.
    pub fn run(&self) -> Result<Vec<Entry>, Fault> {
        transaction::refuse_read_only();
        self.target.allows(self.on_existing)?;
        if !self.target.unique() && self.on_existing != OnExisting::Append {
            self.target.lock()?;
        }
        let mut entries = Vec::with_capacity(self.rows.len());
        let mut chunk = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            interrupts::check();
            match self.make(row) {
                Ok((vector, features)) => chunk.push(Made { row: index, vector, features, there: false }),
                Err(reason) => {
                    entries.push(self.entry(index, Fate::Failed { rows: 0, reason: reason.into() }))
                }
            }
            if chunk.len() == CHUNK_ROWS {
                self.write(std::mem::take(&mut chunk), &mut entries)?;
            }
        }
        self.write(chunk, &mut entries)?;
        entries.sort_by_key(|entry| entry.entity);
        Ok(entries)
    }

    /// The vector of a row and the number of its features, or why there is none.
    fn make(&self, row: &NamedRow) -> Result<(Vec<u8>, usize), String> {
        if row.day < self.as_of.minus_days(self.max_age_days) {
            return Err(format!(
                "newest row is of {}, more than {} days before {}",
                row.day, self.max_age_days, self.as_of
            ));
        }
        let json = serde_json::from_str(&row.json).map_err(|error| format!("unreadable numbers: {error}"))?;
        let mut vector = vec![0; self.spec.dim * 4];
        let features = encode(self.spec, &json, &mut vector).map_err(|refusal| refusal.to_string())?;
        Ok((vector, features))
    }

    fn write(&self, mut chunk: Vec<Made>, entries: &mut Vec<Entry>) -> Result<(), Fault> {
        self.find_existing(&mut chunk, entries)?;
        if chunk.is_empty() {
            return Ok(());
        }
        if !self.target.unique() {
            let there = chunk.iter().filter(|made| made.there);
            let keys: Vec<(&str, Day)> = there.map(|made| (self.name(made.row), self.as_of)).collect();
            self.target.delete(&keys)?;
        }
        self.target.insert(&mut ChunkRows { run: self, chunk: &chunk, at: 0 })?;
        for made in &chunk {
            let non_finite = simd::count_non_finite(&made.vector) as u32;
            let vector = Vector { rows: made.features as u32, padded: 0, non_finite };
            let fate = if made.there { Fate::Replaced(vector) } else { Fate::Inserted(vector) };
            entries.push(self.entry(made.row, fate));
        }
        Ok(())
    }

    /// Marks the vectors whose key has a row, and drops those whose row stays.
    fn find_existing(&self, chunk: &mut Vec<Made>, entries: &mut Vec<Entry>) -> Result<(), Fault> {
        if self.on_existing == OnExisting::Append || chunk.is_empty() {
            return Ok(());
        }
        let keys: Vec<(&str, Day)> = chunk.iter().map(|made| (self.name(made.row), self.as_of)).collect();
        let mut existing = self.target.existing(&keys)?.into_iter();
        chunk.retain_mut(|made| {
            let Some(found) = existing.next().flatten() else { return true };
            made.there = true;
            let fate = match self.on_existing {
                OnExisting::Skip => Fate::Skipped,
                OnExisting::Update if found.digest == Some(digest(&self.rows[made.row])) => Fate::Current,
                _ => return true,
            };
            entries.push(self.entry(made.row, fate));
            false
        });
        Ok(())
    }

    fn name(&self, row: usize) -> &str {
        &self.rows[row].entity_id
    }

    fn entry(&self, row: usize, fate: Fate) -> Entry {
        Entry { entity: row as u32, day: self.as_of, fate }
    }
}

/// Fingerprint of what a vector was made from.
fn digest(row: &NamedRow) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(row.json.as_bytes()).to_be_bytes()
}

/// The rows of one chunk, in key order.
struct ChunkRows<'r, 'a> {
    run: &'r NamedBackfill<'a>,
    chunk: &'r [Made],
    at: usize,
}

impl RowSource for ChunkRows<'_, '_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let Some(made) = self.chunk.get(self.at) else { return Ok(false) };
        self.at += 1;
        let row = &self.run.rows[made.row];
        cells.text(0, &row.entity_id);
        cells.date(1, self.run.as_of);
        cells.bytes(2, made.vector.len(), |out| {
            out.copy_from_slice(&made.vector);
            Ok(())
        })?;
        cells.int(3, made.features as i32);
        cells.int(4, 0);
        cells.date(5, row.day);
        cells.uuid(6, digest(row));
        Ok(true)
    }
}
