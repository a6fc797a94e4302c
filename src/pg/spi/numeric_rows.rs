//! The rows of a `numeric_window_embeddings` table: which exist, and the one statement that writes.

use std::collections::HashMap;

use pgrx::datum::{Date, DatumWithOid};

use super::extension::schema;
use super::query::{execute, required, select};
use super::relation::Relation;
use crate::engine::Day;
use crate::pg::backfill::OnExisting;
use crate::pg::ffi::multi_insert::{self, Cell, Type};
use crate::pg::ffi::regclass::Regclass;
use crate::pg::ffi::staged::{RowSource, with_rows};
use crate::pg::ffi::transaction;
use crate::pg::report::Fault;

/// Columns that every such table has.
const BASE: [&str; 6] = ["entity_type", "entity_id", "window_spec", "as_of_date", "model_id", "vector"];

/// Columns of ours, filled where the table has them: name, its value in the staged row, and the same for a row
/// that is added by hand.
const LINEAGE: [(&str, &str, Cell<'static>); 5] = [
    ("rows_used", "r.rows_used", Cell::Staged(3, Type::Int)),
    ("rows_padded", "r.rows_padded", Cell::Staged(4, Type::Int)),
    ("last_trade_date", "r.last_day", Cell::Staged(5, Type::Date)),
    ("input_digest", "r.digest", Cell::Staged(6, Type::Uuid)),
    ("computed_at", "pg_catalog.now()", Cell::Now),
];

/// The shape of a staged row; `backfill::numeric` fills its cells in this order.
const STAGED: &str = "r(entity_id pg_catalog.text, as_of_date pg_catalog.date, vector pg_catalog.bytea, \
    rows_used pg_catalog.int4, rows_padded pg_catalog.int4, last_day pg_catalog.date, digest pg_catalog.uuid)";

/// Keys as rows: $4 and $5, numbered from 1.
const KEYS: &str = "ROWS FROM (pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.date[])) \
     WITH ORDINALITY AS k(id, day, at)";

/// What a row that exists says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// Fingerprint of what it was made from; absent where the table or the row has none, and where there are
    /// several rows of the key.
    pub digest: Option<[u8; 16]>,
}

/// Rows of the days $4 whose keys, as [`listed_key`] writes them, are among $5: lists of constants, which
/// Postgres compares through a hash.
const LISTED: &str = "t.as_of_date OPERATOR(pg_catalog.=) ANY ($4) AND pg_catalog.concat(t.entity_id, \
     pg_catalog.encode(pg_catalog.date_send(t.as_of_date::pg_catalog.date), 'hex')) OPERATOR(pg_catalog.=) ANY ($5)";

/// Where a table keeps the window length of its natural key: a JSON document, as published, or a column, as
/// distributed tables need.
const WINDOW_KEYS: [(&str, Window); 2] =
    [("(window_spec ->> 'window_days'::text)", Window::Document), ("window_days", Window::Column)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Document,
    Column,
}

/// How rows whose keys are new may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    /// By an `INSERT`.
    ByStatement,
    /// By adding them to the table, where that is all that an `INSERT` does.
    ByTable,
}

