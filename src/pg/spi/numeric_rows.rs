//! The rows of a `numeric_window_embeddings` table: which exist, and the one statement that writes.

use std::collections::HashSet;

use pgrx::datum::{Date, DatumWithOid};

use super::extension::schema;
use super::query::{execute, required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::staged::{RowSource, with_rows};
use crate::pg::report::Fault;

/// Columns that every such table has.
const BASE: [&str; 6] = ["entity_type", "entity_id", "window_spec", "as_of_date", "model_id", "vector"];

/// Columns of ours, filled where the table has them: name, its value in the staged row.
const LINEAGE: [(&str, &str); 5] = [
    ("rows_used", "r.rows_used"),
    ("rows_padded", "r.rows_padded"),
    ("last_trade_date", "r.last_day"),
    ("input_digest", "r.digest"),
    ("computed_at", "pg_catalog.now()"),
];

/// The shape of a staged row; `backfill::numeric` fills its cells in this order.
const STAGED: &str = "r(entity_id pg_catalog.text, as_of_date pg_catalog.date, vector pg_catalog.bytea, \
    rows_used pg_catalog.int4, rows_padded pg_catalog.int4, last_day pg_catalog.date, digest pg_catalog.uuid)";

/// Keys as rows: $4 and $5.
const KEYS: &str = "ROWS FROM (pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.date[])) AS k(id, day)";

/// One entity type, model and window: $1 to $3.
const KEY_CONDITION: &str = "t.entity_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
     AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 \
     AND (t.window_spec OPERATOR(pg_catalog.->>) 'window_days') OPERATOR(pg_catalog.=) $3";

/// Rows of the days $4 whose keys, as [`listed_key`] writes them, are among $5: lists of constants, which
/// Postgres compares through a hash.
const LISTED: &str = "t.as_of_date OPERATOR(pg_catalog.=) ANY ($4) AND pg_catalog.concat(t.entity_id, \
     pg_catalog.encode(pg_catalog.date_send(t.as_of_date::pg_catalog.date), 'hex')) OPERATOR(pg_catalog.=) ANY ($5)";

const WINDOW_KEY: &str = "(window_spec ->> 'window_days'::text)";

/// A numeric embedding table and the part of it that one run writes.
#[derive(Debug)]
pub struct NumericTarget {
    relation: Relation,
    entity_type: &'static str,
    model_id: String,
    window_days: i32,
    unique: bool,
}

impl NumericTarget {
    /// Checks the table. Errors: as [`Relation::open`].
    pub fn open(
        given: Option<Regclass>,
        entity_type: &'static str,
        model_id: &str,
        window_days: i32,
    ) -> Result<Self, Fault> {
        let relation = Relation::open(given, "target", "numeric_window_embeddings", &BASE)?;
        let mut key = ["entity_type", "entity_id", "as_of_date", "model_id", WINDOW_KEY].map(str::to_owned);
        key.sort();
        let unique = relation.unique_keys()?.iter().any(|found| found[..] == key[..]);
        Ok(Self { relation, entity_type, model_id: model_id.to_owned(), window_days, unique })
    }

    /// Whether the table allows one row per key.
    pub fn unique(&self) -> bool {
        self.unique
    }

    /// Its quoted name.
    pub fn name(&self) -> &str {
        &self.relation.sql
    }

    /// Whether any entity has a row between two days, both included.
    pub fn any_between(&self, from: Day, to: Day) -> Result<bool, Fault> {
        let sql = format!(
            "SELECT 1 FROM {} t WHERE {KEY_CONDITION} AND t.as_of_date OPERATOR(pg_catalog.>=) $4 \
               AND t.as_of_date OPERATOR(pg_catalog.<=) $5 LIMIT 1",
            self.relation.sql
        );
        let args = [
            self.entity_type.into(),
            self.model_id.as_str().into(),
            self.window_text().into(),
            date(from).into(),
            date(to).into(),
        ];
        Ok(!select(&sql, &args, |_| Ok(()))?.is_empty())
    }

    /// Which of some keys have a row.
    pub fn existing(&self, keys: &[(&str, Day)]) -> Result<HashSet<(String, Day)>, Fault> {
        if self.unique { self.existing_by_key(keys) } else { self.existing_by_scan(keys) }
    }

    /// One look-up per key, whatever the planner knows about a table that this transaction is filling.
    fn existing_by_key(&self, keys: &[(&str, Day)]) -> Result<HashSet<(String, Day)>, Fault> {
        let sql = format!(
            "SELECT k.id, k.day FROM {KEYS}, \
             LATERAL (SELECT 1 FROM {} t WHERE {KEY_CONDITION} \
               AND t.entity_id::pg_catalog.text OPERATOR(pg_catalog.=) k.id \
               AND t.as_of_date OPERATOR(pg_catalog.=) k.day LIMIT 1) found",
            self.relation.sql
        );
        let keys = select(&sql, &self.key_args(keys), |row| {
            Ok((required(row.text(1)?)?, Day(required(row.date(2)?)?.to_pg_epoch_days())))
        })?;
        Ok(keys.into_iter().collect())
    }

    /// One pass over a table in which there may be no index to look a key up by: whole lists are compared
    /// through a hash, so that no plan is worse than that.
    fn existing_by_scan(&self, keys: &[(&str, Day)]) -> Result<HashSet<(String, Day)>, Fault> {
        let sql = format!(
            "SELECT t.entity_id::pg_catalog.text, t.as_of_date::pg_catalog.date FROM {} t \
             WHERE {KEY_CONDITION} AND {LISTED}",
            self.relation.sql
        );
        let keys = select(&sql, &self.listed_args(keys), |row| {
            Ok((required(row.text(1)?)?, Day(required(row.date(2)?)?.to_pg_epoch_days())))
        })?;
        Ok(keys.into_iter().collect())
    }

    /// Deletes the rows of some keys, for a table that cannot upsert.
    pub fn delete(&self, keys: &[(&str, Day)]) -> Result<u64, Fault> {
        let sql = format!("DELETE FROM {} t WHERE {KEY_CONDITION} AND {LISTED}", self.relation.sql);
        execute(&sql, &self.listed_args(keys))
    }

    /// Writes the rows of `source`; a row whose key exists is overwritten where the table has a unique
    /// key, and added where it has none.
    pub fn insert(&self, source: &mut dyn RowSource) -> Result<u64, Fault> {
        let sql = self.insert_sql()?;
        let args = [self.entity_type.into(), self.window_spec().into(), self.model_id.as_str().into()];
        with_rows(source, || execute(&sql, &args))
    }

    /// Holds off other runs that write the same keys until the transaction ends: a table without a
    /// unique key has nothing else against duplicates. Run as a writing statement, so that
    /// [`NumericTarget::existing`] sees the rows that a run before this one has just committed.
    pub fn lock(&self) -> Result<(), Fault> {
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock($1::pg_catalog.int4, \
                   pg_catalog.hashtext(pg_catalog.concat_ws(E'\\x01', $2, $3, $4)))::pg_catalog.text";
        let args = [
            (self.relation.oid.to_u32() as i32).into(),
            self.entity_type.into(),
            self.model_id.as_str().into(),
            self.window_text().into(),
        ];
        execute(sql, &args).map(|_| ())
    }

    fn insert_sql(&self) -> Result<String, Fault> {
        let lineage: Vec<_> = LINEAGE.iter().filter(|(name, _)| self.relation.has_column(name)).collect();
        let names: String = lineage.iter().map(|(name, _)| format!(", {name}")).collect();
        let values: String = lineage.iter().map(|(_, value)| format!(", {value}")).collect();
        let updates: String = lineage.iter().map(|(name, _)| format!(", {name} = excluded.{name}")).collect();
        let reference = if self.relation.has_column("vector_ref") { ", vector_ref = NULL" } else { "" };
        let conflict = if self.unique {
            format!(
                " ON CONFLICT (entity_type, entity_id, as_of_date, model_id, \
                 (window_spec OPERATOR(pg_catalog.->>) 'window_days')) DO UPDATE \
                 SET window_spec = excluded.window_spec, vector = excluded.vector{reference}{updates}"
            )
        } else {
            String::new()
        };
        Ok(format!(
            "INSERT INTO {target} (entity_type, entity_id, window_spec, as_of_date, model_id, vector{names}) \
             SELECT $1, r.entity_id, $2::pg_catalog.jsonb, r.as_of_date, $3, r.vector{values} \
             FROM {schema}.embed_staged_rows() AS {STAGED}{conflict}",
            target = self.relation.sql,
            schema = schema()?,
        ))
    }

    /// $1 to $5 of the statements about keys.
    fn key_args(&self, keys: &[(&str, Day)]) -> [DatumWithOid<'static>; 5] {
        let ids: Vec<String> = keys.iter().map(|(id, _)| (*id).to_owned()).collect();
        let days: Vec<Date> = keys.iter().map(|(_, day)| date(*day)).collect();
        let model = self.model_id.clone();
        [self.entity_type.into(), model.into(), self.window_text().into(), ids.into(), days.into()]
    }

    fn listed_args(&self, keys: &[(&str, Day)]) -> [DatumWithOid<'static>; 5] {
        let mut days: Vec<Day> = keys.iter().map(|(_, day)| *day).collect();
        days.sort_unstable();
        days.dedup();
        let days: Vec<Date> = days.into_iter().map(date).collect();
        let listed: Vec<String> = keys.iter().map(|(id, day)| listed_key(id, *day)).collect();
        let model = self.model_id.clone();
        [self.entity_type.into(), model.into(), self.window_text().into(), days.into(), listed.into()]
    }

    fn window_text(&self) -> String {
        self.window_days.to_string()
    }

    /// The two keys that the published backfill writes.
    fn window_spec(&self) -> String {
        format!(r#"{{"window_days": {}, "entity_type": "{}"}}"#, self.window_days, self.entity_type)
    }
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}

/// A key as one text: the id, then the day as eight hexadecimal digits.
fn listed_key(id: &str, day: Day) -> String {
    format!("{id}{:08x}", day.0)
}
