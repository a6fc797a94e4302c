//! Reading issuer profiles: first their keys in one ordered scan, then their texts in pages.

use pgrx::datum::Date;

use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::text::document;
use crate::pg::report::Fault;

/// Columns of a profile table that are read.
pub const COLUMNS: [&str; 3] = ["issuer_id", "as_of_date", "structured"];

/// Profiles of one page at most.
const PAGE_PROFILES: usize = 256;

/// Stored bytes of one page, about; a longer profile is a page of its own.
const PAGE_BYTES: u64 = 1 << 20;

/// One profile, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Issuer.
    pub issuer_id: String,
    /// Date.
    pub day: Day,
    /// Rows that have this key; more than one where nothing forbids it.
    pub rows: u64,
    bytes: u64,
}

/// The text of a profile, or why it has none.
pub type Document = Result<String, &'static str>;

/// The profiles between two days, both included, by date and issuer in byte order; at most `limit`.
pub fn keys(profiles: &Relation, from: Day, to: Day, limit: Option<i32>) -> Result<Vec<Key>, Fault> {
    let sql = format!(
        "SELECT p.issuer_id::pg_catalog.text, p.as_of_date::pg_catalog.date, \
           pg_catalog.count(*)::pg_catalog.text, \
           COALESCE(pg_catalog.max(pg_catalog.pg_column_size(p.structured)), 0)::pg_catalog.text \
         FROM {} p \
         WHERE p.as_of_date OPERATOR(pg_catalog.>=) $1 AND p.as_of_date OPERATOR(pg_catalog.<=) $2 \
           AND p.issuer_id IS NOT NULL \
         GROUP BY 1, 2 ORDER BY 2, p.issuer_id::pg_catalog.text COLLATE \"C\" LIMIT $3",
        profiles.sql
    );
    select(&sql, &[date(from).into(), date(to).into(), limit.into()], |row| {
        Ok(Key {
            issuer_id: required(row.text(1)?)?,
            day: Day(required(row.date(2)?)?.to_pg_epoch_days()),
            rows: number(row.text(3)?),
            bytes: number(row.text(4)?),
        })
    })
}

/// Cuts `keys` into pages that can be read at once, as index ranges.
pub fn pages(keys: &[Key]) -> Vec<std::ops::Range<usize>> {
    let (mut pages, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, key) in keys.iter().enumerate() {
        if at > start && (at - start == PAGE_PROFILES || bytes + key.bytes > PAGE_BYTES) {
            pages.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += key.bytes;
    }
    if start < keys.len() {
        pages.push(start..keys.len());
    }
    pages
}

/// The documents of some profiles, in no particular order.
pub fn documents(profiles: &Relation, keys: &[Key]) -> Result<Vec<(String, Day, Document)>, Fault> {
    let field = |name: &str| {
        format!(
            ", CASE WHEN pg_catalog.jsonb_typeof(p.structured OPERATOR(pg_catalog.->) '{name}') \
             OPERATOR(pg_catalog.=) 'string' THEN p.structured OPERATOR(pg_catalog.->>) '{name}' END"
        )
    };
    let sql = format!(
        "SELECT p.issuer_id::pg_catalog.text, p.as_of_date::pg_catalog.date, \
           pg_catalog.jsonb_typeof(p.structured){} \
         FROM {} p WHERE p.issuer_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) \
           AND p.as_of_date OPERATOR(pg_catalog.=) ANY ($2)",
        document::FIELDS.map(field).concat(),
        profiles.sql
    );
    let ids: Vec<String> = keys.iter().map(|key| key.issuer_id.clone()).collect();
    let mut days: Vec<i32> = keys.iter().map(|key| key.day.0).collect();
    days.dedup();
    let days: Vec<Date> = days.into_iter().map(|day| date(Day(day))).collect();
    select(&sql, &[ids.into(), days.into()], |row| {
        let document = match row.text(3)?.as_deref() {
            None => Err("structured is null"),
            Some("object") => {
                let fields = [row.text(4)?, row.text(5)?, row.text(6)?];
                document::document(fields.each_ref().map(Option::as_deref)).ok_or("no text in the profile")
            }
            Some(_) => Err("structured is not a JSON object"),
        };
        Ok((required(row.text(1)?)?, Day(required(row.date(2)?)?.to_pg_epoch_days()), document))
    })
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}
