//! `backfill_numeric_portfolio` and `backfill_numeric_scenario`.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::arguments::{day, required};
use crate::engine::numeric::{Encoder, Recipe, listing};
use crate::engine::vector::{check_dim, write_values};
use crate::engine::{Day, Error};
use crate::pg::backfill::OnExisting;
use crate::pg::backfill::made::{Made, Told, write};
use crate::pg::ffi::array::ItemArray;
use crate::pg::ffi::interrupts;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::spi::numeric_rows::NumericTarget;
use crate::pg::spi::relation::Relation;
use crate::pg::spi::reports::{self, PATH_COLUMNS, REPORT_COLUMNS, SET_COLUMNS};

type Rows =
    TableIterator<'static, (String, Date, String, &'static str, Option<i32>, Option<i32>, Option<String>)>;

/// Components of a model's vectors of listed numbers; None: as many as there are numbers.
fn listed_dim(model_id: &str) -> Result<Option<usize>, Fault> {
    match &*models::numeric_spec(model_id)? {
        Recipe::Window(spec) if spec.encoder == Encoder::PadToDim => Ok(spec.dim),
        Recipe::Window(_) => Ok(None),
        _ => {
            let problem = format!("model \"{model_id}\" encodes price windows, not lists of numbers");
            Err(Error::InvalidSpec { key: "encoder".to_owned(), problem }.into())
        }
    }
}

/// The first `dim` values as a stored vector, zeros behind them.
fn stored(values: &[f32], dim: Option<usize>) -> Result<Vec<u8>, Error> {
    let dim = dim.unwrap_or(values.len());
    check_dim(dim)?;
    let mut out = vec![0; dim * 4];
    write_values(values.iter().copied(), &mut out);
    Ok(out)
}

/// A limit, or none. Errors: [`Error::OutOfRange`] below 1.
pub fn limit(max_entities: Option<i32>) -> Result<Option<i64>, Fault> {
    match max_entities {
        Some(value) if value < 1 => {
            let (min, max) = (1, i32::MAX.into());
            Err(Error::OutOfRange { name: "max_entities", value: value.into(), min, max }.into())
        }
        // One more, to know whether there are more.
        limit => Ok(limit.map(|limit| i64::from(limit) + 1)),
    }
}

/// Cuts what lies beyond the limit, and says so.
pub fn cut<T>(items: &mut Vec<T>, max_entities: Option<i32>, what: &str) {
    if let Some(max) = max_entities.filter(|max| items.len() > *max as usize) {
        items.truncate(max as usize);
        notice!("stopped at max_entities => {max}: there are more {what}; max_entities => NULL takes all");
    }
}

fn rows(told: Vec<Told>, day: Day, model_id: &str) -> Rows {
    let (date, model_id) = (Date::saturating_from_raw(day.0), model_id.to_owned());
    TableIterator::new(told.into_iter().map(move |told| {
        (told.entity, date, model_id.clone(), told.status, told.dim, told.values, told.detail)
    }))
}

/// Computes and stores the vectors of portfolios at one date from their risk reports.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_numeric_portfolio(
    as_of: Option<Date>,
    portfolio_ids: default!(Option<ItemArray<'_, str>>, "NULL"),
    max_entities: default!(Option<i32>, 100),
    model_id: default!(Option<&str>, "'num-portfolio-core-v1'"),
    on_existing: default!(Option<&str>, "'replace'"),
    reports: default!(Option<Regclass>, "pg_catalog.to_regclass('portfolio_risk_reports')"),
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
    let on_existing = OnExisting::parse_plain(required(on_existing, "on_existing")?)?;
    let dim = listed_dim(model_id)?;
    let row_limit = limit(max_entities)?;
    let source = Relation::open(reports, "reports", "portfolio_risk_reports", &REPORT_COLUMNS)?;
    let target = NumericTarget::open(target, "PORTFOLIO", model_id, 1)?;
    let named = names(portfolio_ids, "portfolio_ids")?;
    let mut found = reports::at(&source, as_of, named.as_deref(), row_limit)?;
    cut(&mut found, max_entities, "portfolios");
    let mut made: Vec<Made> = found.iter().map(|report| portfolio(report, dim)).collect();
    if max_entities.is_none_or(|max| made.len() < max as usize) {
        let mut absent = named.unwrap_or_default();
        let found: HashSet<&str> = found.iter().map(|report| report.portfolio_id.as_str()).collect();
        absent.retain(|name| !found.contains(name.as_str()));
        let reason = format!("no risk report at {as_of}");
        made.extend(absent.into_iter().map(|entity| failed(entity, 0, reason.clone())));
        made.sort_by(|a, b| a.entity.cmp(&b.entity));
    }
    Ok(rows(write(made, as_of, &target, on_existing)?, as_of, model_id))
}

/// Names given, sorted by bytes, each once.
pub fn names(
    given: Option<ItemArray<'_, str>>,
    argument: &'static str,
) -> Result<Option<Vec<String>>, Fault> {
    let Some(given) = given else { return Ok(None) };
    let mut names: Vec<String> = given.values(argument)?.into_iter().map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(Some(names))
}

