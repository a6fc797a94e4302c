//! Reading prices: one ordered scan per batch of instruments, never one query per instrument.

use pgrx::datum::{Date, DatumWithOid};

use super::extension::schema;
use super::query::{required, select, select_first};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::numeric::{MarketSums, PriceColumn, PricePanel, PriceSeries, Universe};
use crate::pg::ffi::interrupts;
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

/// What is read of a price row: date, price, volume, and the close that the volume belongs to where it has to be
/// brought to the price's unit.
fn packing(price: PriceColumn) -> String {
    let (name, close) = match price {
        PriceColumn::Close | PriceColumn::AdjustedClose => (price.name(), ""),
        PriceColumn::AdjustedBoth => (price.name(), ", p.close::pg_catalog.float8"),
    };
    format!(
        "p.trade_date::pg_catalog.date, p.{name}::pg_catalog.float8, \
         p.volume::pg_catalog.float8{close}"
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
    gather(prices, price, Some(instruments), (from, to), PriceSeries::unpack_sorted)
}

/// The same, as they come: packed, in any order.
pub fn packed(
    prices: &Relation,
    price: PriceColumn,
    instruments: &[&str],
    from: Day,
    to: Day,
) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    gather(prices, price, Some(instruments), (from, to), <[u8]>::to_vec)
}

/// What `take` makes of the packed series of each instrument, of all where none are named. Of an instrument whose
/// prices are all NULL there is none.
fn gather<T>(
    prices: &Relation,
    price: PriceColumn,
    instruments: Option<&[&str]>,
    (from, to): (Day, Day),
    take: impl Fn(&[u8]) -> T,
) -> Result<Vec<(String, T)>, Fault> {
    let mut args = vec![date(from).into(), date(to).into()];
    if let Some(instruments) = instruments {
        args.push(instruments.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>().into());
    }
    let source = between(prices, instruments.is_some());
    let (schema, row) = (schema()?, packing(price));
    let sql =
        format!("SELECT {schema}.embed_price_panel(p.instrument_id::pg_catalog.text, {row}) FROM {source}");
    let entries = |row: &Row<'_>| {
        let packed = row.slice(1)?;
        let entry = |entry: crate::engine::Result<(&[u8], &[u8])>| {
            interrupts::check();
            let (name, series) = entry?;
            Ok((String::from_utf8_lossy(name).into_owned(), take(series)))
        };
        let full = packed.is_some_and(<[u8]>::is_empty);
        let found = PricePanel::entries(packed.unwrap_or_default()).map(entry);
        (!full).then(|| found.collect::<Result<Vec<_>, Fault>>()).transpose()
    };
    if let Some(found) = select_first(&sql, &args, entries)?.flatten() {
        return Ok(found);
    }
    // More than one value can hold: a value for each instrument.
    let sql = format!(
        "SELECT p.instrument_id::pg_catalog.text, {schema}.embed_price_series({row}) FROM {source} GROUP BY 1"
    );
    let read = |row: &Row<'_>| Ok(row.text(1)?.zip(row.slice(2)?.map(&take)));
    Ok(select(&sql, &args, read)?.into_iter().flatten().collect())
}

/// The price rows between days $1 and $2, both included; `named`: of instruments $3.
fn between(prices: &Relation, named: bool) -> String {
    let named =
        if named { " AND p.instrument_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)" } else { "" };
    format!(
        "{} p WHERE p.trade_date OPERATOR(pg_catalog.>=) $1 AND p.trade_date OPERATOR(pg_catalog.<=) $2{named}",
        prices.sql
    )
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
    let names = names(universe)?;
    let mut args = vec![date(range.0).into(), date(range.1).into()];
    args.extend(names.map(|names| DatumWithOid::from(names.to_vec())));
    args.push((max_gap_days as i32).into());
    let sql = format!(
        "SELECT {schema}.embed_market_sums(s.series, ${gap}) \
         FROM (SELECT {schema}.embed_price_series({row}) AS series FROM {source} GROUP BY p.instrument_id::pg_catalog.text) s",
        schema = schema()?,
        gap = args.len(),
        row = packing(price),
        source = between(prices, names.is_some()),
    );
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
    let names = names(universe)?.map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    gather(prices, price, names.as_deref(), range, PriceSeries::unpack_sorted)
}

/// At most so many instruments of a universe moved on any one day between two days, both included.
pub fn most_rows_of_a_day(
    prices: &Relation,
    universe: &Universe,
    (from, to): (Day, Day),
) -> Result<u64, Fault> {
    let names = names(universe)?;
    let mut args = vec![date(from).into(), date(to).into()];
    args.extend(names.map(|names| DatumWithOid::from(names.to_vec())));
    let sql = format!(
        "SELECT pg_catalog.max(d.n) FROM (SELECT pg_catalog.count(*) AS n FROM {} GROUP BY p.trade_date) d",
        between(prices, names.is_some())
    );
    let most = select_first(&sql, &args, |row| row.long(1))?.flatten();
    Ok(most.map_or(0, i64::unsigned_abs))
}

/// Whether it is sure that no instrument has two rows of a day.
pub fn has_one_row_a_day(prices: &Relation) -> Result<bool, Fault> {
    let sql = "SELECT 'yes'::pg_catalog.text FROM pg_catalog.pg_index i \
                 JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indrelid \
               WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
                 AND i.indpred IS NULL AND i.indexprs IS NULL \
                 AND (c.relkind OPERATOR(pg_catalog.=) 'p' OR NOT c.relhassubclass) \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) i.indrelid \
                                    AND a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[]) \
                                    AND (a.attname OPERATOR(pg_catalog.<>) 'instrument_id' \
                                    AND (a.attname OPERATOR(pg_catalog.<>) 'trade_date' \
                                         OR a.atttypid OPERATOR(pg_catalog.<>) 'pg_catalog.date'::pg_catalog.regtype)))";
    Ok(select_first(sql, &[prices.oid.into()], |row| row.text(1))?.is_some())
}

/// The instruments of a universe; None: all.
fn names(universe: &Universe) -> Result<Option<&[String]>, Fault> {
    match universe {
        Universe::Prices {} => Ok(None),
        Universe::Instruments { ids } => Ok(Some(ids)),
        Universe::Market { .. } => {
            Err(Fault::Internal { what: "a market's instruments were not looked up".to_owned() })
        }
    }
}

/// Whether the whole price table is known to have at most `rows` rows.
pub fn is_smaller_than(prices: &Relation, rows: f32) -> Result<bool, Fault> {
    let sql = "SELECT 'yes'::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $1 \
               AND c.reltuples OPERATOR(pg_catalog.>) 0 AND c.reltuples OPERATOR(pg_catalog.<=) $2";
    Ok(select_first(sql, &[prices.oid.into(), rows.into()], |row| row.text(1))?.is_some())
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
