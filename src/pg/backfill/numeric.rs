//! The numeric backfill: prices in one scan per batch of instruments, per-day features once per
//! instrument, each window one copy, written by one `INSERT ... SELECT` per chunk of rows.

use std::collections::HashMap;

use super::OnExisting;
use super::ledger::{Entry, Fate, Vector};
use super::market::Market;
use crate::engine::numeric::pipeline::DayContext;
use crate::engine::numeric::{EntityRows, NumericModel, PriceSeries, Ready, Universe};
use crate::engine::{Day, simd};
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::ffi::{interrupts, transaction};
use crate::pg::report::Fault;
use crate::pg::spi::numeric_rows::NumericTarget;
use crate::pg::spi::relation::Relation;

/// Price rows held at a time, about: 20 bytes each, some copies of them.
const BATCH_PRICE_ROWS: usize = 400_000;

/// Embedding rows per statement.
const CHUNK_ROWS: usize = 1_000;

/// Vector bytes per statement: below the default `work_mem`, so that staged rows stay in memory.
const CHUNK_BYTES: usize = 2 << 20;

/// Everything one call needs to know.
pub struct NumericBackfill<'a> {
    /// The recipe and its window.
    pub model: &'a NumericModel,
    /// Instruments, in the order of the result.
    pub entities: &'a [String],
    /// As-of dates, ascending.
    pub days: &'a [Day],
    /// Where prices are.
    pub prices: &'a Relation,
    /// Where vectors go.
    pub target: &'a NumericTarget,
    /// What to do with keys that have a row.
    pub on_existing: OnExisting,
}

/// An instrument whose windows are known and not yet written.
struct Pending<'a> {
    entity: u32,
    rows: EntityRows<'a>,
    windows: Vec<Slot>,
}

/// A window to be written.
struct Slot {
    day: Day,
    ready: Ready,
    /// Whether its key has a row.
    there: bool,
}

impl<'a> NumericBackfill<'a> {
    /// Computes and writes all keys; one entry per key.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), and whatever reading and writing raise; then nothing is
    /// written. A single entity that cannot be embedded is an entry, not an error.
    pub fn run(&'a self) -> Result<Vec<Entry>, Fault> {
        self.check()?;
        let Some((from, last)) = self.prices_between() else { return Ok(Vec::new()) };
        self.lock()?;
        let fresh = self.is_fresh()?;
        // What a list names may be other instruments than those asked for: only the whole table's series
        // are sure to hold them.
        let whole = matches!(self.model.universe(), Some(Universe::Prices {}));
        let market = Market::read(self.model, self.prices, (from, last), whole)?;
        self.run_with(market, fresh)
    }

    /// What stops a backfill before it begins.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), [`Fault::NoInputDigest`] (42703), and 25006 in a read-only
    /// transaction.
    pub fn check(&self) -> Result<(), Fault> {
        self.target.allows(self.on_existing)?;
        transaction::refuse_read_only();
        Ok(())
    }

    /// The span of dates whose prices matter, if there is a date at all.
    pub fn prices_between(&self) -> Option<(Day, Day)> {
        let (&first, &last) = (self.days.first()?, self.days.last()?);
        Some((first.minus_days(self.model.look_back_days()), last))
    }

    /// Whether no key of the dates has a row, or none that matters.
    pub fn is_fresh(&self) -> Result<bool, Fault> {
        let (Some(&first), Some(&last)) = (self.days.first(), self.days.last()) else { return Ok(true) };
        Ok(self.on_existing == OnExisting::Append || !self.target.any_between(first, last)?)
    }

    /// Keeps others from writing the same keys, where the table does not.
    pub fn lock(&self) -> Result<(), Fault> {
        if self.target.unique() || self.on_existing == OnExisting::Append {
            Ok(())
        } else {
            self.target.lock()
        }
    }

    /// As [`NumericBackfill::run`], for a market that was read before; `fresh` as
    /// [`NumericBackfill::is_fresh`] says.
    pub fn run_with(&'a self, mut market: Market, fresh: bool) -> Result<Vec<Entry>, Fault> {
        let Some((from, last)) = self.prices_between() else { return Ok(Vec::new()) };
        let members = market.members(self.model, self.prices, (from, last))?;
        let context = |&day: &Day| self.model.day(day, market.sums.as_ref(), &members);
        let contexts = self.days.iter().map(context).collect::<crate::engine::Result<_>>()?;
        let mut run = Run { job: self, fresh, contexts, entries: Vec::new() };
        // Five trading days of seven, and some room for short spans.
        let rows_each = (last.0.abs_diff(from.0) as usize) * 5 / 7 + 5;
        let batch = (BATCH_PRICE_ROWS / rows_each).max(1);
        for (number, entities) in self.entities.chunks(batch).enumerate() {
            let names: Vec<&str> = entities.iter().map(String::as_str).collect();
            let read = market.take(self.model, self.prices, &names, (from, last))?;
            run.batch(number * batch, entities, read)?;
        }
        run.entries.sort_by_key(|entry| (entry.day, entry.entity));
        Ok(run.entries)
    }

    fn name(&self, entity: u32) -> &str {
        &self.entities[entity as usize]
    }
}

/// A backfill under way.
struct Run<'a> {
    job: &'a NumericBackfill<'a>,
    /// No key of the run can have a row, or none that matters.
    fresh: bool,
    /// What all vectors of a date share, date by date.
    contexts: Vec<DayContext>,
    entries: Vec<Entry>,
}