/// A numeric embedding table and the part of it that one run writes.
#[derive(Debug)]
pub struct NumericTarget {
    relation: Relation,
    entity_type: &'static str,
    model_id: String,
    window_days: i32,
    /// How its unique key holds the window length, if it has such a key.
    unique: Option<Window>,
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
        let keys = relation.unique_keys()?;
        let enforced = |(part, window): (&str, Window)| {
            let mut key = ["entity_type", "entity_id", "as_of_date", "model_id", part].map(str::to_owned);
            key.sort();
            keys.iter().any(|found| found[..] == key[..]).then_some(window)
        };
        let unique = WINDOW_KEYS.into_iter().find_map(enforced);
        Ok(Self { relation, entity_type, model_id: model_id.to_owned(), window_days, unique })
    }

    /// Whether the table allows one row per key.
    pub fn unique(&self) -> bool {
        self.unique.is_some()
    }

    /// One entity type, model and window: $1 to $3.
    fn key_condition(&self) -> String {
        let window = match self.unique {
            Some(Window::Column) => "t.window_days OPERATOR(pg_catalog.=) $3::pg_catalog.int4",
            _ => "(t.window_spec OPERATOR(pg_catalog.->>) 'window_days') OPERATOR(pg_catalog.=) $3",
        };
        format!(
            "t.entity_type::pg_catalog.text OPERATOR(pg_catalog.=) $1 \
             AND t.model_id::pg_catalog.text OPERATOR(pg_catalog.=) $2 AND {window}"
        )
    }

    /// Whether any entity has a row between two days, both included.
    pub fn any_between(&self, from: Day, to: Day) -> Result<bool, Fault> {
        let sql = format!(
            "SELECT 1 FROM {} t WHERE {} AND t.as_of_date OPERATOR(pg_catalog.>=) $4 \
               AND t.as_of_date OPERATOR(pg_catalog.<=) $5 LIMIT 1",
            self.relation.sql,
            self.key_condition()
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

    /// Whether `on_existing` makes sense for the table.
    ///
    /// Errors: [`Fault::AppendToUnique`] (55000), [`Fault::NoInputDigest`] (42703).
    pub fn allows(&self, on_existing: OnExisting) -> Result<(), Fault> {
        let relation = || self.relation.sql.clone();
        match on_existing {
            OnExisting::Append if self.unique() => Err(Fault::AppendToUnique { relation: relation() }),
            OnExisting::Update if !self.has_digest() => Err(Fault::NoInputDigest { relation: relation() }),
            _ => Ok(()),
        }
    }

    fn has_digest(&self) -> bool {
        self.relation.has_column("input_digest")
    }

    fn digest(&self) -> &'static str {
        if self.has_digest() { "pg_catalog.uuid_send(t.input_digest)" } else { "NULL::pg_catalog.bytea" }
    }

    /// The row of each of some keys, in their order.
    pub fn existing(&self, keys: &[(&str, Day)]) -> Result<Vec<Option<Existing>>, Fault> {
        // A distributed engine cannot look up key by key.
        match self.unique {
            Some(Window::Document) => self.existing_by_key(keys),
            Some(Window::Column) | None => self.existing_by_scan(keys),
        }
    }

    /// One look-up per key, whatever the planner knows about a table that this transaction is filling.
    fn existing_by_key(&self, keys: &[(&str, Day)]) -> Result<Vec<Option<Existing>>, Fault> {
        let sql = format!(
            "SELECT k.at::pg_catalog.int4, found.digest FROM {KEYS}, \
             LATERAL (SELECT {} AS digest FROM {} t WHERE {} \
               AND t.entity_id::pg_catalog.text OPERATOR(pg_catalog.=) k.id \
               AND t.as_of_date OPERATOR(pg_catalog.=) k.day LIMIT 1) found",
            self.digest(),
            self.relation.sql,
            self.key_condition()
        );
        let mut found = vec![None; keys.len()];
        let rows = select(&sql, &self.key_args(keys), |row| {
            Ok((required(row.int(1)?)?, Existing { digest: as_digest(row.bytes(2)?) }))
        })?;
        for (at, existing) in rows {
            let at = usize::try_from(at).ok().and_then(|at| at.checked_sub(1));
            if let Some(slot) = at.and_then(|at| found.get_mut(at)) {
                *slot = Some(existing);
            }
        }
        Ok(found)
    }

    /// One pass over a table in which there may be no index to look a key up by: whole lists are compared
    /// through a hash, so that no plan is worse than that.
    fn existing_by_scan(&self, keys: &[(&str, Day)]) -> Result<Vec<Option<Existing>>, Fault> {
        let sql = format!(
            "SELECT t.entity_id::pg_catalog.text, t.as_of_date::pg_catalog.date, {} FROM {} t \
             WHERE {} AND {LISTED}",
            self.digest(),
            self.relation.sql,
            self.key_condition()
        );
        let rows = select(&sql, &self.listed_args(keys), |row| {
            let day = Day(required(row.date(2)?)?.to_pg_epoch_days());
            Ok(((required(row.text(1)?)?, day), as_digest(row.bytes(3)?)))
        })?;
        let mut found: HashMap<(&str, Day), Existing> = HashMap::with_capacity(rows.len());
        for ((id, day), digest) in &rows {
            let first = Existing { digest: *digest };
            // Of several rows none is the row of the key.
            found.entry((id, *day)).and_modify(|there| there.digest = None).or_insert(first);
        }
        Ok(keys.iter().map(|key| found.get(key).copied()).collect())
    }

    /// Deletes the rows of some keys, for a table that cannot upsert.
    pub fn delete(&self, keys: &[(&str, Day)]) -> Result<u64, Fault> {
        if keys.is_empty() {
            return Ok(0);
        }
        let condition = self.key_condition();
        let sql = format!("DELETE FROM {} t WHERE {condition} AND {LISTED}", self.relation.sql);
        execute(&sql, &self.listed_args(keys))
    }

    /// Writes the rows of `source`. A row whose key exists is overwritten where the table has a unique key, and
    /// added where it has none.
    pub fn insert(&self, source: &mut dyn RowSource) -> Result<u64, Fault> {
        self.write(source, true)
    }

    /// Writes the rows of `source`, whose keys have no row: 23505 if one has. Half the work of an upsert, which
    /// looks every key up before it writes. `insert`: what [`NumericTarget::plan`] has found.
    pub fn insert_new(&self, source: &mut dyn RowSource, insert: Insert) -> Result<u64, Fault> {
        if insert == Insert::ByTable
            && let Some(written) = self.add(source)?
        {
            return Ok(written);
        }
        self.write(source, false)
    }

    /// Raises 42501 where the caller lacks a privilege to insert or to overwrite, whether or not it comes to
    /// the latter: rights must not seem to depend on the rows that happen to be there. Plans the statement, and
    /// does not run it. Where the plan inserts into the table itself, and not into what a view, a rule or a
    /// distributed engine makes of it, rows may be added to the table by hand.
    pub fn plan(&self) -> Result<Insert, Fault> {
        let sql = format!("EXPLAIN (COSTS off) {}", self.insert_sql(true)?);
        let lines = select(&sql, &self.insert_args(), |row| required(row.text(1)?))?;
        let by_table = lines.first().is_some_and(|line| line.starts_with("Insert on "))
            && !lines.iter().any(|line| line.contains("Custom Scan"));
        Ok(if by_table { Insert::ByTable } else { Insert::ByStatement })
    }

    /// Adds rows to the table by hand; None, with nothing done, where that is not enough.
    fn add(&self, source: &mut dyn RowSource) -> Result<Option<u64>, Fault> {
        let window_spec = self.window_spec();
        let mut columns = vec![
            ("entity_type", Cell::Text(self.entity_type)),
            ("entity_id", Cell::Staged(0, Type::Text)),
            ("window_spec", Cell::Json(&window_spec)),
            ("as_of_date", Cell::Staged(1, Type::Date)),
            ("model_id", Cell::Text(&self.model_id)),
            ("vector", Cell::Staged(2, Type::Bytes)),
        ];
        let lineage = LINEAGE.iter().filter(|(name, ..)| self.relation.has_column(name));
        columns.extend(lineage.map(|(name, _, cell)| (*name, *cell)));
        if self.relation.is_generated("window_days") == Some(false) {
            columns.push(("window_days", Cell::Int(self.window_days)));
        }
        multi_insert::insert(self.relation.oid, &columns, source)
    }

    fn insert_args(&self) -> [DatumWithOid<'_>; 3] {
        [self.entity_type.into(), self.window_spec().into(), self.model_id.as_str().into()]
    }

    fn write(&self, source: &mut dyn RowSource, upsert: bool) -> Result<u64, Fault> {
        let sql = self.insert_sql(upsert)?;
        let args = self.insert_args();
        with_rows(source, || execute(&sql, &args))
    }

    /// Holds off other runs that write the same model and window until the transaction ends: a table without a
    /// unique key has nothing else against duplicates. Run as a writing statement, so that
    /// [`NumericTarget::existing`] sees the rows that a run before this one has just committed.
    ///
    /// Errors: [`Fault::CannotSeeKeys`] where nothing can make it see them.
    pub fn lock(&self) -> Result<(), Fault> {
        if !self.unique() && transaction::has_one_snapshot() {
            return Err(Fault::CannotSeeKeys { relation: self.relation.sql.clone() });
        }
        self.advisory_lock("pg_advisory_xact_lock")
    }

    /// Holds off whoever wants to be alone with [`NumericTarget::lock`], and nobody else.
    pub fn share(&self) -> Result<(), Fault> {
        self.advisory_lock("pg_advisory_xact_lock_shared")
    }

    fn advisory_lock(&self, function: &str) -> Result<(), Fault> {
        let sql = format!(
            "SELECT pg_catalog.{function}($1::pg_catalog.int4, \
             pg_catalog.hashtext(pg_catalog.concat_ws(E'\\x01', $2, $3, $4)))::pg_catalog.text"
        );
        let args = [
            (self.relation.oid.to_u32() as i32).into(),
            self.entity_type.into(),
            self.model_id.as_str().into(),
            self.window_text().into(),
        ];
        execute(&sql, &args).map(|_| ())
    }

    fn insert_sql(&self, upsert: bool) -> Result<String, Fault> {
        let lineage: Vec<_> = LINEAGE.iter().filter(|(name, ..)| self.relation.has_column(name)).collect();
        let names: String = lineage.iter().map(|(name, ..)| format!(", {name}")).collect();
        let values: String = lineage.iter().map(|(_, value, _)| format!(", {value}")).collect();
        let updates: String =
            lineage.iter().map(|(name, ..)| format!(", {name} = excluded.{name}")).collect();
        let reference = if self.relation.has_column("vector_ref") { ", vector_ref = NULL" } else { "" };
        let key = match self.unique.filter(|_| upsert) {
            Some(Window::Document) => Some("(window_spec OPERATOR(pg_catalog.->>) 'window_days')"),
            Some(Window::Column) => Some("window_days"),
            None => None,
        };
        let conflict = key.map(|window| {
            format!(
                " ON CONFLICT (entity_type, entity_id, as_of_date, model_id, {window}) DO UPDATE \
                 SET window_spec = excluded.window_spec, vector = excluded.vector{reference}{updates}"
            )
        });
        // A column of its own is filled unless Postgres fills it from the document.
        let (window, length) = match self.relation.is_generated("window_days") {
            Some(false) => (", window_days", format!(", {}", self.window_days)),
            _ => ("", String::new()),
        };
        Ok(format!(
            "INSERT INTO {target} (entity_type, entity_id, window_spec, as_of_date, model_id, vector{names}{window}) \
             SELECT $1, r.entity_id, $2::pg_catalog.jsonb, r.as_of_date, $3, r.vector{values}{length} \
             FROM {schema}.embed_staged_rows() AS {STAGED}{conflict}",
            conflict = conflict.unwrap_or_default(),
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

fn as_digest(bytes: Option<Vec<u8>>) -> Option<[u8; 16]> {
    bytes.and_then(|bytes| bytes.try_into().ok())
}

fn date(day: Day) -> Date {
    Date::saturating_from_raw(day.0)
}

/// A key as one text: the id, then the day as eight hexadecimal digits.
fn listed_key(id: &str, day: Day) -> String {
    format!("{id}{:08x}", day.0)
}
