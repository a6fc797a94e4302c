//! The rows of a `text_embeddings` table: which exist, and the one statement that writes.

use std::collections::HashMap;

use super::extension::schema;
use super::query::{execute, required, select, select_first};
use super::relation::Relation;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::staged::{RowSource, with_rows};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;

/// Columns that every such table has.
const BASE: [&str; 4] = ["source_type", "source_id", "model_id", "vector"];

/// Columns of ours, filled where the table has them: name, its value in the staged row.
const LINEAGE: [(&str, &str); 4] = [
    ("tokens", "r.tokens"),
    ("truncated", "r.truncated OPERATOR(pg_catalog.=) 1"),
    ("input_digest", "r.digest"),
    ("computed_at", "pg_catalog.now()"),
];

/// The shape of a staged row; `backfill::text` fills its cells in this order.
const STAGED: &str = "r(source_id pg_catalog.text, vector pg_catalog.bytea, tokens pg_catalog.int4, \
    truncated pg_catalog.int4, digest pg_catalog.uuid)";

/// A row that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Digest of what its vector was made from, where the table keeps it and the vector is whole.
    pub digest: Option<[u8; 16]>,
    /// Tokens that the model read.
    pub tokens: Option<i32>,
    /// Whether the text was cut.
    pub truncated: Option<bool>,
}

/// A text embedding table and the part of it that one run writes.
#[derive(Debug)]
pub struct TextTarget {
    relation: Relation,
    source_type: &'static str,
    model_id: String,
    dim: usize,
    unique: bool,
    longest_id: Option<usize>,
}

impl TextTarget {
    /// Checks the table. Errors: as [`Relation::open`].
    pub fn open(
        given: Option<Regclass>,
        source_type: &'static str,
        model_id: &str,
        dim: usize,
    ) -> Result<Self, Fault> {
        let relation = Relation::open(given, "target", "text_embeddings", &BASE)?;
        let key = ["model_id", "source_id", "source_type"].map(str::to_owned);
        let unique = relation.unique_keys()?.iter().any(|found| found[..] == key[..]);
        let longest_id = longest_id(&relation)?;
        Ok(Self { relation, source_type, model_id: model_id.to_owned(), dim, unique, longest_id })
    }

    /// Whether the table allows one row per key.
    pub fn unique(&self) -> bool {
        self.unique
    }

    /// Most characters of a source_id, where the column has a limit.
    pub fn longest_id(&self) -> Option<usize> {
        self.longest_id
    }

    /// Which of `ids` have a row.
    pub fn existing(&self, ids: &[String]) -> Result<HashMap<String, Stored>, Fault> {
        let column = |name: &str, sql: &str| {
            if self.relation.has_column(name) { sql.to_owned() } else { "NULL".to_owned() }
        };
        let digest = "CASE WHEN pg_catalog.octet_length(t.vector) OPERATOR(pg_catalog.=) $4 \
                      THEN pg_catalog.uuid_send(t.input_digest) END";
        let sql = format!(
            "SELECT t.source_id::pg_catalog.text, {}::pg_catalog.bytea, {}::pg_catalog.text, {}::pg_catalog.text \
             FROM {} t WHERE {} AND $4::pg_catalog.int4 IS NOT NULL",
            column("input_digest", digest),
            column("tokens", "t.tokens"),
            column("truncated", "t.truncated"),
            self.relation.sql,
            KEYS
        );
        let args = [
            self.source_type.into(),
            self.model_id.as_str().into(),
            ids.to_vec().into(),
            (self.dim as i32 * 4).into(),
        ];
        let rows = select(&sql, &args, |row| {
            let stored = Stored {
                digest: row.bytes(2)?.and_then(|bytes| bytes.try_into().ok()),
                tokens: row.text(3)?.and_then(|text| text.parse().ok()),
                truncated: row.text(4)?.map(|text| text == "true"),
            };
            Ok((required(row.text(1)?)?, stored))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Deletes the rows of some keys, for a table that cannot upsert.
    pub fn delete(&self, ids: &[String]) -> Result<u64, Fault> {
        let sql = format!("DELETE FROM {} t WHERE {KEYS}", self.relation.sql);
        execute(&sql, &[self.source_type.into(), self.model_id.as_str().into(), ids.to_vec().into()])
    }

    /// Writes the rows of `source`; a row whose key exists is overwritten where the table has a unique
    /// key, and added where it has none.
    pub fn insert(&self, source: &mut dyn RowSource) -> Result<u64, Fault> {
        let lineage: Vec<_> = LINEAGE.iter().filter(|(name, _)| self.relation.has_column(name)).collect();
        let names: String = lineage.iter().map(|(name, _)| format!(", {name}")).collect();
        let values: String = lineage.iter().map(|(_, value)| format!(", {value}")).collect();
        let updates: String = lineage.iter().map(|(name, _)| format!(", {name} = excluded.{name}")).collect();
        let reference = if self.relation.has_column("vector_ref") { ", vector_ref = NULL" } else { "" };
        let conflict = if self.unique {
            format!(
                " ON CONFLICT (source_type, source_id, model_id) DO UPDATE \
                 SET vector = excluded.vector{reference}{updates}"
            )
        } else {
            String::new()
        };
        let sql = format!(
            "INSERT INTO {target} (source_type, source_id, model_id, vector{names}) \
             SELECT $1, r.source_id, $2, r.vector{values} \
             FROM {schema}.embed_staged_rows() AS {STAGED}{conflict}",
            target = self.relation.sql,
            schema = schema()?,
        );
        let args = [self.source_type.into(), self.model_id.as_str().into()];
        with_rows(source, || execute(&sql, &args))
    }

    /// Holds off other runs that write the same keys until the transaction ends: a table without a
    /// unique key has nothing else against duplicates. Run as a writing statement, so that what is looked
    /// for next is found though a run before this one has just committed it.
    ///
    /// Errors: [`Fault::CannotSeeKeys`] where nothing can make it be found.
    pub fn lock(&self) -> Result<(), Fault> {
        if transaction::has_one_snapshot() {
            return Err(Fault::CannotSeeKeys { relation: self.relation.sql.clone() });
        }
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock($1::pg_catalog.int4, \
                   pg_catalog.hashtext(pg_catalog.concat_ws(E'\\x01', $2, $3)))::pg_catalog.text";
        let args = [
            (self.relation.oid.to_u32() as i32).into(),
            self.source_type.into(),
            self.model_id.as_str().into(),
        ];
        execute(sql, &args).map(|_| ())
    }
}

const KEYS: &str = "t.source_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
    AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 \
    AND t.source_id::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($3)";

/// The limit of column `source_id` if it is a varchar(n).
fn longest_id(relation: &Relation) -> Result<Option<usize>, Fault> {
    let sql = "SELECT (a.atttypmod OPERATOR(pg_catalog.-) 4)::pg_catalog.text FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) 'source_id' \
                 AND a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.varchar'::pg_catalog.regtype \
                 AND a.atttypmod OPERATOR(pg_catalog.>) 4";
    let found = select_first(sql, &[relation.oid.into()], |row| required(row.text(1)?))?;
    Ok(found.and_then(|text| text.parse().ok()))
}
