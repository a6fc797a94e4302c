//! Reading prices: one ordered scan per batch of instruments, never one query per instrument.

use pgrx::datum::{Date, DatumWithOid};

use super::extension::schema;
use super::query::{required, select, select_first};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::numeric::{MarketSums, PriceColumn, PriceSeries, Universe};
use crate::pg::ffi::row::Row;
use crate::pg::report::Fault;

/// An instrument's id and its series, or why it has none.
pub type Named = (String, crate::engine::Result<PriceSeries>);

/// Columns of a price table that a model reads.
pub fn columns(price: PriceColumn) -> Vec<&'static str> {
    let mut columns = vec!["instrument_id", "trade_date", price.name(), "volume"];
    if price == PriceColumn::AdjustedBoth {
        columns.push("close");
    }
    columns
}

/// What the series of a price are packed from: date, price, volume, and the close that the volume belongs to
/// where it has to be brought to the price's unit.
fn packing(price: PriceColumn) -> String {
    let (name, close) = match price {
        PriceColumn::Close | PriceColumn::AdjustedClose => (price.name(), ""),
        PriceColumn::AdjustedBoth => (price.name(), ", p.close::pg_catalog.float8"),
    };
    format!(
        "embed_price_series(p.trade_date::pg_catalog.date, p.{name}::pg_catalog.float8, \
           p.volume::pg_catalog.float8{close})"
    )
}

/// The series of `instruments` between two days, both included, each in date order; an instrument
/// without rows is absent, and one with a repeated day carries the reason.
pub fn series(
    prices: &Relation,
    price: PriceColumn,
    instruments: &[&str],
    from: Day,
    to: Day,
) -> Result<Vec<Named>, Fault> {
    let named = |(name, packed): (String, Vec<u8>)| (name, PriceSeries::unpack_sorted(&packed));
    Ok(packed(prices, price, instruments, from, to)?.into_iter().map(named).collect())
}

/// The same, as they come: packed, in any order.
pub fn packed(
    prices: &Relation,
    price: PriceColumn,
    instruments: &[&str],
    from: Day,
    to: Day,
) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let sql = format!(
        "SELECT p.instrument_id::pg_catalog.text, {schema}.{packed} \
         FROM {prices} p WHERE p.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) \
           AND p.trade_date OPERATOR(pg_catalog.>=) $2 AND p.trade_date OPERATOR(pg_catalog.<=) $3 \
         GROUP BY 1",
        schema = schema()?,
        packed = packing(price),
        prices = prices.sql,
    );
    let names: Vec<String> = instruments.iter().map(|name| (*name).to_owned()).collect();
    // Of an instrument whose prices are all NULL there is no series.
    let read = |row: &Row<'_>| Ok(row.text(1)?.zip(row.bytes(2)?));
    let found = select(&sql, &[names.into(), date(from).into(), date(to).into()], read)?;
    Ok(found.into_iter().flatten().collect())
}

/// The market's sums of a universe between two days, both included. An instrument with a repeated day
/// takes no part.
pub fn market(
    prices: &Relation,
    price: PriceColumn,
    universe: &Universe,
    max_gap_days: u32,
    range: (Day, Day),
) -> Result<MarketSums, Fault> {
    let (series, mut args) = universe_query(prices, price, universe, range)?;
    args.push((max_gap_days as i32).into());
    let sql = format!("SELECT {}.embed_market_sums(s.series, ${}) FROM ({series}) s", schema()?, args.len());
    let packed = select(&sql, &args, |row| row.bytes(1))?.into_iter().next().flatten();
    packed.map_or_else(|| Ok(MarketSums::new()), |bytes| Ok(MarketSums::unpack(&bytes)?))
}

/// The series of every instrument of a universe between two days, as [`series`] returns them.
pub fn of_universe(
    prices: &Relation,
    price: PriceColumn,
    universe: &Universe,
    range: (Day, Day),
) -> Result<Vec<Named>, Fault> {
    let (sql, args) = universe_query(prices, price, universe, range)?;
    let read = |row: &Row<'_>| {
        Ok(row.text(1)?.zip(row.bytes(2)?).map(|(name, packed)| (name, PriceSeries::unpack_sorted(&packed))))
    };
    Ok(select(&sql, &args, read)?.into_iter().flatten().collect())
}

/// Whether the whole price table is known to have at most `rows` rows.
pub fn is_smaller_than(prices: &Relation, rows: f32) -> Result<bool, Fault> {
    let sql = "SELECT 'yes'::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $1 \
               AND c.reltuples OPERATOR(pg_catalog.>) 0 AND c.reltuples OPERATOR(pg_catalog.<=) $2";
    Ok(select_first(sql, &[prices.oid.into(), rows.into()], |row| row.text(1))?.is_some())
}

fn universe_query<'a>(
    prices: &Relation,
    price: PriceColumn,
    universe: &Universe,
    (from, to): (Day, Day),
) -> Result<(String, Vec<DatumWithOid<'a>>), Fault> {
    let mut args = vec![date(from).into(), date(to).into()];
    let named = match universe {
        Universe::Prices {} => "",
        Universe::Instruments { ids } => {
            args.push(ids.clone().into());
            "AND p.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)"
        }
        Universe::Market { .. } => {
            return Err(Fault::Internal { what: "a market's instruments were not looked up".to_owned() });
        }
    };
    let sql = format!(
        "SELECT p.instrument_id::pg_catalog.text, {schema}.{packed} AS series \
         FROM {prices} p WHERE p.trade_date OPERATOR(pg_catalog.>=) $1 \
           AND p.trade_date OPERATOR(pg_catalog.<=) $2 {named} GROUP BY 1",
        schema = schema()?,
        packed = packing(price),
        prices = prices.sql,
    );
    Ok((sql, args))
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
