//! The numeric backfill: prices in one scan per batch of instruments, per-day features once per
//! instrument, each window one copy, written by one `INSERT ... SELECT` per chunk of rows.
//!
//! Rows are written date by date within a group of instruments, since the key begins with model and date: the
//! rows of a date are neighbours in its index. Chunks without a row that exists are plain inserts. Neither is
//! safe beside another run over the same keys, which may add one in between or hold what this run waits for in
//! another order. So a run is first tried in a subtransaction; one that meets another is undone, and done again
//! alone, key by key, as upserts.

use std::collections::HashMap;
use std::time::Duration;

use super::OnExisting;
use super::job::Scope;
use super::ledger::{Entry, Fate, Outcomes, Vector};
use super::market::Market;
use super::pool::Pool;
use crate::engine::numeric::pipeline::DayContext;
use crate::engine::numeric::{EntityRows, NumericModel, PriceSeries, Ready, Universe};
use crate::engine::{Day, simd};
use crate::pg::ffi::scratch::scratch;
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::ffi::{interrupts, transaction};
use crate::pg::report::Fault;
use crate::pg::spi::numeric_rows::{Insert, NumericTarget};
use crate::pg::spi::relation::Relation;

/// Price rows held at a time, about: 20 bytes each, some copies of them.
const BATCH_PRICE_ROWS: usize = 400_000;

/// Keys of a group of instruments, about: as many as keep their prices in the processor's cache.
const GROUP_KEYS: usize = 64_000;

/// Embedding rows per statement.
const CHUNK_ROWS: usize = 2_000;

/// Vector bytes per statement: below the default `work_mem`, so that staged rows stay in memory.
const CHUNK_BYTES: usize = 3 << 20;

/// How often a run that met others is tried alone before their deadlock is the caller's.
const TRIES_ALONE: u32 = 3;

/// Wait before each of these tries.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// Prices of the instruments that were read before, if they were.
    pub pool: Option<&'a Pool<'a>>,
}

/// In which order keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Date by date: fast.
    Dates,
    /// Entity by entity: the same for all runs, whatever they are about, so that none waits for another in a
    /// circle.
    Entities,
}

impl<'a> NumericBackfill<'a> {
    /// Computes and writes all keys, and tells their outcomes; `scope`: what was found out before, if it was.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), and whatever reading and writing raise; then nothing is
    /// written. A single entity that cannot be embedded is an outcome, not an error.
    pub fn run(&self, scope: Option<&Scope>, outcomes: &mut dyn Outcomes) -> Result<(), Fault> {
        self.check()?;
        if self.days.is_empty() {
            return Ok(());
        }
        if !self.target.unique() {
            // Appended rows may be there twice.
            if self.on_existing != OnExisting::Append {
                self.target.lock()?;
            }
            return self.pass(scope, Order::Dates, Insert::ByStatement, outcomes);
        }
        let tried = transaction::attempt(|| {
            self.target.share()?;
            let insert = self.target.plan()?;
            self.pass(scope, Order::Dates, insert, outcomes)
        });
        if tried?.is_some() {
            return Ok(());
        }
        for _ in 1..TRIES_ALONE {
            if transaction::attempt(|| self.alone(scope, outcomes))?.is_some() {
                return Ok(());
            }
        }
        self.alone(scope, outcomes)
    }