fn failed(entity: String, values: usize, reason: String) -> Made {
    Made { entity, values, vector: Err(reason), note: None }
}

fn portfolio(report: &reports::Report, dim: Option<usize>) -> Made {
    interrupts::check();
    let entity = report.portfolio_id.clone();
    if let Some(trouble) = &report.trouble {
        return failed(entity, 0, format!("{trouble}, not an object"));
    }
    let values = match listing::json_numbers(&report.numbers) {
        Ok(values) if values.is_empty() => return failed(entity, 0, "no number in the report".to_owned()),
        Ok(values) => values,
        Err(error) => return failed(entity, 0, error.to_string()),
    };
    let mut notes = Vec::new();
    if report.reports > 1 {
        notes.push(format!("newest of {} reports", report.reports));
    }
    if let Some(dim) = dim.filter(|dim| values.len() > *dim) {
        notes.push(format!("first {dim} of {} numbers", values.len()));
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    let vector = stored(&values, dim).map_err(|error| error.to_string());
    Made { entity, values: values.len(), vector, note }
}

/// Computes and stores the vectors of the scenarios of a set from their paths.
#[pg_extern(volatile, parallel_unsafe, cost = 100000)]
#[allow(clippy::too_many_arguments)]
pub fn backfill_numeric_scenario(
    scenario_set_id: Option<&str>,
    max_entities: default!(Option<i32>, 100),
    model_id: default!(Option<&str>, "'num-scenario-core-v1'"),
    on_existing: default!(Option<&str>, "'replace'"),
    scenario_sets: default!(Option<Regclass>, "pg_catalog.to_regclass('scenario_sets')"),
    scenario_paths: default!(Option<Regclass>, "pg_catalog.to_regclass('scenario_paths')"),
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
    let set = required(scenario_set_id, "scenario_set_id")?;
    let model_id = required(model_id, "model_id")?;
    let on_existing = OnExisting::parse_plain(required(on_existing, "on_existing")?)?;
    let dim = listed_dim(model_id)?;
    let row_limit = limit(max_entities)?;
    let sets = Relation::open(scenario_sets, "scenario_sets", "scenario_sets", &SET_COLUMNS)?;
    let paths = Relation::open(scenario_paths, "scenario_paths", "scenario_paths", &PATH_COLUMNS)?;
    let about = reports::scenario_set(&sets, set)?;
    let horizon = about.horizon_days;
    if horizon < 1 {
        let (min, max) = (1, i32::MAX.into());
        Err(Error::OutOfRange { name: "horizon_days", value: horizon.into(), min, max })?;
    }
    let target = NumericTarget::open(target, "SCENARIO", model_id, horizon)?;
    let as_of = about.base_day.map_or_else(reports::today, Ok)?;
    let mut scenarios = reports::scenarios(&paths, set, row_limit)?;
    cut(&mut scenarios, max_entities, "scenarios");
    let mut made = panels(&paths, set, &scenarios, horizon, dim)?;
    if about.base_day.is_none() {
        made.iter_mut()
            .for_each(|made| made.note = Some("the set has no base_date_end: dated today".to_owned()));
    }
    Ok(rows(write(made, as_of, &target, on_existing)?, as_of, model_id))
}

fn panels(
    paths: &Relation,
    set: &str,
    scenarios: &[reports::Scenario],
    horizon: i32,
    dim: Option<usize>,
) -> Result<Vec<Made>, Fault> {
    let whole = |scenario: &&reports::Scenario| scenario.last.is_some_and(|last| last >= horizon);
    let size = |scenario: &reports::Scenario| scenario.instruments as usize * horizon as usize;
    let complete: Vec<&reports::Scenario> = scenarios.iter().filter(whole).collect();
    let ids: Vec<i32> = complete.iter().map(|scenario| scenario.id).collect();
    let largest = complete.iter().map(|scenario| size(scenario)).max().unwrap_or(1);
    check_dim(dim.unwrap_or(largest))?;
    let mut values: HashMap<i32, Vec<f32>> = HashMap::new();
    for scenario in complete {
        values.insert(scenario.id, vec![0.0; dim.unwrap_or_else(|| size(scenario))]);
    }
    for cell in reports::cells(paths, set, &ids, horizon, dim.unwrap_or(largest))? {
        if let Some(slot) = values.get_mut(&cell.scenario).and_then(|values| values.get_mut(cell.place)) {
            *slot = cell.value as f32;
        }
    }
    Ok(scenarios
        .iter()
        .map(|scenario| {
            interrupts::check();
            let entity = format!("{set}:{}", scenario.id);
            match (values.get(&scenario.id), scenario.last) {
                (Some(values), _) => Made {
                    entity,
                    values: size(scenario),
                    vector: stored(values, dim).map_err(|error| error.to_string()),
                    note: None,
                },
                (None, Some(last)) => failed(entity, 0, format!("paths end at day {last} of {horizon}")),
                (None, None) => failed(entity, 0, "no path of an instrument".to_owned()),
            }
        })
        .collect())
}
