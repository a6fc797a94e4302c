//! The data tables: the files of `migrations/`, compiled in, run as the caller.
//!
//! A migration looks in the catalogs for what is missing, so whether one did something is told by
//! comparing what the tables are made of before and after it.

use std::collections::BTreeSet;

use super::query::{execute, required, select, select_first};
use crate::pg::report::Fault;

/// The migrations in order: name of the file without `.sql`, its text.
const MIGRATIONS: [(&str, &str); 7] = [
    ("0001_securities", include_str!("../../../migrations/0001_securities.sql")),
    (
        "0002_profiles_portfolios_scenarios",
        include_str!("../../../migrations/0002_profiles_portfolios_scenarios.sql"),
    ),
    ("0003_embeddings", include_str!("../../../migrations/0003_embeddings.sql")),
    ("0004_lineage_and_storage", include_str!("../../../migrations/0004_lineage_and_storage.sql")),
    ("0005_natural_keys", include_str!("../../../migrations/0005_natural_keys.sql")),
    ("0006_lookup_indexes", include_str!("../../../migrations/0006_lookup_indexes.sql")),
    ("0007_comments", include_str!("../../../migrations/0007_comments.sql")),
];

/// The tables that the migrations make.
const TABLES: [&str; 11] = [
    "markets",
    "issuers",
    "instruments",
    "prices_daily",
    "profiles",
    "portfolio_risk_reports",
    "scenario_sets",
    "scenario_paths",
    "numeric_window_embeddings",
    "text_embeddings",
    "joint_embeddings",
];

/// Where a migration leaves a word, one per line, about what it could not do.
const LEFT_UNDONE: &str = "embed_migrate.left_undone";

/// What one migration did.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub migration: &'static str,
    /// What it added; empty when everything was there.
    pub added: Vec<Part>,
    /// What it could not do, and the remedy.
    pub left_undone: Option<String>,
}

/// Kinds of things that a table is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A table.
    Table,
    /// A column.
    Column,
    /// A foreign key.
    ForeignKey,
    /// An index.
    Index,
    /// A column that is stored uncompressed, or an option of the table.
    Storage,
    /// A comment on a table or column.
    Comment,
}

/// One thing that a table is made of: its kind, the table, its name.
pub type Part = (Kind, String, String);

/// Applies every migration to `schema`, or to the caller's current schema.
///
/// Errors: [`Fault::UnknownSchema`] (3F000), [`Fault::NoSchema`] (3F000), and whatever PostgreSQL has
/// against what the caller may not do (42501).
pub fn apply(schema: Option<&str>) -> Result<Vec<Outcome>, Fault> {
    let caller_path = setting("search_path")?;
    if let Some(schema) = schema {
        set("search_path", &path_to(schema)?)?;
    }
    let home = home(&caller_path)?;
    let mut outcomes = Vec::with_capacity(MIGRATIONS.len());
    let mut before = parts(&home)?;
    for (migration, text) in MIGRATIONS {
        set(LEFT_UNDONE, "")?;
        execute(text, &[])?;
        let after = parts(&home)?;
        let left_undone = Some(setting(LEFT_UNDONE)?).filter(|words| !words.is_empty());
        outcomes.push(Outcome { migration, added: added(&before, &after), left_undone });
        before = after;
    }
    set("search_path", &caller_path)?;
    Ok(outcomes)
}

/// A search_path with only that schema.
fn path_to(schema: &str) -> Result<String, Fault> {
    let sql = "SELECT pg_catalog.format('%I', n.nspname) FROM pg_catalog.pg_namespace n \
               WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name";
    select_first(sql, &[schema.into()], |row| required(row.text(1)?))?
        .ok_or_else(|| Fault::UnknownSchema { name: schema.to_owned() })
}

/// The schema first on the search_path.
fn home(search_path: &str) -> Result<String, Fault> {
    let sql = "SELECT pg_catalog.current_schema()::pg_catalog.text";
    select_first(sql, &[], |row| row.text(1))?
        .flatten()
        .ok_or_else(|| Fault::NoSchema { search_path: search_path.to_owned() })
}

/// A setting's value; empty when there is none.
fn setting(name: &str) -> Result<String, Fault> {
    let sql = "SELECT COALESCE(pg_catalog.current_setting($1, true), '')";
    select_first(sql, &[name.into()], |row| required(row.text(1)?)).map(Option::unwrap_or_default)
}

/// Sets a setting until the transaction ends.
fn set(name: &str, value: &str) -> Result<(), Fault> {
    let sql = "SELECT pg_catalog.set_config($1, $2, true)";
    execute(sql, &[name.into(), value.into()]).map(|_| ())
}

/// What the tables of a schema are made of.
fn parts(schema: &str) -> Result<BTreeSet<Part>, Fault> {
    let sql = "WITH t AS ( \
            SELECT c.oid, c.relname, c.reloptions FROM pg_catalog.pg_class c \
              JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name \
               AND c.relname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]::pg_catalog.name[]) \
               AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog.\"char\"[])) \
        SELECT 'table', t.relname::pg_catalog.text, t.relname::pg_catalog.text FROM t \
        UNION ALL \
        SELECT k.kind, t.relname, a.attname FROM t \
          JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) t.oid \
               AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
         CROSS JOIN (VALUES ('column'), ('storage')) k(kind) \
         WHERE k.kind OPERATOR(pg_catalog.=) 'column' OR a.attstorage OPERATOR(pg_catalog.=) 'e' \
        UNION ALL \
        SELECT 'storage', t.relname, o FROM t CROSS JOIN pg_catalog.unnest(t.reloptions) o \
        UNION ALL \
        SELECT 'index', t.relname, x.relname FROM t \
          JOIN pg_catalog.pg_index i ON i.indrelid OPERATOR(pg_catalog.=) t.oid \
          JOIN pg_catalog.pg_class x ON x.oid OPERATOR(pg_catalog.=) i.indexrelid \
        UNION ALL \
        SELECT 'foreign key', t.relname, f.conname FROM t \
          JOIN pg_catalog.pg_constraint f ON f.conrelid OPERATOR(pg_catalog.=) t.oid \
               AND f.contype OPERATOR(pg_catalog.=) 'f' \
        UNION ALL \
        SELECT 'comment', t.relname, d.objsubid::pg_catalog.text FROM t \
          JOIN pg_catalog.pg_description d ON d.objoid OPERATOR(pg_catalog.=) t.oid \
               AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid";
    let tables: Vec<String> = TABLES.iter().map(|name| (*name).to_owned()).collect();
    let rows = select(sql, &[schema.into(), tables.into()], |row| {
        let kind = match required(row.text(1)?)?.as_str() {
            "table" => Kind::Table,
            "column" => Kind::Column,
            "foreign key" => Kind::ForeignKey,
            "index" => Kind::Index,
            "comment" => Kind::Comment,
            _ => Kind::Storage,
        };
        Ok((kind, required(row.text(2)?)?, required(row.text(3)?)?))
    })?;
    Ok(rows.into_iter().collect())
}

/// What is in `after` only. A new table stands for its own columns, keys and indexes.
fn added(before: &BTreeSet<Part>, after: &BTreeSet<Part>) -> Vec<Part> {
    let of_new_table = |(kind, table, _): &Part| {
        let table_part = (Kind::Table, table.clone(), table.clone());
        *kind != Kind::Table && after.contains(&table_part) && !before.contains(&table_part)
    };
    after.difference(before).filter(|part| !of_new_table(part)).cloned().collect()
}
