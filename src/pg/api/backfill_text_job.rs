//! What the procedure `backfill_profile_text_range` calls: the issuers of a job, and one batch of them.
//!
//! The procedure itself, which commits between the batches, is in `sql/32_procedures.sql`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::backfill_numeric::range;
use super::backfill_text::{Arguments, not_negative};
use super::partition::{batch_names, batch_size, part};
use crate::pg::backfill::job::{Listing, Outcome, Summary};
use crate::pg::backfill::text::Entry;
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::host;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::spi::profiles::{self, Wanted};

/// Checks every argument of a job and lists the issuers of its part, in byte order, with the number of their
/// profiles and a fingerprint of both.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_text_job_entities(
    start_date: Option<Date>,
    end_date: Option<Date>,
    model_id: Option<&str>,
    max_entities: Option<i32>,
    on_existing: Option<&str>,
    profiles: Option<Regclass>,
    target: Option<Regclass>,
    partition: Option<i32>,
    partitions: Option<i32>,
    batch_entities: Option<i32>,
) -> Result<
    TableIterator<'static, (name!(entities, Vec<String>), name!(total, i64), name!(digest, i64))>,
    ErrorReport,
> {
    let days = range(start_date, end_date)?;
    not_negative(max_entities)?;
    let part = part(partition, partitions)?;
    batch_size(batch_entities)?;
    let opened = Arguments { model_id, on_existing, profiles, target, part }.open()?;
    let listing = Listing::of(profiles::issuers(&opened.profiles, days, max_entities, part)?);
    Ok(TableIterator::once((listing.entities, listing.total, listing.digest)))
}

/// Computes and stores the vectors of some issuers' profiles; figures and failures.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000)]
#[allow(clippy::too_many_arguments)]
pub fn embed_text_job_step(
    entities: Option<ItemArray<'_, str>>,
    start_date: Option<Date>,
    end_date: Option<Date>,
    model_id: Option<&str>,
    on_existing: Option<&str>,
    profiles: Option<Regclass>,
    target: Option<Regclass>,
    partition: Option<i32>,
    partitions: Option<i32>,
) -> Result<pgrx::JsonB, ErrorReport> {
    let issuers = batch_names(entities)?;
    let (from, to) = range(start_date, end_date)?;
    let part = part(partition, partitions)?;
    let opened = Arguments { model_id, on_existing, profiles, target, part }.open()?;
    let wanted = Wanted { from, to, issuers: Some(&issuers), limit: None };
    let mut entries = opened.run(&wanted)?;
    entries.sort_unstable_by(|a, b| (&a.issuer_id, a.day).cmp(&(&b.issuer_id, b.day)));
    let outcomes = entries.iter().map(|entry| (entry.issuer_id.as_str(), entry.day, outcome(entry)));
    let summary = Summary::of(outcomes).to_json();
    drop(entries);
    host::release_memory();
    Ok(pgrx::JsonB(summary))
}

fn outcome(entry: &Entry) -> Outcome<'_> {
    match entry.status {
        "inserted" => Outcome::Inserted,
        "replaced" => Outcome::Replaced,
        "failed" => Outcome::Failed(entry.detail.as_deref().unwrap_or_default()),
        _ => Outcome::Left,
    }
}
