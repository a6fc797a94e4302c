//! `backfill_numeric_profile`: vectors of named features, such as fundamentals, risk reports, behaviour.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use crate::engine::{Day, Error};
use crate::pg::backfill::OnExisting;
use crate::pg::backfill::named::NamedBackfill;
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::spi::named_rows::NamedSource;
use crate::pg::spi::numeric_rows::NumericTarget;
use crate::pg::spi::relation::Relation;

/// Kinds of entities that have named features.
const ENTITY_TYPES: [&str; 4] = ["ISSUER", "COUNTRY", "PORTFOLIO", "INSTRUMENT"];

/// Vectors of named features have no window: they are stored as windows of one day, as the published
/// portfolio vectors are.
const WINDOW_DAYS: i32 = 1;

/// What is returned, as pgrx passes it.
type Rows =
    TableIterator<'static, (String, Date, String, &'static str, Option<i32>, Option<i32>, Option<String>)>;

/// Computes and stores the vector of each entity's newest row up to a date.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_numeric_profile(
    as_of: Option<Date>,
    entity_ids: default!(Option<ItemArray<'_, str>>, "NULL"),
    model_id: default!(Option<&str>, "'num-profile-core-v2'"),
    entity_type: default!(Option<&str>, "'ISSUER'"),
    entity_column: default!(Option<&str>, "'issuer_id'"),
    date_column: default!(Option<&str>, "'as_of_date'"),
    max_age_days: default!(Option<i32>, 400),
    max_entities: default!(Option<i32>, "NULL"),
    on_existing: default!(Option<&str>, "'replace'"),
    source: default!(Option<Regclass>, "pg_catalog.to_regclass('profiles')"),
    target: default!(Option<Regclass>, "pg_catalog.to_regclass('numeric_window_embeddings')"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, String),
            name!(as_of_date, Date),
            name!(model_id, String),
            name!(status, &'static str),
            name!(dim, Option<i32>),
            name!(rows_used, Option<i32>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let as_of = day(as_of, "as_of")?;
    let model_id = required(model_id, "model_id")?;
    let arguments = Arguments {
        on_existing: OnExisting::parse(required(on_existing, "on_existing")?)?,
        entity_type: known_type(required(entity_type, "entity_type")?)?,
        entity_column: required(entity_column, "entity_column")?,
        date_column: required(date_column, "date_column")?,
        max_age_days: not_negative("max_age_days", required(max_age_days, "max_age_days")?)?,
        max_entities,
        entity_ids: entity_ids.as_ref(),
        source,
        target,
    };
    Ok(arguments.run(as_of, model_id)?)
}

/// The arguments that were checked one by one.
struct Arguments<'a> {
    on_existing: OnExisting,
    entity_type: &'static str,
    entity_column: &'a str,
    date_column: &'a str,
    max_age_days: u32,
    max_entities: Option<i32>,
    entity_ids: Option<&'a ItemArray<'a, str>>,
    source: Option<Regclass>,
    target: Option<Regclass>,
}

impl Arguments<'_> {
    fn run(&self, as_of: Day, model_id: &str) -> Result<Rows, Fault> {
        let spec = models::named_spec(model_id)?;
        if let Some(limit) = self.max_entities {
            not_negative("max_entities", limit)?;
        }
        let named: Option<Vec<String>> = match self.entity_ids {
            Some(ids) => Some(ids.values("entity_ids")?.into_iter().map(str::to_owned).collect()),
            None => None,
        };
        let (entity_column, date_column) = (self.entity_column, self.date_column);
        let relation = Relation::open(self.source, "source", "profiles", &[entity_column, date_column])?;
        let columns = spec.columns();
        let known = columns.iter().any(|column| relation.has_column(column));
        if let Some(column) = columns.first().filter(|_| !known) {
            let (relation, column) = (relation.sql.clone(), (*column).to_owned());
            return Err(Fault::MissingColumn { relation, column, argument: "source" });
        }
        let target = NumericTarget::open(self.target, self.entity_type, model_id, WINDOW_DAYS)?;
        let source = NamedSource { relation: &relation, entity_column, date_column, columns };
        let rows = source.newest(as_of, named.as_deref(), self.max_entities)?;
        let run = NamedBackfill {
            spec: &spec,
            rows: &rows,
            as_of,
            max_age_days: self.max_age_days,
            target: &target,
            on_existing: self.on_existing,
        };
        let entries = run.run()?;
        let (dim, model_id) = (spec.dim, model_id.to_owned());
        Ok(TableIterator::new(entries.into_iter().map(move |entry| {
            (
                rows.get(entry.entity as usize).map(|row| row.entity_id.clone()).unwrap_or_default(),
                Date::saturating_from_raw(entry.day.0),
                model_id.clone(),
                entry.status(),
                entry.has_vector().then_some(dim as i32),
                entry.rows_used(),
                entry.detail(dim),
            )
        })))
    }
}

fn known_type(value: &str) -> Result<&'static str, Fault> {
    let found = ENTITY_TYPES.into_iter().find(|known| *known == value);
    found.ok_or_else(|| Fault::InvalidChoice {
        argument: "entity_type",
        value: value.to_owned(),
        allowed: "\"ISSUER\", \"COUNTRY\", \"PORTFOLIO\" and \"INSTRUMENT\"",
    })
}

fn not_negative(name: &'static str, value: i32) -> Result<u32, Fault> {
    let outside = Error::OutOfRange { name, value: value.into(), min: 0, max: i32::MAX.into() };
    u32::try_from(value).map_err(|_| outside.into())
}
