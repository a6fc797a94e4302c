//! Which instruments a backfill is about.

use super::query::{required, select};
use super::relation::Relation;
use crate::pg::report::Fault;

/// The active equities of a market in byte order, so that a limit means the same under every collation.
///
/// Errors: [`Fault::UnknownMarket`] (22023) when no instrument at all belongs to it.
pub fn of_market(
    instruments: &Relation,
    market_id: &str,
    max_entities: Option<i32>,
    skip_entities: Option<i32>,
) -> Result<Vec<String>, Fault> {
    // An offset counts only beside a limit, as in the published backfill.
    let offset = max_entities.and(skip_entities).unwrap_or(0);
    let sql = format!(
        "SELECT i.instrument_id::pg_catalog.text FROM {} i \
         WHERE i.market_id::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
           AND i.asset_class::pg_catalog.text OPERATOR(pg_catalog.=) 'EQUITY' \
           AND i.status::pg_catalog.text OPERATOR(pg_catalog.=) 'ACTIVE' \
         ORDER BY i.instrument_id::pg_catalog.text COLLATE \"C\" LIMIT $2 OFFSET $3",
        instruments.sql
    );
    let found =
        select(&sql, &[market_id.into(), max_entities.into(), offset.into()], |row| required(row.text(1)?))?;
    if found.is_empty() {
        check_market(instruments, market_id)?;
    }
    Ok(found)
}

/// The equities of a market, whatever their status, in byte order.
///
/// Errors: [`Fault::UnknownMarket`] (22023) when there is none.
pub fn universe(instruments: &Relation, market_id: &str) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT i.instrument_id::pg_catalog.text FROM {} i \
         WHERE i.market_id::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
           AND i.asset_class::pg_catalog.text OPERATOR(pg_catalog.=) 'EQUITY' \
         ORDER BY i.instrument_id::pg_catalog.text COLLATE \"C\"",
        instruments.sql
    );
    let found = select(&sql, &[market_id.into()], |row| required(row.text(1)?))?;
    if found.is_empty() {
        check_market(instruments, market_id)?;
        return Err(Fault::UnknownMarket { market_id: market_id.to_owned(), known: Vec::new() });
    }
    Ok(found)
}

fn check_market(instruments: &Relation, market_id: &str) -> Result<(), Fault> {
    let sql = format!(
        "SELECT DISTINCT i.market_id::pg_catalog.text COLLATE \"C\" FROM {} i \
         WHERE i.market_id IS NOT NULL ORDER BY 1 LIMIT 20",
        instruments.sql
    );
    let known = select(&sql, &[], |row| required(row.text(1)?))?;
    if known.iter().any(|known| known == market_id) {
        Ok(())
    } else {
        Err(Fault::UnknownMarket { market_id: market_id.to_owned(), known })
    }
}
