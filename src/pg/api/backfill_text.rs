//! `backfill_profile_text`: vectors of issuer profiles at one date or over a range.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use super::backfill_numeric::range;
use super::partition::part;
use crate::engine::onnx::LoadRequest;
use crate::engine::partition::Part;
use crate::engine::{Day, Error};
use crate::pg::backfill::text::{Entry, OnExisting, TextBackfill};
use crate::pg::ffi::host::Released;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;
use crate::pg::spi::profiles::{self, Wanted};
use crate::pg::spi::relation::Relation;
use crate::pg::spi::text_rows::TextTarget;
use crate::pg::text;

/// What both forms return, as pgrx passes it; SQL sees the columns that each form names.
type Rows = TableIterator<
    'static,
    (String, Date, String, &'static str, Option<i32>, Option<i32>, Option<bool>, Option<String>),
>;

/// The arguments that all forms share.
pub(super) struct Arguments<'a> {
    pub(super) model_id: Option<&'a str>,
    pub(super) on_existing: Option<&'a str>,
    pub(super) profiles: Option<Regclass>,
    pub(super) target: Option<Regclass>,
    pub(super) part: Part,
}

/// What the arguments name, found and checked.
pub(super) struct Opened {
    request: LoadRequest,
    pub(super) profiles: Relation,
    target: TextTarget,
    on_existing: OnExisting,
    part: Part,
}

/// Computes and stores the vectors of the profiles of one date.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::type_complexity, clippy::too_many_arguments)]
pub fn backfill_profile_text(
    as_of: Option<Date>,
    model_id: default!(Option<&str>, "'text-profile-v1'"),
    max_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'update'"),
    profiles: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
    partition: default!(Option<i32>, 1),
    partitions: default!(Option<i32>, 1),
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
    let part = part(partition, partitions)?;
    Ok(Arguments { model_id, on_existing, profiles, target, part }.run(as_of, as_of, max_entities)?)
}

/// Computes and stores the vectors of the profiles of a range of dates.
#[pg_extern(volatile, parallel_unsafe, cost = 1000000, name = "backfill_profile_text")]
#[allow(clippy::type_complexity, clippy::too_many_arguments)]
pub fn backfill_profile_text_days(
    start_date: Option<Date>,
    end_date: Option<Date>,
    model_id: default!(Option<&str>, "'text-profile-v1'"),
    max_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'update'"),
    profiles: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('text_embeddings')"),
    partition: default!(Option<i32>, 1),
    partitions: default!(Option<i32>, 1),
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
    let (start, end) = range(start_date, end_date)?;
    let part = part(partition, partitions)?;
    Ok(Arguments { model_id, on_existing, profiles, target, part }.run(start, end, max_entities)?)
}

/// The argument `max_entities`. Errors: [`Error::OutOfRange`] (22023) below 0.
pub(super) fn not_negative(max_entities: Option<i32>) -> Result<(), Fault> {
    match max_entities.filter(|value| *value < 0) {
        Some(value) => {
            let (name, value) = ("max_entities", value.into());
            Err(Error::OutOfRange { name, value, min: 0, max: i32::MAX.into() }.into())
        }
        None => Ok(()),
    }
}

impl Arguments<'_> {
    /// Finds and checks what the arguments name. Errors: also 25006 in a read-only transaction.
    pub(super) fn open(&self) -> Result<Opened, Fault> {
        let model_id = required(self.model_id, "model_id")?;
        let on_existing = OnExisting::parse(required(self.on_existing, "on_existing")?)?;
        transaction::refuse_read_only();
        let recipe = text::recipe(model_id)?;
        let profiles = Relation::open(self.profiles, "profiles", "profiles", &profiles::COLUMNS)?;
        let target = TextTarget::open(self.target, "PROFILE", model_id, recipe.dim)?;
        let request = text::request(model_id, recipe);
        Ok(Opened { request, profiles, target, on_existing, part: self.part })
    }

    fn run(&self, from: Day, to: Day, limit: Option<i32>) -> Result<Rows, Fault> {
        let model_id = required(self.model_id, "model_id")?.to_owned();
        not_negative(limit)?;
        let opened = self.open()?;
        let dim = opened.request.recipe.dim;
        let rows = opened.run(&Wanted { from, to, issuers: None, limit })?.into_iter().map(move |entry| {
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

impl Opened {
    /// Embeds the profiles that are wanted; one entry per profile.
    pub(super) fn run(&self, wanted: &Wanted<'_>) -> Result<Vec<Entry>, Fault> {
        let Opened { request, profiles, target, on_existing, part } = self;
        TextBackfill { request, profiles, target, on_existing: *on_existing }.run(wanted, *part)
    }
}
