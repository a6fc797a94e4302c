//! What the procedure `backfill_numeric_range` calls: the instruments, the scope of the job, and one batch.
//!
//! The procedure itself, which commits between the batches, is in `sql/32_procedures.sql`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::backfill_numeric::{Arguments, range};
use crate::engine::{Error, partition};
use crate::pg::backfill::job::{Failure, Scope, Summary};
use crate::pg::backfill::market::Market;
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::prices;

/// Which of `partitions` parts an entity belongs to, from 1 to `partitions`.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_partition(entity_id: &str, partitions: i32) -> Result<i32, ErrorReport> {
    Ok(partition::of(entity_id, part_count(partitions)?) as i32)
}

fn part_count(partitions: i32) -> Result<u32, Fault> {
    u32::try_from(partitions).ok().filter(|count| *count > 0).ok_or_else(|| {
        Error::OutOfRange { name: "partitions", value: partitions.into(), min: 1, max: i32::MAX.into() }
            .into()
    })
}

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
    let parts = required(partitions, "partitions")?;
    part_count(parts)?;
    within("partition", required(partition, "partition")?, parts)?;
    batch_entities.map_or(Ok(()), |size| within("batch_entities", size, i32::MAX))?;
    arguments.open()?.backfill(&[], &[]).check()?;
    Ok(arguments.entities()?)
}

fn within(name: &'static str, value: i32, max: i32) -> Result<(), Fault> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::OutOfRange { name, value: value.into(), min: 1, max: max.into() }.into())
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
    target: Option<Regclass>,
) -> Result<TableIterator<'static, (name!(dates, i32), name!(digest, i64), name!(scope, Vec<u8>))>, ErrorReport>
{
    let entities = names(entities)?;
    let (start, end) = (day(start_date, "start_date")?, day(end_date, "end_date")?);
    let opened =
        Arguments { window_days, model_id, on_existing, prices, target, ..Arguments::default() }.open()?;
    let days = prices::trading_days(&opened.prices, &entities, start, end)?;
    let backfill = opened.backfill(&entities, &days);
    let fresh = backfill.is_fresh()?;
    let market = match backfill.prices_between() {
        Some(range) => Market::read(&opened.model, &opened.prices, range, false)?.sums,
        None => None,
    };
    let scope = Scope { days: days.clone(), fresh, market };
    let row = (days.len() as i32, scope.digest(&entities), scope.pack());
    Ok(TableIterator::once(row))
}

/// Computes and stores the vectors of some instruments at every date of a job's scope; figures and failures.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_numeric_job_step(
    entities: Option<ItemArray<'_, str>>,
    scope: Option<&[u8]>,
    window_days: Option<i32>,
    model_id: Option<&str>,
    on_existing: Option<&str>,
    prices: Option<Regclass>,
    target: Option<Regclass>,
) -> Result<pgrx::JsonB, ErrorReport> {
    let entities = names(entities)?;
    let scope = Scope::unpack(required(scope, "scope")?)?;
    let opened =
        Arguments { window_days, model_id, on_existing, prices, target, ..Arguments::default() }.open()?;
    let backfill = opened.backfill(&entities, &scope.days);
    backfill.check()?;
    backfill.lock()?;
    // Without a unique key nothing but the look-up keeps a row that came meanwhile from being doubled.
    let fresh = scope.fresh && opened.target.unique();
    let entries = backfill.run_with(Market { sums: scope.market, series: None }, fresh)?;
    let summary = Summary::of(entries, &scope.days);
    Ok(pgrx::JsonB(as_json(&summary, &entities)))
}

fn names(entities: Option<ItemArray<'_, str>>) -> Result<Vec<String>, Fault> {
    let entities = required(entities, "entities")?;
    Ok(entities.values("entities")?.into_iter().map(str::to_owned).collect())
}

fn as_json(summary: &Summary, entities: &[String]) -> serde_json::Value {
    let failure = |failure: &Failure| {
        serde_json::json!({
            "entity_id": entities.get(failure.entity as usize),
            "first_date": failure.first.to_string(),
            "last_date": failure.last.to_string(),
            "dates": failure.dates,
            "detail": failure.reason,
        })
    };
    serde_json::json!({
        "inserted": summary.inserted,
        "replaced": summary.replaced,
        "skipped": summary.skipped,
        "failed": summary.failed,
        "failures": summary.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}
