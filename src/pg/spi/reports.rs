//! Reading risk reports and scenario paths: numbers as text, in the published order.

use pgrx::datum::Date;

use super::query::{required, select, select_first};
use super::relation::Relation;
use crate::engine::Day;
use crate::pg::report::{Fault, JointFault};

/// Columns of a risk report that are read.
pub const REPORT_COLUMNS: [&str; 5] =
    ["portfolio_id", "as_of_date", "risk_metrics", "exposures_by_sector", "exposures_by_factor"];

/// Columns of a scenario set that are read.
pub const SET_COLUMNS: [&str; 3] = ["scenario_set_id", "horizon_days", "base_date_end"];

/// Columns of scenario paths that are read.
pub const PATH_COLUMNS: [&str; 5] =
    ["scenario_set_id", "scenario_id", "horizon_index", "instrument_id", "return_value"];

/// The newest risk report of a portfolio at a date.
#[derive(Debug)]
pub struct Report {
    /// The portfolio.
    pub portfolio_id: String,
    /// Numbers and booleans of its three objects in code-point order of their keys, comma-separated.
    pub numbers: String,
    /// Which of the objects are no objects.
    pub trouble: Option<String>,
    /// Reports of that portfolio and date.
    pub reports: i32,
}

/// The reports at one day, in byte order of the portfolios; at most `limit`.
pub fn at(
    reports: &Relation,
    day: Day,
    portfolio_ids: Option<&[String]>,
    limit: Option<i64>,
) -> Result<Vec<Report>, Fault> {
    let newest: String = ["created_at", "report_id"]
        .iter()
        .filter(|name| reports.has_column(name))
        .map(|name| format!(", p.{name} DESC NULLS LAST"))
        .collect();
    // The keys' order is that of their UTF-8 bytes, which is that of their code points. Null, zero, false and
    // empty values stand for an empty object, as in the published system.
    let sql = format!(
        "SELECT p.id, f.numbers, f.trouble, p.reports FROM ( \
           SELECT DISTINCT ON (p.portfolio_id::pg_catalog.text COLLATE \"C\") \
             p.portfolio_id::pg_catalog.text COLLATE \"C\" AS id, p.risk_metrics, p.exposures_by_sector, p.exposures_by_factor, \
             (pg_catalog.count(*) OVER (PARTITION BY p.portfolio_id))::pg_catalog.int4 AS reports \
           FROM {reports} p WHERE p.as_of_date OPERATOR(pg_catalog.=) $1 \
             AND ($2::pg_catalog.text[] IS NULL OR p.portfolio_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2)) \
           ORDER BY p.portfolio_id::pg_catalog.text COLLATE \"C\"{newest} LIMIT $3) p, \
         LATERAL (SELECT \
             pg_catalog.string_agg(e.value::pg_catalog.text, ',' ORDER BY o.part, e.key COLLATE \"C\") AS numbers, \
             (SELECT pg_catalog.string_agg(b.name OPERATOR(pg_catalog.||) ' is of JSON type ' \
                       OPERATOR(pg_catalog.||) pg_catalog.jsonb_typeof(b.value), ', ' ORDER BY b.part) \
                FROM (VALUES (1, 'risk_metrics', p.risk_metrics::pg_catalog.jsonb), \
                             (2, 'exposures_by_sector', p.exposures_by_sector::pg_catalog.jsonb), \
                             (3, 'exposures_by_factor', p.exposures_by_factor::pg_catalog.jsonb)) b(part, name, value) \
               WHERE pg_catalog.jsonb_typeof(b.value) OPERATOR(pg_catalog.<>) 'object' \
                 AND b.value OPERATOR(pg_catalog.<>) ALL (ARRAY['null', '0', 'false', '[]', '\"\"']::pg_catalog.jsonb[])) AS trouble \
           FROM (VALUES (1, p.risk_metrics::pg_catalog.jsonb), (2, p.exposures_by_sector::pg_catalog.jsonb), \
                        (3, p.exposures_by_factor::pg_catalog.jsonb)) o(part, value), \
                LATERAL pg_catalog.jsonb_each(CASE WHEN pg_catalog.jsonb_typeof(o.value) OPERATOR(pg_catalog.=) 'object' \
                                                   THEN o.value ELSE '{{}}' END) e(key, value) \
          WHERE pg_catalog.jsonb_typeof(e.value) OPERATOR(pg_catalog.=) ANY ('{{number,boolean}}')) f \
         ORDER BY p.id",
        reports = reports.sql,
    );
    let ids = portfolio_ids.map(<[String]>::to_vec);
    select(&sql, &[date(day).into(), ids.into(), limit.into()], |row| {
        Ok(Report {
            portfolio_id: required(row.text(1)?)?,
            numbers: row.text(2)?.unwrap_or_default(),
            trouble: row.text(3)?,
            reports: required(row.int(4)?)?,
        })
    })
}

/// A scenario set: its horizon and base date.
#[derive(Debug, Clone, Copy)]
pub struct ScenarioSet {
    /// Days of a path.
    pub horizon_days: i32,
    /// The date it starts from.
    pub base_day: Option<Day>,
}

/// A scenario set by its id. Errors: [`JointFault::UnknownScenarioSet`].
pub fn scenario_set(sets: &Relation, id: &str) -> Result<ScenarioSet, Fault> {
    find_scenario_set(sets, id)?.ok_or_else(|| match known_sets(sets) {
        Ok(known) => JointFault::UnknownScenarioSet { id: id.to_owned(), known }.into(),
        Err(fault) => fault,
    })
}

