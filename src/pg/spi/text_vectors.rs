//! Stored text vectors, as fits read them.

use pgrx::datum::Date;

use super::query::{required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::pg::report::Fault;

/// Columns that are read.
pub const COLUMNS: [&str; 4] = ["source_type", "source_id", "model_id", "vector"];

/// The newest vector of each entity up to `as_of`, in byte order of the source id. A source id is
/// `entity:date`, as profiles have, or has no date and then counts as known.
pub fn newest(
    embeddings: &Relation,
    source_type: &str,
    model_id: &str,
    as_of: Day,
) -> Result<Vec<Vec<u8>>, Fault> {
    let sql = format!(
        "SELECT DISTINCT ON (d.entity COLLATE \"C\") d.vector FROM (\
           SELECT t.vector, t.source_id::pg_catalog.text COLLATE \"C\" AS id, \
             pg_catalog.regexp_replace(t.source_id::pg_catalog.text, ':[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$', '') AS entity, \
             pg_catalog.substring(t.source_id::pg_catalog.text, ':([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})$') AS day \
           FROM {} t WHERE t.source_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
             AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 AND t.vector IS NOT NULL) d \
         WHERE d.day IS NULL OR d.day COLLATE \"C\" OPERATOR(pg_catalog.<=) pg_catalog.to_char($3::pg_catalog.date, 'YYYY-MM-DD') COLLATE \"C\" \
         ORDER BY d.entity COLLATE \"C\", d.day COLLATE \"C\" DESC NULLS LAST, d.id DESC",
        embeddings.sql
    );
    let args = [source_type.into(), model_id.into(), Date::saturating_from_raw(as_of.0).into()];
    select(&sql, &args, |row| required(row.bytes(1)?))
}
