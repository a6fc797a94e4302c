//! What the procedure `backfill_numeric_range` calls: the instruments, the scope of the job, and one batch.
//!
//! The procedure itself, which commits between the batches, is in `sql/32_procedures.sql`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::backfill_numeric::{Arguments, range};
use super::partition::{batch_names, batch_size, part, within};
use crate::pg::backfill::job::{Outcome, Scope, Summary};
use crate::pg::backfill::ledger::{Entry, Fate, Outcomes};
use crate::pg::backfill::market::{self, Market};
use crate::pg::backfill::numeric::{NumericBackfill, entities_at_once};
use crate::pg::backfill::pool::Pool;
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::prices;

/// Checks every argument of a job and lists its instruments, those of all partitions, in byte order.
#[pg_extern(volatile, parallel_unsafe, cost = 1000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_numeric_job_entities(
    start_date: Option<Date>,
    end_date: Option<Date>,
    window_days: Option<i32>,
    market_id: Option<&str>,
    instrument_ids: Option<ItemArray<'_, str>>,
    model_id: Option<&str>,
    max_entities: Option<i32>,
    skip_entities: Option<i32>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
    partition: Option<i32>,
    partitions: Option<i32>,
    batch_entities: Option<i32>,
) -> Result<Vec<String>, ErrorReport> {
    range(start_date, end_date)?;
    let arguments = Arguments {
        window_days,
        market_id,
        instrument_ids,
        model_id,
        max_entities,
        skip_entities,
        on_existing,
        prices,
        instruments,
        target,
    };
    part(partition, partitions)?;
    batch_size(batch_entities)?;
    arguments.open()?.backfill(&[], &[]).check()?;
    Ok(arguments.entities()?)
}

/// What all batches of a job share: how many dates there are, a fingerprint of them and of the instruments, and
/// the whole in packed form.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_numeric_job_scope(
    entities: Option<ItemArray<'_, str>>,
    start_date: Option<Date>,
    end_date: Option<Date>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
) -> Result<TableIterator<'static, (name!(dates, i32), name!(digest, i64), name!(scope, Vec<u8>))>, ErrorReport>
{
    let entities = batch_names(entities)?;
    let (start, end) = (day(start_date, "start_date")?, day(end_date, "end_date")?);
    let opened =
        Arguments { window_days, model_id, on_existing, prices, instruments, target, ..Arguments::default() }
            .open()?;
    let days = prices::trading_days(&opened.prices, &entities, start, end)?;
    let backfill = opened.backfill(&entities, &days);
    let fresh = backfill.is_fresh()?;
    let market = Market::read(&opened.model, &opened.prices, &days, false)?.sums;
    let scope = Scope { days: days.clone(), fresh, market };
    let row = (days.len() as i32, scope.digest(&entities), scope.pack());
    Ok(TableIterator::once(row))
}

/// Reads the prices of the first of `entities`, for how many batches of `batch_entities` as fit into memory: how
/// many instruments these are, and their prices in packed form; none where not even one batch fits.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_numeric_job_read(
    entities: Option<ItemArray<'_, str>>,
    batch_entities: Option<i32>,
    scope: Option<&[u8]>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
) -> Result<TableIterator<'static, (name!(covered, i32), name!(pool, Option<Vec<u8>>))>, ErrorReport> {
    let entities = batch_names(entities)?;
    let batch = within("batch_entities", required(batch_entities, "batch_entities")?, i32::MAX)? as usize;
    let scope = Scope::unpack(required(scope, "scope")?)?;
    let opened =
        Arguments { window_days, model_id, on_existing, prices, instruments, target, ..Arguments::default() }
            .open()?;
    let backfill = opened.backfill(&entities, &scope.days);
    let (Some((from, last)), Some(&first)) = (backfill.prices_between(), scope.days.first()) else {
        return Ok(TableIterator::once((0, None)));
    };
    let fit = entities_at_once(from, last);
    let covered = if fit >= entities.len() { entities.len() } else { fit / batch * batch };
    if covered == 0 {
        return Ok(TableIterator::once((0, None)));
    }
    let entities = &entities[..covered];
    let names: Vec<&str> = entities.iter().map(String::as_str).collect();
    let read = market::packed(&opened.model, &opened.prices, &names, (first, last))?;
    Ok(TableIterator::once((covered as i32, Some(Pool::pack(entities, &read)))))
}

/// Computes and stores the vectors of some instruments at every date of a job's scope, of prices that were read
/// before if there are any; figures and failures.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_numeric_job_step(
    entities: Option<ItemArray<'_, str>>,
    scope: Option<&[u8]>,
    pool: Option<&[u8]>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    instruments: Option<Regclass>,
    target: Option<Regclass>,
) -> Result<pgrx::JsonB, ErrorReport> {
    let entities = batch_names(entities)?;
    let scope = Scope::unpack(required(scope, "scope")?)?;
    let opened =
        Arguments { window_days, model_id, on_existing, prices, instruments, target, ..Arguments::default() }
            .open()?;
    let mut sums = Sums { entities: &entities, summary: Summary::default() };
    let pool = pool.map(Pool::unpack).transpose()?;
    NumericBackfill { pool: pool.as_ref(), ..opened.backfill(&entities, &scope.days) }
        .run(Some(&scope), &mut sums)?;
    Ok(pgrx::JsonB(sums.summary.to_json()))
}

/// The outcomes of a batch, summed up.
struct Sums<'a> {
    entities: &'a [String],
    summary: Summary,
}

impl Outcomes for Sums<'_> {
    fn tell(&mut self, entry: Entry) -> Result<(), Fault> {
        let entity = self.entities.get(entry.entity as usize).map_or("", String::as_str);
        let outcome = match &entry.fate {
            Fate::Inserted(_) => Outcome::Inserted,
            Fate::Replaced(_) => Outcome::Replaced,
            Fate::Skipped | Fate::Current => Outcome::Left,
            Fate::Failed { reason, .. } => Outcome::Failed(reason),
        };
        self.summary.add(entity, entry.day, outcome);
        Ok(())
    }

    fn restart(&mut self) {
        self.summary = Summary::default();
    }
}
