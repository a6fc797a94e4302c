//! `backfill_profile_text`: vectors of issuer profiles at one date or over a range.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use crate::engine::Day;
use crate::pg::backfill::text::{OnExisting, TextBackfill};
use crate::pg::ffi::host::Released;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;
use crate::pg::spi::profiles;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::text_rows::TextTarget;
use crate::pg::text;

/// What both forms return, as pgrx passes it; SQL sees the columns that each form names.
type Rows = TableIterator<
    'static,
    (String, Date, String, &'static str, Option<i32>, Option<i32>, Option<bool>, Option<String>),
>;

/// The arguments that both forms share.
struct Arguments<'a> {
    model_id: Option<&'a str>,
    max_entities: Option<i32>,
    on_existing: Option<&'a str>,
    profiles: Option<Regclass>,
    target: Option<Regclass>,
}

/// Computes and stores the vectors of the profiles of one date.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::type_complexity)]
pub fn backfill_profile_text(
    as_of: Option<Date>,
    model_id: default!(Option<&str>, "'text-profile-v1'"),
    max_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'update'"),
    profiles: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, String),
            name!(as_of_date, Date),
            name!(model_id, String),
            name!(status, &'static str),
            name!(dim, Option<i32>),
            name!(tokens, Option<i32>),
            name!(truncated, Option<bool>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let as_of = day(as_of, "as_of")?;
    Ok(Arguments { model_id, max_entities, on_existing, profiles, target }.run(as_of, as_of)?)
}

/// Computes and stores the vectors of the profiles of a range of dates.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000, name = "backfill_profile_text")]
#[allow(clippy::type_complexity)]
pub fn backfill_profile_text_days(
    start_date: Option<Date>,
    end_date: Option<Date>,
    model_id: default!(Option<&str>, "'text-profile-v1'"),
    max_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'update'"),
    profiles: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, String),
            name!(as_of_date, Date),
            name!(model_id, String),
            name!(status, &'static str),
            name!(dim, Option<i32>),
            name!(tokens, Option<i32>),
            name!(truncated, Option<bool>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (start, end) = (day(start_date, "start_date")?, day(end_date, "end_date")?);
    if end < start {
        Err(Fault::EmptyRange { start: start.to_string(), end: end.to_string() })?;
    }
    Ok(Arguments { model_id, max_entities, on_existing, profiles, target }.run(start, end)?)
}

impl Arguments<'_> {
    fn run(&self, from: Day, to: Day) -> Result<Rows, Fault> {
        let model_id = required(self.model_id, "model_id")?;
        let on_existing = OnExisting::parse(required(self.on_existing, "on_existing")?)?;
        if let Some(value) = self.max_entities.filter(|value| *value < 0) {
            Err(crate::engine::Error::OutOfRange {
                name: "max_entities",
                value: value.into(),
                min: 0,
                max: i32::MAX.into(),
            })?;
        }
        transaction::refuse_read_only();
        let recipe = text::recipe(model_id)?;
        let dim = recipe.dim;
        let profiles = Relation::open(self.profiles, "profiles", "profiles", &profiles::COLUMNS)?;
        let target = TextTarget::open(self.target, "PROFILE", model_id, dim)?;
        let request = text::request(model_id, recipe);
        let run = TextBackfill { request: &request, profiles: &profiles, target: &target, on_existing };
        let entries = run.run(from, to, self.max_entities)?;
        let model_id = model_id.to_owned();
        let rows = entries.into_iter().map(move |entry| {
            let has_vector = matches!(entry.status, "inserted" | "replaced" | "unchanged");
            (
                entry.issuer_id,
                Date::saturating_from_raw(entry.day.0),
                model_id.clone(),
                entry.status,
                has_vector.then_some(dim as i32),
                entry.tokens,
                entry.truncated,
                entry.detail,
            )
        });
        Ok(TableIterator::new(Released::after(rows)))
    }
}
