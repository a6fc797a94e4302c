//! Reading prices: one ordered scan per batch of instruments, never one query per instrument.

use pgrx::datum::Date;

use super::extension::schema;
use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::numeric::{NumericSpec, PriceSeries};
use crate::pg::report::Fault;

/// Columns of a price table that a model reads.
pub fn columns(spec: &NumericSpec) -> Vec<&'static str> {
    vec!["instrument_id", "trade_date", spec.price_column.name(), "volume"]
}

/// The series of `instruments` between two days, both included, each in date order; an instrument
/// without rows is absent, and one with a repeated day carries the reason.
pub fn series(
    prices: &Relation,
    spec: &NumericSpec,
    instruments: &[&str],
    from: Day,
    to: Day,
) -> Result<Vec<(String, crate::engine::Result<PriceSeries>)>, Fault> {
    let sql = format!(
        "SELECT p.instrument_id::pg_catalog.text, {schema}.embed_price_series(p.trade_date::pg_catalog.date, \
           p.{price}::pg_catalog.float8, p.volume::pg_catalog.float8) \
         FROM {prices} p WHERE p.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) \
           AND p.trade_date OPERATOR(pg_catalog.>=) $2 AND p.trade_date OPERATOR(pg_catalog.<=) $3 \
         GROUP BY 1",
        schema = schema()?,
        price = spec.price_column.name(),
        prices = prices.sql,
    );
    let names: Vec<String> = instruments.iter().map(|name| (*name).to_owned()).collect();
    select(&sql, &[names.into(), date(from).into(), date(to).into()], |row| {
        let series = PriceSeries::unpack(&required(row.bytes(2)?)?).and_then(|mut series| {
            series.sort()?;
            Ok(series)
        });
        Ok((required(row.text(1)?)?, series))
    })
}

/// The days on which at least one of `instruments` has a price, ascending.
pub fn trading_days(
    prices: &Relation,
    instruments: &[String],
    from: Day,
    to: Day,
) -> Result<Vec<Day>, Fault> {
    let sql = format!(
        "SELECT DISTINCT p.trade_date::pg_catalog.date FROM {} p \
         WHERE p.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) \
           AND p.trade_date OPERATOR(pg_catalog.>=) $2 AND p.trade_date OPERATOR(pg_catalog.<=) $3 \
         ORDER BY 1",
        prices.sql
    );
    let args = [instruments.to_vec().into(), date(from).into(), date(to).into()];
    select(&sql, &args, |row| Ok(Day(required(row.date(1)?)?.to_pg_epoch_days())))
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
