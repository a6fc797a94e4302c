//! Reading issuer profiles: first their keys in one ordered scan, then their texts in pages.

use pgrx::datum::Date;

use super::extension::schema;
use super::listed::{Listed, listed};
use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::engine::partition::Part;
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

/// Which profiles are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
    /// Issuers, if named.
    pub issuers: Option<&'a [String]>,
    /// Most profiles.
    pub limit: Option<i32>,
}

/// The profiles that are asked for, by date and issuer in byte order.
pub fn keys(profiles: &Relation, wanted: &Wanted<'_>) -> Result<Vec<Key>, Fault> {
    let sql = format!(
        "SELECT p.issuer_id::pg_catalog.text, p.as_of_date::pg_catalog.date, \
           pg_catalog.count(*)::pg_catalog.text, \
           COALESCE(pg_catalog.max(pg_catalog.pg_column_size(p.structured)), 0)::pg_catalog.text \
         FROM {} p \
         WHERE p.as_of_date OPERATOR(pg_catalog.>=) $1 AND p.as_of_date OPERATOR(pg_catalog.<=) $2 \
           AND p.issuer_id IS NOT NULL \
           AND ($4::pg_catalog.text[] IS NULL OR p.issuer_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($4)) \
         GROUP BY 1, 2 ORDER BY 2, p.issuer_id::pg_catalog.text COLLATE \"C\" LIMIT $3",
        profiles.sql
    );
    let issuers = wanted.issuers.map(<[String]>::to_vec);
    let args = [date(wanted.from).into(), date(wanted.to).into(), wanted.limit.into(), issuers.into()];
    select(&sql, &args, |row| {
        Ok(Key {
            issuer_id: required(row.text(1)?)?,
            day: Day(required(row.date(2)?)?.to_pg_epoch_days()),
            rows: number(row.text(3)?),
            bytes: number(row.text(4)?),
        })
    })
}

/// The issuers that have a profile between two days, both included, in byte order, at most `limit`; of each, the
/// dates whose source id belongs to `part`.
pub fn issuers(
    profiles: &Relation,
    (from, to): (Day, Day),
    limit: Option<i32>,
    part: Part,
) -> Result<Vec<Listed>, Fault> {
    // Spelt as `source_id` in `backfill::text` does.
    let source_id = "(p.issuer OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) pg_catalog.to_char(p.day, 'YYYY-MM-DD'))";
    let mine = match part {
        Part::WHOLE => "true".to_owned(),
        _ => format!("{}.embed_partition({source_id}, $4) OPERATOR(pg_catalog.=) $5", schema()?),
    };
    let sql = format!(
        "SELECT p.issuer, (pg_catalog.count(*) FILTER (WHERE {mine}))::pg_catalog.int8, \
           COALESCE(pg_catalog.sum(p.day OPERATOR(pg_catalog.-) '2000-01-01'::pg_catalog.date) FILTER (WHERE {mine}), 0)::pg_catalog.int8 \
         FROM (SELECT DISTINCT p.issuer_id::pg_catalog.text AS issuer, p.as_of_date::pg_catalog.date AS day FROM {} p \
                WHERE p.as_of_date OPERATOR(pg_catalog.>=) $1 AND p.as_of_date OPERATOR(pg_catalog.<=) $2 \
                  AND p.issuer_id IS NOT NULL) p \
         WHERE $4::pg_catalog.int4 IS NOT NULL AND $5::pg_catalog.int4 IS NOT NULL \
         GROUP BY 1 ORDER BY p.issuer COLLATE \"C\" LIMIT $3",
        profiles.sql
    );
    let args = [
        date(from).into(),
        date(to).into(),
        limit.into(),
        i32::try_from(part.of).unwrap_or(i32::MAX).into(),
        i32::try_from(part.number).unwrap_or(i32::MAX).into(),
    ];
    listed(&sql, &args)
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