impl<'a> Run<'a> {
    fn batch(
        &mut self,
        offset: usize,
        entities: &[String],
        mut read: HashMap<String, crate::engine::Result<PriceSeries>>,
    ) -> Result<(), Fault> {
        let job = self.job;
        let chunk_rows = CHUNK_ROWS.min(CHUNK_BYTES / (job.model.dim() * 4)).max(1);
        let (mut pending, mut rows) = (Vec::new(), 0);
        for (index, name) in entities.iter().enumerate() {
            interrupts::check();
            let entity = (offset + index) as u32;
            match read.remove(name).unwrap_or_else(|| Ok(PriceSeries::new())) {
                Ok(series) => {
                    let found = self.windows(entity, series)?;
                    rows += found.windows.len();
                    pending.push(found);
                }
                Err(error) => {
                    let reason: Box<str> = error.to_string().into();
                    let failed = || Fate::Failed { rows: 0, reason: reason.clone() };
                    self.entries.extend(job.days.iter().map(|&day| Entry { entity, day, fate: failed() }));
                }
            }
            if rows >= chunk_rows {
                self.write(std::mem::take(&mut pending))?;
                rows = 0;
            }
        }
        self.write(pending)
    }

    /// The windows of one instrument; those that are too short become entries.
    fn windows(&mut self, entity: u32, series: PriceSeries) -> Result<Pending<'a>, Fault> {
        let in_universe = self.job.model.in_universe(self.job.name(entity));
        let rows = EntityRows::new(self.job.model, series, in_universe)?;
        let mut windows = Vec::with_capacity(self.job.days.len());
        for (&day, context) in self.job.days.iter().zip(&self.contexts) {
            match rows.ready(day, context) {
                Ok(ready) => windows.push(Slot { day, ready, there: false }),
                Err(refused) => {
                    let reason = refused.error.to_string().into();
                    let fate = Fate::Failed { rows: refused.rows as u32, reason };
                    self.entries.push(Entry { entity, day, fate });
                }
            }
        }
        Ok(Pending { entity, rows, windows })
    }

    fn write(&mut self, mut pending: Vec<Pending<'a>>) -> Result<(), Fault> {
        let job = self.job;
        pending.retain(|instrument| !instrument.windows.is_empty());
        self.find_existing(&mut pending)?;
        if !job.target.unique() {
            job.target.delete(&self.keys(&pending, |slot| slot.there))?;
        }
        if pending.iter().all(|instrument| instrument.windows.is_empty()) {
            return Ok(());
        }
        let entries = &mut self.entries;
        job.target.insert(&mut ChunkRows { job, pending: &pending, at: (0, 0), entries })?;
        Ok(())
    }

    fn keys(&self, pending: &[Pending<'_>], wanted: impl Fn(&Slot) -> bool) -> Vec<(&'a str, Day)> {
        let mut keys = Vec::new();
        for instrument in pending {
            let name = self.job.name(instrument.entity);
            let slots = instrument.windows.iter().filter(|slot| wanted(slot));
            keys.extend(slots.map(|slot| (name, slot.day)));
        }
        keys
    }

    /// Marks the windows whose key has a row, and drops those whose row stays.
    fn find_existing(&mut self, pending: &mut [Pending<'_>]) -> Result<(), Fault> {
        if self.fresh {
            return Ok(());
        }
        let existing = self.job.target.existing(&self.keys(pending, |_| true))?;
        let mut existing = existing.into_iter();
        let on_existing = self.job.on_existing;
        for Pending { entity, rows, windows } in pending {
            windows.retain_mut(|slot| {
                let Some(found) = existing.next().flatten() else { return true };
                slot.there = true;
                let fate = match on_existing {
                    OnExisting::Skip => Fate::Skipped,
                    OnExisting::Update if found.digest == Some(rows.digest(&slot.ready)) => Fate::Current,
                    _ => return true,
                };
                self.entries.push(Entry { entity: *entity, day: slot.day, fate });
                false
            });
        }
        Ok(())
    }
}

/// The rows of one chunk, instrument by instrument, in key order.
struct ChunkRows<'r, 'a> {
    job: &'r NumericBackfill<'a>,
    pending: &'r [Pending<'a>],
    at: (usize, usize),
    entries: &'r mut Vec<Entry>,
}

impl RowSource for ChunkRows<'_, '_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let (instrument, slot) = loop {
            let Some(instrument) = self.pending.get(self.at.0) else { return Ok(false) };
            match instrument.windows.get(self.at.1) {
                Some(slot) => break (instrument, slot),
                None => self.at = (self.at.0 + 1, 0),
            }
        };
        let (day, window) = (slot.day, &slot.ready);
        self.at.1 += 1;
        let name = self.job.name(instrument.entity);
        let mut non_finite = 0;
        cells.text(0, name);
        cells.date(1, day);
        cells.bytes(2, self.job.model.dim() * 4, |out| {
            instrument.rows.encode(window, out);
            non_finite = simd::count_non_finite(out) as u32;
            Ok(())
        })?;
        cells.int(3, window.rows() as i32);
        cells.int(4, window.padded() as i32);
        cells.date(5, window.last_day());
        cells.uuid(6, instrument.rows.digest(window));
        let vector = Vector { rows: window.rows() as u32, padded: window.padded() as u32, non_finite };
        let fate = if slot.there { Fate::Replaced(vector) } else { Fate::Inserted(vector) };
        self.entries.push(Entry { entity: instrument.entity, day, fate });
        Ok(true)
    }
}