    /// Once more, key by key, with no other run beside.
    fn alone(&self, scope: Option<&Scope>, outcomes: &mut dyn Outcomes) -> Result<(), Fault> {
        outcomes.restart();
        // Whoever waited for a row of the run that was undone may have it first.
        std::thread::sleep(PAUSE);
        interrupts::check();
        self.target.lock()?;
        self.pass(scope, Order::Entities, Insert::ByStatement, outcomes)
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

    fn pass(
        &self,
        scope: Option<&Scope>,
        order: Order,
        insert: Insert,
        outcomes: &mut dyn Outcomes,
    ) -> Result<(), Fault> {
        let (Some((from, last)), Some(&first)) = (self.prices_between(), self.days.first()) else {
            return Ok(());
        };
        let fresh = match scope {
            _ if order == Order::Entities => false,
            // Without a unique key nothing but the look-up keeps a row that came meanwhile from being doubled.
            Some(scope) => scope.fresh && self.target.unique(),
            None => self.is_fresh()?,
        };
        // What a list names may be other instruments than those asked for: only the whole table's series
        // are sure to hold them.
        let whole = matches!(self.model.universe(), Some(Universe::Prices {}));
        let mut market = match scope {
            Some(scope) => Market::known(scope.market.clone()),
            None => Market::read(self.model, self.prices, self.days, whole)?,
        };
        let members = market.members(self.model, self.prices, (from, last))?;
        let context = |&day: &Day| self.model.day(day, market.sums.as_ref(), &members);
        let contexts = self.days.iter().map(context).collect::<crate::engine::Result<_>>()?;
        let spread = scope.is_some();
        let mut run = Run { job: self, fresh, order, insert, spread, contexts, entries: Vec::new() };
        let batch = entities_at_once(from, last);
        let group = (GROUP_KEYS / self.days.len()).max(1);
        for (number, entities) in self.entities.chunks(batch).enumerate() {
            let names: Vec<&str> = entities.iter().map(String::as_str).collect();
            let mut read = scratch(|| match self.pool {
                Some(pool) => pool.series(&names),
                None => market.take(self.model, self.prices, &names, (first, last)),
            })?;
            for (index, entities) in entities.chunks(group).enumerate() {
                run.group(number * batch + index * group, entities, &mut read)?;
                run.entries.sort_unstable_by_key(|entry| (entry.entity, entry.day));
                run.entries.drain(..).try_for_each(|entry| outcomes.tell(entry))?;
            }
        }
        Ok(())
    }

    fn name(&self, entity: u32) -> &'a str {
        &self.entities[entity as usize]
    }
}

/// An instrument whose prices are at hand.
struct Instrument<'a> {
    entity: u32,
    rows: EntityRows<'a>,
}

/// A window to be written.
struct Slot {
    /// Its instrument, as a place in the group.
    instrument: usize,
    day: Day,
    ready: Ready,
    /// Whether its key has a row.
    there: bool,
}

/// A backfill under way.
struct Run<'a> {
    job: &'a NumericBackfill<'a>,
    /// No key of the run can have a row, or none that matters.
    fresh: bool,
    order: Order,
    insert: Insert,
    /// Whether other runs, over other instruments, are likely to write beside this one.
    spread: bool,
    /// What all vectors of a date share, date by date.
    contexts: Vec<DayContext>,
    /// Outcomes of the group at hand.
    entries: Vec<Entry>,
}

impl<'a> Run<'a> {
    fn group(
        &mut self,
        offset: usize,
        entities: &[String],
        read: &mut HashMap<String, crate::engine::Result<PriceSeries>>,
    ) -> Result<(), Fault> {
        let group = self.prepare(offset, entities, read)?;
        let (instruments, days) = (group.len(), self.job.days.len());
        let chunk_rows = CHUNK_ROWS.min(CHUNK_BYTES / (self.job.model.dim() * 4)).max(1);
        let mut chunk = Vec::with_capacity(chunk_rows);
        let begin = if self.spread { begin(entities, days) } else { 0 };
        for step in 0..instruments * days {
            interrupts::check();
            let (instrument, day) = match self.order {
                Order::Dates => (step % instruments, (begin + step / instruments) % days),
                Order::Entities => (step / days, step % days),
            };
            let Instrument { entity, rows } = &group[instrument];
            let (entity, context, day) = (*entity, &self.contexts[day], self.job.days[day]);
            match rows.ready(day, context) {
                Ok(ready) => chunk.push(Slot { instrument, day, ready, there: false }),
                Err(refused) => {
                    let reason = refused.error.to_string().into();
                    let fate = Fate::Failed { rows: refused.rows as u32, reason };
                    self.entries.push(Entry { entity, day, fate });
                }
            }
            if chunk.len() == chunk_rows {
                scratch(|| self.write(&group, &mut chunk))?;
                chunk.clear();
            }
        }
        scratch(|| self.write(&group, &mut chunk))
    }