/// A scenario set by its id, if it is there.
pub fn find_scenario_set(sets: &Relation, id: &str) -> Result<Option<ScenarioSet>, Fault> {
    let sql = format!(
        "SELECT s.horizon_days::pg_catalog.int4, s.base_date_end::pg_catalog.date FROM {} s \
         WHERE s.scenario_set_id::pg_catalog.text OPERATOR(pg_catalog.=) $1",
        sets.sql
    );
    select_first(&sql, &[id.into()], |row| {
        let base_day = row.date(2)?.filter(Date::is_finite).map(|date| Day(date.to_pg_epoch_days()));
        Ok(ScenarioSet { horizon_days: required(row.int(1)?)?, base_day })
    })
}

fn known_sets(sets: &Relation) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT s.scenario_set_id::pg_catalog.text COLLATE \"C\" FROM {} s ORDER BY 1 LIMIT 10",
        sets.sql
    );
    select(&sql, &[], |row| required(row.text(1)?))
}

/// The server's current date.
pub fn today() -> Result<Day, Fault> {
    let found = select_first("SELECT CURRENT_DATE", &[], |row| required(row.date(1)?))?;
    Ok(Day(required(found)?.to_pg_epoch_days()))
}

/// What is known of a scenario before its cells are read.
#[derive(Debug)]
pub struct Scenario {
    /// Its number.
    pub id: i32,
    /// Last day that it has.
    pub last: Option<i32>,
    /// Instruments that it names.
    pub instruments: i32,
}

/// The scenarios of a set, by number; at most `limit`.
pub fn scenarios(paths: &Relation, set: &str, limit: Option<i64>) -> Result<Vec<Scenario>, Fault> {
    let sql = format!(
        "SELECT p.scenario_id::pg_catalog.int4, \
           (pg_catalog.max(p.horizon_index) FILTER (WHERE p.instrument_id IS NOT NULL))::pg_catalog.int4, \
           pg_catalog.count(DISTINCT p.instrument_id::pg_catalog.text COLLATE \"C\")::pg_catalog.int4 \
         FROM {} p WHERE p.scenario_set_id::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
         GROUP BY 1 ORDER BY 1 LIMIT $2",
        paths.sql
    );
    select(&sql, &[set.into(), limit.into()], |row| {
        Ok(Scenario { id: required(row.int(1)?)?, last: row.int(2)?, instruments: required(row.int(3)?)? })
    })
}

/// A return at its place in the flattened panel.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Number of the scenario.
    pub scenario: i32,
    /// Place: day by day, instruments in order of their first appearance, then in byte order.
    pub place: usize,
    /// The return.
    pub value: f64,
}

/// The cells of some scenarios with a place below `dim`, by scenario and place.
pub fn cells(paths: &Relation, set: &str, ids: &[i32], horizon: i32, dim: usize) -> Result<Vec<Cell>, Fault> {
    let last: String = ["factor_id", "macro_id"]
        .iter()
        .filter(|name| paths.has_column(name))
        .map(|name| format!(", p.{name}::pg_catalog.text COLLATE \"C\""))
        .collect();
    let place = "(p.h OPERATOR(pg_catalog.-) 1)::pg_catalog.int8 OPERATOR(pg_catalog.*) c.n OPERATOR(pg_catalog.+) c.j";
    let sql = format!(
        "WITH p AS MATERIALIZED (SELECT p.scenario_id::pg_catalog.int4 AS s, p.horizon_index::pg_catalog.int4 AS h, \
             p.instrument_id::pg_catalog.text COLLATE \"C\" AS i, p.return_value::pg_catalog.float8 AS v, \
             pg_catalog.row_number() OVER (PARTITION BY p.scenario_id, p.horizon_index, p.instrument_id \
               ORDER BY p.scenario_id{last}) AS again \
           FROM {paths} p WHERE p.scenario_set_id::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
             AND p.scenario_id OPERATOR(pg_catalog.=) ANY ($2) AND p.instrument_id IS NOT NULL), \
         c AS (SELECT p.s, p.i, pg_catalog.row_number() OVER (PARTITION BY p.s ORDER BY pg_catalog.min(p.h), p.i) \
                 OPERATOR(pg_catalog.-) 1 AS j, pg_catalog.count(*) OVER (PARTITION BY p.s) AS n FROM p GROUP BY p.s, p.i) \
         SELECT p.s, ({place})::pg_catalog.int4, p.v \
         FROM p JOIN c ON c.s OPERATOR(pg_catalog.=) p.s AND c.i OPERATOR(pg_catalog.=) p.i \
         WHERE p.h OPERATOR(pg_catalog.>=) 1 AND p.h OPERATOR(pg_catalog.<=) $3 AND p.v IS NOT NULL \
           AND {place} OPERATOR(pg_catalog.<) $4 ORDER BY 1, 2, p.again",
        paths = paths.sql,
    );
    let args = [set.into(), ids.to_vec().into(), horizon.into(), (dim as i64).into()];
    select(&sql, &args, |row| {
        Ok(Cell {
            scenario: required(row.int(1)?)?,
            place: required(row.int(2)?)? as usize,
            value: required(row.float(3)?)?,
        })
    })
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