    /// The instruments of a group; those whose prices cannot be used become entries.
    fn prepare(
        &mut self,
        offset: usize,
        entities: &[String],
        read: &mut HashMap<String, crate::engine::Result<PriceSeries>>,
    ) -> Result<Vec<Instrument<'a>>, Fault> {
        let job = self.job;
        let mut group = Vec::with_capacity(entities.len());
        for (index, name) in entities.iter().enumerate() {
            interrupts::check();
            let entity = (offset + index) as u32;
            match read.remove(name).unwrap_or_else(|| Ok(PriceSeries::new())) {
                Ok(series) => {
                    let rows = EntityRows::new(job.model, series, job.model.in_universe(name))?;
                    group.push(Instrument { entity, rows });
                }
                Err(error) => {
                    let reason: Box<str> = error.to_string().into();
                    let failed = || Fate::Failed { rows: 0, reason: reason.clone() };
                    self.entries.extend(job.days.iter().map(|&day| Entry { entity, day, fate: failed() }));
                }
            }
        }
        Ok(group)
    }

    fn write(&mut self, group: &[Instrument<'a>], chunk: &mut Vec<Slot>) -> Result<(), Fault> {
        let target = self.job.target;
        self.find_existing(group, chunk)?;
        let there: Vec<&Slot> = chunk.iter().filter(|slot| slot.there).collect();
        let upsert = self.order == Order::Entities || !there.is_empty();
        if !target.unique() {
            target.delete(&self.keys(group, there.into_iter()))?;
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let mut rows = ChunkRows { job: self.job, group, slots: chunk.iter(), entries: &mut self.entries };
        if upsert {
            target.insert(&mut rows)?
        } else {
            target.insert_new(&mut rows, self.insert)?
        };
        Ok(())
    }

    fn keys<'s>(
        &self,
        group: &[Instrument<'a>],
        slots: impl Iterator<Item = &'s Slot>,
    ) -> Vec<(&'a str, Day)> {
        slots.map(|slot| (self.job.name(group[slot.instrument].entity), slot.day)).collect()
    }

    /// Marks the windows whose key has a row, and drops those whose row stays.
    fn find_existing(&mut self, group: &[Instrument<'a>], chunk: &mut Vec<Slot>) -> Result<(), Fault> {
        if self.fresh {
            return Ok(());
        }
        let existing = self.job.target.existing(&self.keys(group, chunk.iter()))?;
        let mut existing = existing.into_iter();
        chunk.retain_mut(|slot| {
            let Some(found) = existing.next().flatten() else { return true };
            slot.there = true;
            let Instrument { entity, rows } = &group[slot.instrument];
            let fate = match self.job.on_existing {
                OnExisting::Skip => Fate::Skipped,
                OnExisting::Update if found.digest == Some(rows.digest(&slot.ready)) => Fate::Current,
                _ => return true,
            };
            self.entries.push(Entry { entity: *entity, day: slot.day, fate });
            false
        });
        Ok(())
    }
}

/// Instruments whose prices between two days are held at a time.
pub fn entities_at_once(from: Day, to: Day) -> usize {
    // Five trading days of seven, and some room for short spans.
    let rows_each = (to.0.abs_diff(from.0) as usize) * 5 / 7 + 5;
    (BATCH_PRICE_ROWS / rows_each).max(1)
}

/// The date that a group begins with, as a place among `days`: runs side by side would wait for each other's pages
/// of the index if all were at the same date.
fn begin(group: &[String], days: usize) -> usize {
    let hash = group.first().map_or(0, |name| xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    (hash % days.max(1) as u64) as usize
}

/// The rows of one chunk.
struct ChunkRows<'r, 'a> {
    job: &'r NumericBackfill<'a>,
    group: &'r [Instrument<'a>],
    slots: std::slice::Iter<'r, Slot>,
    entries: &'r mut Vec<Entry>,
}

impl RowSource for ChunkRows<'_, '_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let Some(slot) = self.slots.next() else { return Ok(false) };
        let (instrument, day, window) = (&self.group[slot.instrument], slot.day, &slot.ready);
        let mut non_finite = 0;
        cells.text(0, self.job.name(instrument.entity));
        cells.date(1, day);
        cells.bytes(2, self.job.model.dim() * 4, |out| {
            instrument.rows.encode(window, out);
            if !instrument.rows.is_finite(window) {
                non_finite = simd::count_non_finite(out) as u32;
            }
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
